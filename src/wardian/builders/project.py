"""The project's own code as a wheel: built from a clean copy, or made by hand as a link to where the code lies."""

import hashlib
import os
import re
import shutil
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from posixpath import normpath

from wardian.builders.base import Site
from wardian.command import Command
from wardian.errors import CommandFailed, WardianError
from wardian.plan.layers import Code


def wheel(code: Code, folder: Path, site: Site, say: Callable[[str], None]) -> Path:
    """Build the wheel of a clean copy of the project with ``uv build``. Raises when it is not for every platform.

    The copy has fixed modes and times, so that the build backend sees the same on every machine.
    """
    source, target = folder / "source", folder / "wheel"
    _copy(code, source, site.epoch)
    command = Command(
        (_uv(), "build", "--wheel", "--python", sys.executable, "--out-dir", str(target), "--no-config", str(source)),
        env={
            **site.machine.environment(),
            "SOURCE_DATE_EPOCH": str(site.epoch),
            "UV_PYTHON_DOWNLOADS": "never",
            "TZ": "UTC",
            "PYTHONHASHSEED": "0",
        },
        changes=True,
    )
    ended = site.host.stream(command, line=say)
    if ended.code:
        last = [line for line in ended.stdout.decode(errors="replace").splitlines() if line.strip()][-8:]
        raise CommandFailed(f"the wheel of {code.name} cannot be built: " + " | ".join(last), code=ended.code)
    made = sorted(target.glob("*.whl"))
    if len(made) != 1:
        raise WardianError(f"uv build made {len(made)} wheels of {code.name}, not one")
    if not made[0].name.endswith("-none-any.whl"):
        raise WardianError(
            f"{made[0].name} holds compiled code, which must be built inside the image",
            hint='use project = "editable" or "none", and compile in a `run` step',
        )
    return _sorted(made[0], folder / made[0].name)


def _uv() -> str:
    """The uv that Wardian depends on, else the one on the PATH."""
    from uv import find_uv_bin

    try:
        return find_uv_bin()
    except FileNotFoundError:
        return "uv"


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


def _sorted(made: Path, target: Path) -> Path:
    """The wheel with every member stored as it is: the layer then depends on no compressor of the build backend."""
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for info in sorted(old.infolist(), key=lambda info: info.filename):
            plain = zipfile.ZipInfo(info.filename)
            plain.external_attr = info.external_attr
            new.writestr(plain, old.read(info))
    return target


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
