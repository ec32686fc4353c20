"""Tar headers: ustar, with PAX records only for what ustar cannot say.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; xattrs as star and GNU tar write them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wardian.errors import WardianError

BLOCK = 512
END = bytes(2 * BLOCK)
WHITEOUT = ".wh."  # begins the name of an entry that hides what lower layers have. Source: OCI image-spec, layer.md
OPAQUE = ".wh..wh..opq"
MTIME = 1577836800  # 2020-01-01T00:00:00Z: not 0, because zip tools and some programs refuse times before 1980

_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a layer. ``path`` has no slash at either end; its bytes that are not UTF-8 are surrogates."""

    path: str
    kind: str = "file"  # file | dir | symlink | hardlink | char | block | fifo
    mode: int = 0o644
    size: int = 0
    link: str = ""
    mtime: int = MTIME
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()


def padding(size: int) -> bytes:
    """The zeros that fill the last block of ``size`` bytes of content."""
    return bytes(-size % BLOCK)


def header(entry: Entry) -> bytes:
    """The header block of an entry, after the blocks of its PAX records if it needs any.

    >>> len(header(Entry("a" * 90))), len(header(Entry("é")))
    (512, 1536)
    """
    path = _encode(entry.path) + (b"/" if entry.kind == "dir" else b"")
    link = _encode(entry.link)
    extra = {f"SCHILY.xattr.{name}": value for name, value in entry.xattrs}
    prefix, name = _split(path)
    if not name:
        extra["path"], name = path, _shortened(path)
    if len(link) > 100 or not link.isascii():
        extra["linkpath"], link = link, _shortened(link)
    numbers = {"uid": entry.uid, "gid": entry.gid, "size": entry.size, "mtime": entry.mtime}
    limits = {"uid": _OCTAL_7, "gid": _OCTAL_7, "size": _OCTAL_11, "mtime": _OCTAL_11}
    for field, limit in limits.items():
        if not 0 <= numbers[field] <= limit:
            extra[field], numbers[field] = b"%d" % numbers[field], 0
    block = _block((prefix, name, link), _TYPES[entry.kind], entry.mode, numbers, entry.device)
    return _pax(extra, name, max(entry.mtime, 0)) + block if extra else block


def directories(paths: Iterable[str]) -> Iterator[str]:
    """Every folder above the given paths, each once, parents first."""
    seen: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        if parent in seen:
            continue
        parts = parent.split("/") if parent else []
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in seen:
                seen.add(folder)
                yield folder


def complete(entries: Iterable[Entry]) -> list[Entry]:
    """The entries sorted by path, with a plain folder (0755, root) for every parent that is not among them."""
    known = {entry.path: entry for entry in entries}
    mtime = max((entry.mtime for entry in known.values()), default=MTIME)
    for folder in directories(list(known)):
        known.setdefault(folder, Entry(folder, "dir", 0o755, mtime=mtime))
    return [known[path] for path in sorted(known)]


def stream(entries: Iterable[tuple[Entry, Iterable[bytes]]]) -> Iterator[bytes]:
    """A whole archive: each entry's header, its content (as long as its ``size`` says), and the end."""
    for entry, content in entries:
        yield header(entry)
        size = 0
        for piece in content:
            size += len(piece)
            yield piece
        if size != entry.size:
            raise WardianError(f"{entry.path} changed while it was read: {size} bytes instead of {entry.size}")
        yield padding(size)
    yield END


def _encode(text: str) -> bytes:
    if "\0" in text:
        raise WardianError(f"a name in a layer holds a NUL: {text!r}")
    return text.encode("utf-8", "surrogateescape")


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Prefix and name of ustar; the name is empty when the path does not fit or is not ASCII."""
    if not path.isascii() or len(path) > 256:
        return b"", b""
    if len(path) <= 100:
        return b"", path
    cut = path.rfind(b"/", 0, 156)
    if cut < 1 or len(path) - cut - 1 > 100 or cut == len(path) - 1:
        return b"", b""
    return path[:cut], path[cut + 1 :]


def _shortened(path: bytes) -> bytes:
    """What readers that know no PAX see in place of a name that does not fit."""
    return re.sub(rb"[^\x20-\x7e]", b"_", path)[:100]


def _block(
    names: tuple[bytes, bytes, bytes], kind: bytes, mode: int, numbers: dict[str, int], device: tuple[int, int]
) -> bytes:
    prefix, name, link = names
    major_minor = b"%07o\0%07o\0" % device if kind in b"34" else bytes(16)
    fields = (mode & 0o7777, numbers["uid"], numbers["gid"], numbers["size"], numbers["mtime"])
    head = name.ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % fields
    owner = bytes(64) + major_minor  # no names of users and groups
    tail = kind + link.ljust(100, b"\0") + b"ustar\x0000" + owner + prefix.ljust(155, b"\0") + bytes(12)
    return head + b"%06o\0 " % (sum(head) + sum(tail) + 8 * 0x20) + tail


def _pax(records: dict[str, bytes], name: bytes, mtime: int) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    numbers = {"uid": 0, "gid": 0, "size": len(body), "mtime": mtime if mtime <= _OCTAL_11 else 0}
    return _block((b"", (b"PaxHeaders/" + name)[:100], b""), b"x", 0o644, numbers, (0, 0)) + body + padding(len(body))


def _record(key: str, value: bytes) -> bytes:
    r"""``LENGTH KEY=VALUE\n``, where the length counts itself."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d" % length + rest
