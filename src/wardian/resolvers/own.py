"""Wardian's own wheel, for images that serve environments, evaluate or merge: what runs here is what goes into them."""

import hashlib
import importlib.metadata
import re
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import wardian
from wardian.hosts.machine import Machine
from wardian.spec.matrix import Variant

OWN = "cache/own"  # the folder in a store
_NAMED = re.compile(r"\s*wardian\s*(?:[\[<>=!~;@ ]|$)", re.IGNORECASE)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can tell


def offered(machine: Machine, requirements: Iterable[str], folder: Path) -> Machine:
    """The machine; when a requirement is Wardian itself, with a folder that has its wheel among the find-links."""
    if not any(_NAMED.match(one) for one in requirements):
        return machine
    wheel(folder)
    return replace(machine, find_links=(*machine.find_links, str(folder)))


def required(variants: Iterable[Variant]) -> tuple[str, ...]:
    """The requirement lines of all images."""
    return tuple(line for variant in variants for line in variant.image.requirements)


def wheel(folder: Path) -> Path:
    """Write the wheel of this installation into a folder; the same bytes for the same files, wherever they lie.

    Nothing is compressed: what deflate writes depends on its version.
    """
    installed = importlib.metadata.distribution("wardian")
    name = f"wardian-{wardian.__version__}"
    info = f"{name}.dist-info"
    files = dict(_package())
    files[f"{info}/METADATA"] = (installed.read_text("METADATA") or "").encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: wardian\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = (installed.read_text("entry_points.txt") or "").encode()
    records = [f"{path},sha256={_hash(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*records, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-py3-none-any.whl"
    fresh = folder / f".{target.name}.{hashlib.sha256(files[f'{info}/RECORD']).hexdigest()[:12]}"
    with zipfile.ZipFile(fresh, "w") as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    fresh.replace(target)
    return target


def _package() -> Iterator[tuple[str, bytes]]:
    root = Path(wardian.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"wardian/{path.relative_to(root).as_posix()}", path.read_bytes()


def _hash(data: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
