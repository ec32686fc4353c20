"""Layers that need no engine: the virtual environment, wheels, files of the project. They are written byte by byte."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from posixpath import dirname

from wardian.builders.base import Beneath, Site
from wardian.builders.wheels import Job, Source, write
from wardian.command import Command
from wardian.errors import CommandFailed, WardianError, retold
from wardian.oci import tar
from wardian.oci.gzip import write_layer
from wardian.plan.layers import Entry, Environment, Files, Pylock, Wheels
from wardian.store.store import LayerRecord

APART = 32 << 20  # bytes of wheels from which on a process of its own pays: it starts in 0.1 s, they take 0.5
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
    """The empty virtual environment, as ``python -m venv --without-pip`` makes it."""
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
    return _written(layer, entries, f"{inside}/pyvenv.cfg", settings, site)


def pylock(layer: Pylock, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """The lock of what is in the environment."""
    del beneath, say
    return _written(layer, [], f"{layer.prefix.strip('/')}/pylock.toml", layer.text, site)


def _written(layer: Environment | Pylock, entries: Sequence[Entry], path: str, text: str, site: Site) -> LayerRecord:
    """A layer of some entries and one file."""
    every = (*entries, Entry(f"/{path}", "file", 0o644, ""))
    return site.write(layer, lambda out: write_layer(out, stream(every, site.epoch, {path: text.encode()})))


def wheels(layer: Wheels, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """One or more wheels, installed."""
    del beneath
    paths = site.sources.wheels(layer.wheels, say)
    apart = sum(path.stat().st_size for path in paths) >= APART
    with site.store.growing() as target:
        job = Job(
            target=str(target),
            root=str(site.store.root),
            title=layer.title,
            packages=tuple(f"{wheel.name}=={wheel.version}" for wheel in layer.wheels),
            sources=tuple(
                Source(str(path), wheel.filename, wheel.requested)
                for wheel, path in zip(layer.wheels, paths, strict=True)
            ),
            prefix=layer.prefix,
            python=layer.python,
            epoch=site.epoch,
        )
        record = _written_apart(job, site) if apart else write(job, site.check)
        site.store.adopt(target, record.digest)
    return record


def _written_apart(job: Job, site: Site) -> LayerRecord:
    """Have a layer written by a process of its own, beside this one's threads. Raises what that raised."""
    program = (sys.executable, "-P", "-m", "wardian.builders.wheels", str(os.getpid()))
    command = Command(program, stdin=json.dumps(job.to_json()).encode(), changes=True)
    site.check()
    ended = site.host.run(command)
    site.check()
    if ended.code > 128:
        hint = "was memory short? type: wardian build --jobs 1"
        raise CommandFailed(f"signal {ended.code - 128} ended the process that wrote it", code=ended.code, hint=hint)
    try:
        said = json.loads(ended.stdout)
    except ValueError:
        raise RuntimeError(f"writing {job.title} apart failed\n{ended.stderr.decode(errors='replace')}") from None
    if "error" in said:
        raise retold(said)
    record = LayerRecord.from_json(said)
    if record is None:
        raise RuntimeError(f"writing {job.title} apart told no layer: {said}")
    return record


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
