"""What lies where in an image, quick to ask: made once for each image, beside its layers, which stay packed.

A listing is a text of ``NUL NUL path NUL kind mode NUL link`` for each entry; a path is found in it by its bytes,
without reading the rest. Those of single layers are kept too: an image that shares its layers with another is listed
quickly.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wardian.errors import WardianError
from wardian.oci.digest import hexadecimal
from wardian.oci.links import followed
from wardian.oci.model import Descriptor
from wardian.oci.tar import Entry
from wardian.store.contents import Contents, read, walk
from wardian.store.files import explained, write_file
from wardian.store.store import Store

ACCOUNTS = ("etc/passwd", "etc/group")
LARGEST = 16 << 20  # bytes of one of them: an image of strangers may have packed gigabytes of nothing
FORMAT = b"1"
_LETTERS = {"dir": "d", "file": "f", "symlink": "l", "hardlink": "h", "char": "c", "block": "b", "fifo": "p"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry: what it is, its permissions, and where it leads: a symbolic link's target, a script's interpreter."""

    kind: str
    mode: int
    link: str = ""


@dataclass(frozen=True)
class Listing:
    """The entries of an image, and its passwd and group files ("" where it has none)."""

    text: bytes
    accounts: tuple[str, ...]

    def at(self, path: str) -> Seen | None:
        """The entry at a path without slashes around it; links are not followed. The root is a folder."""
        if not path:
            return Seen("dir", 0o755)
        mark = b"\0\0" + _bytes(path) + b"\0"
        found = self.text.find(mark)
        if found < 0:
            return None
        start = found + len(mark)
        middle = self.text.index(b"\0", start)
        end = self.text.index(b"\0", middle + 1)
        kind = self.text[start:middle].decode()
        return Seen(_KINDS[kind[0]], int(kind[1:], 8), _text(self.text[middle + 1 : end]))

    def resolve(self, path: str, *, last: bool = True) -> str | None:
        """A path with its symbolic links followed; None for a loop. What is not there is taken as a plain name."""
        return followed(path, self.link, last=last)

    def link(self, path: str) -> str | None:
        """Where a symbolic link leads; None for anything else."""
        seen = self.at(path)
        return seen.link if seen and seen.kind == "symlink" else None


def listing(store: Store, manifest: str) -> Listing:
    """The listing of the image with this manifest, made where there is none yet."""
    path = place(store, manifest)
    if (known := kept(path)) is not None:
        head, _, text = known.partition(b"\n")
        return Listing(text, tuple(json.loads(head)))
    whole = laid(store, manifest)
    accounts = tuple(_file(store, manifest, whole, name) for name in ACCOUNTS)
    text = _joined((name, placed.entry) for name, placed in whole.entries.items())
    keep(store, path, json.dumps(accounts).encode() + b"\n" + text)
    return Listing(text, accounts)


def laid(store: Store, manifest: str) -> Contents:
    """The files of an image by the listings of its layers, which are made where there are none; no sizes in it."""
    whole = Contents()
    for at, layer in enumerate(store.manifest(manifest).layers):
        whole.lay(_entries(_layer(store, layer)), at)
    return whole


def _layer(store: Store, layer: Descriptor) -> bytes:
    path = place(store, layer.digest)
    text = kept(path)
    if text is None:
        text = _joined((entry.path, entry) for entry in _with_interpreters(store, layer))
        keep(store, path, text)
    return text


def _with_interpreters(store: Store, layer: Descriptor) -> Iterator[Entry]:
    for entry, content in walk(store, layer):
        if entry.kind == "file" and entry.mode & 0o111 and entry.size > 2:
            yield Entry(entry.path, "file", entry.mode, link=interpreter(bytes(next(content, memoryview(b""))[:256])))
        else:
            yield entry


def interpreter(start: bytes) -> str:
    """The program that a script names in its first line; "" for what is no script. Source: execve(2)."""
    words = start[2:].split(b"\n", 1)[0].split() if start.startswith(b"#!") else []
    return _text(words[0]) if words else ""


def _joined(entries: Iterator[tuple[str, Entry]]) -> bytes:
    parts = (
        b"\0\0%s\0%s%o\0%s" % (_bytes(path), _LETTERS[entry.kind].encode(), entry.mode, _bytes(entry.link))
        for path, entry in entries
    )
    return b"".join(parts) + b"\0\0"


def _entries(text: bytes) -> Iterator[Entry]:
    """The entries of a listing, in its order: split at NUL, each is an empty field and its three."""
    fields = text.split(b"\0")[1:]
    for at in range(1, len(fields) - 2, 4):
        path, kind, link = fields[at], fields[at + 1].decode(), fields[at + 2]
        yield Entry(_text(path), _KINDS[kind[0]], int(kind[1:], 8), link=_text(link))


def _file(store: Store, manifest: str, whole: Contents, name: str) -> str:
    content = read(store, manifest, whole, name, LARGEST)
    return (content or b"").decode(errors="surrogateescape")


def place(store: Store, digest: str) -> Path:
    """Where what is known of a layer or an image is kept."""
    return store.root / "listings" / hexadecimal(digest)


def kept(path: Path) -> bytes | None:
    """What was kept there; None when nothing was, or something of another format."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    form, _, text = content.partition(b"\n")
    return text if form == FORMAT else None


def keep(store: Store, path: Path, text: bytes) -> None:
    """Write a listing down. Where the store is closed to us, it is made anew the next time."""
    try:
        with explained(store.root):
            store.prepare()
            path.parent.mkdir(exist_ok=True)
            write_file(path, FORMAT + b"\n" + text, scratch=store.scratch)
    except (OSError, WardianError):
        return


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _text(content: bytes) -> str:
    return content.decode(errors="surrogateescape")
