"""Layers that need no engine: the virtual environment, wheels, files of the project. They are written byte by byte."""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from posixpath import dirname

from wardian.builders.base import Beneath, Site
from wardian.errors import WardianError
from wardian.oci import tar
from wardian.oci.gzip import write_layer
from wardian.oci.splice import write_wheels
from wardian.oci.wheel import WheelFile
from wardian.plan.layers import Entry, Environment, Files, Wheels
from wardian.store.store import LayerRecord

_CHUNK = 1 << 20
# Folders that every base has, with attributes of its own that an entry of ours would replace.
_BASES = frozenset(
    [
        *("bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin"),
        *("srv", "sys", "tmp", "usr", "var", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "usr/share", "usr/local"),
        *("usr/local/bin", "usr/local/lib", "usr/local/share", "usr/local/etc", "var/lib", "var/log", "var/cache"),
        *("var/tmp", "etc/ssl", "etc/ssl/certs"),
    ]
)


def environment(layer: Environment, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """The empty virtual environment, as ``python -m venv --without-pip`` makes it, and the lock of what goes in."""
    del beneath, say
    inside = layer.prefix.strip("/")
    home = dirname(layer.interpreter)
    settings = f"home = {home}\ninclude-system-site-packages = false\nversion = {layer.python}\n"
    entries = [
        Entry(f"/{inside}/bin/python", "symlink", 0o777, layer.interpreter),
        Entry(f"/{inside}/bin/python3", "symlink", 0o777, "python"),
        Entry(f"/{inside}/bin/python{layer.python}", "symlink", 0o777, "python"),
        Entry(f"/{inside}/lib/python{layer.python}/site-packages", "dir", 0o755, ""),
        Entry(f"/{inside}/lib64", "symlink", 0o777, "lib"),
    ]
    texts = {f"{inside}/pyvenv.cfg": settings.encode()}
    if layer.pylock:
        texts[f"{inside}/pylock.toml"] = layer.pylock.encode()
    entries += [Entry(f"/{path}", "file", 0o644, "") for path in texts]
    return site.write(layer, lambda out: write_layer(out, stream(entries, site.epoch, texts)))


def wheels(layer: Wheels, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """One or more wheels, installed."""
    del beneath
    paths = site.sources.wheels(layer.wheels, say)
    packages = [f"{wheel.name}=={wheel.version}" for wheel in layer.wheels]
    with ExitStack() as stack:
        opened = [
            WheelFile(wheel.filename, stack.enter_context(path.open("rb")), wheel.requested)
            for wheel, path in zip(layer.wheels, paths, strict=True)
        ]
        return site.write(
            layer,
            lambda out: write_wheels(out, opened, prefix=layer.prefix, python=layer.python, mtime=site.epoch),
            packages,
        )


def files(layer: Files, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """Files at fixed places."""
    del beneath, say
    return site.write(layer, lambda out: write_layer(out, stream(layer.entries, site.epoch)))


def stream(entries: Iterable[Entry], epoch: int, texts: dict[str, bytes] | None = None) -> Iterator[bytes]:
    """The tar stream of some entries and the folders above them, sorted."""
    placed = {entry.path.strip("/"): entry for entry in entries}
    for folder in tar.directories(list(placed)):
        placed.setdefault(folder, Entry(f"/{folder}", "dir", 0o755, ""))
    for path in sorted(placed, key=lambda path: path.split("/")):
        entry = placed[path]
        if entry.kind == "dir":
            if path not in _BASES:
                yield tar.header(tar.Entry(path, "dir", entry.mode, mtime=epoch))
        elif entry.kind == "symlink":
            yield tar.header(tar.Entry(path, "symlink", entry.mode, link=entry.digest, mtime=epoch))
        else:
            content = (texts or {}).get(path)
            yield from _file(path, entry, epoch, content)
    yield tar.END


def _file(path: str, entry: Entry, epoch: int, content: bytes | None) -> Iterator[bytes]:
    size = len(content) if content is not None else Path(entry.source).stat().st_size
    yield tar.header(tar.Entry(path, "file", entry.mode, size, mtime=epoch))
    left = size
    with io.BytesIO(content) if content is not None else Path(entry.source).open("rb") as file:
        while left and (piece := file.read(min(_CHUNK, left))):
            left -= len(piece)
            yield piece
    if left:
        raise WardianError(f"{entry.source} became shorter while it was read", hint="type: wardian build")
    yield tar.padding(size)
