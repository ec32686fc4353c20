"""The project's own code as a wheel: built from a clean copy, or made by hand as a link to where the code lies."""

import hashlib
import os
import re
import shutil
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from posixpath import normpath

from wardian.builders import backend
from wardian.builders.base import Beneath, Site
from wardian.builders.stack import Saying, stacked
from wardian.errors import WardianError
from wardian.lock.pylock import fits, normalised
from wardian.oci.splice import write_wheels
from wardian.oci.wheel import WheelFile
from wardian.plan.layers import Building, Code, ProjectCode
from wardian.store.store import LayerRecord


def code(layer: ProjectCode, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """The project: its wheel, built from a clean copy in a sandbox, or a link to its place in the image."""
    packages = [f"{layer.code.name}=={layer.code.version}" if layer.code.version else layer.code.name]
    with site.temporary() as work:
        made = (
            wheel(layer.code, layer.building, work, beneath.image, site=site, say=say)
            if layer.building
            else editable(layer.code, layer.workdir, work)
        )
        with made.open("rb") as file:
            opened = [WheelFile(made.name, file, requested=True)]
            return site.write(
                layer,
                lambda out: write_wheels(out, opened, prefix=layer.prefix, python=layer.python, mtime=site.epoch),
                packages,
            )


def wheel(about: Code, building: Building, work: Path, image: str, *, site: Site, say: Callable[[str], None]) -> Path:
    """Build the wheel of a clean copy of the project. Raises ``WardianError`` when it does not fit the image.

    The copy has fixed modes and times, so that the build backend sees the same on every machine.
    """
    _copy(about, work / "build" / "source", site.epoch)
    tools = site.sources.wheels(building.tools, say)
    records = stacked(building.system, site, Saying(say), image)
    tree = backend.Tree(
        normalised(about.name),
        about.version,
        building.interpreter,
        f"the wheel of {about.name} cannot be built",
        "it is built without network, with what [build-system].requires of pyproject.toml names and the image's `apt`",
    )
    made = backend.wheel(tree, tools, records, work=work, site=site, say=say)
    try:
        fits(made.name, building.target)
    except WardianError as error:
        raise WardianError(error.message, hint="its build backend must make a wheel for the image's Python") from error
    return made


def _copy(code: Code, target: Path, epoch: int) -> None:
    target.mkdir(parents=True)
    for entry in code.files:
        path = target / entry.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "dir":
            path.mkdir(exist_ok=True)
        elif entry.kind == "symlink":
            path.symlink_to(entry.digest)
        else:
            shutil.copyfile(entry.source, path)
            path.chmod(entry.mode)
            os.utime(path, (epoch, epoch))


def editable(code: Code, workdir: str, folder: Path) -> Path:
    """A wheel that holds no code but a ``.pth`` file: the project is found at ``workdir``, where it will be mounted."""
    stem = re.sub(r"[-_.]+", "_", code.name)
    version = code.version
    info = f"{stem}-{version}.dist-info"
    contents = {
        f"__editable__.{stem}.pth": "".join(f"{normpath(f'{workdir}/{path}')}\n" for path in code.paths),
        f"{info}/METADATA": code.metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: wardian\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if code.entry_points:
        contents[f"{info}/entry_points.txt"] = code.entry_points
    rows = [f"{name},sha256={_hash(text)},{len(text.encode())}" for name, text in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    target = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name, text in contents.items():
            plain = zipfile.ZipInfo(name)
            plain.external_attr = 0o644 << 16
            new.writestr(plain, text)
    return target


def _hash(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
