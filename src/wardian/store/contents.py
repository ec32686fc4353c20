"""What an image holds, path by path: its layers laid over each other without being unpacked.

Sources: https://github.com/opencontainers/image-spec/blob/main/layer.md (whiteouts, hard links), and overlayfs, which
the sandbox uses: a folder that an upper layer only implies is the lower one.
"""

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Literal

from wardian.errors import WardianError
from wardian.oci.compression import uncompressed
from wardian.oci.digest import Hasher
from wardian.oci.inflater import damage, inflater
from wardian.oci.model import Descriptor
from wardian.store.store import Store

Kind = Literal["file", "folder", "symlink", "hardlink", "device", "fifo"]
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_CHUNK = 1 << 20
_LINKS = 40  # symbolic links on one path, as Linux allows


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a layer's tar. ``at`` counts entries from 0; ``target`` is a link's."""

    path: str
    kind: Kind
    at: int
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: str = ""
    device: tuple[int, int, int] = (0, 0, 0)  # type bits of the mode, major, minor
    xattrs: tuple[tuple[str, bytes], ...] = ()
    content: str = ""  # digest, where it was asked for


@dataclass(frozen=True, slots=True)
class Placed:
    """A member, and the layer it comes from, counted from the bottom. Hard links to one file are placed alike."""

    member: Member
    layer: int


@dataclass
class Contents:
    """The files of an image: what a container would see."""

    entries: dict[str, Placed] = field(default_factory=dict)
    _children: dict[str, set[str]] = field(default_factory=dict)

    def lay(self, members: Sequence[Member], layer: int) -> None:
        """Put a layer on top. Its whiteouts hide what lies beneath, never what it brings itself."""
        for member in members:
            folder, _, name = member.path.rpartition("/")
            if name == OPAQUE:
                for child in sorted(self._children.get(folder, ())):
                    self.remove(_join(folder, child))
            elif name.startswith(WHITEOUT):
                self.remove(_join(folder, name.removeprefix(WHITEOUT)))
        for member in members:
            if not member.path.rpartition("/")[2].startswith(WHITEOUT):
                self._put(member, layer)

    def remove(self, path: str) -> None:
        """Hide a path and all that lies under it."""
        for child in sorted(self._children.pop(path, ())):
            self.remove(_join(path, child))
        self.entries.pop(path, None)
        folder, _, name = path.rpartition("/")
        self._children.get(folder, set()).discard(name)

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; links on the way are followed."""
        real = self.resolve(folder)
        return sorted(self._children.get(real, ())) if real is not None else []

    def resolve(self, path: str) -> str | None:
        """The path of an entry with every symbolic link followed, inside the image; None when it is not there."""
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                done = done[:-1]
                continue
            placed = self.entries.get("/".join([*done, part]))
            if placed is None:
                return None
            if placed.member.kind != "symlink":
                done.append(part)
                continue
            links += 1
            if links > _LINKS:
                return None
            target = placed.member.target
            done = [] if target.startswith("/") else done
            waiting += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
        return "/".join(done)

    def _put(self, member: Member, layer: int) -> None:
        placed = Placed(member, layer)
        if member.kind == "hardlink":
            origin = self.entries.get(member.target)
            if origin is None or origin.member.kind == "folder":
                raise WardianError(f"layer {layer + 1} has a hard link to nothing: {member.path!r} → {member.target!r}")
            placed = origin
        held = self.entries.get(member.path)
        if held and (held.member.kind == "folder") != (member.kind == "folder"):
            self.remove(member.path)
        self._link(member.path, layer)
        self.entries[member.path] = placed

    def _link(self, path: str, layer: int) -> None:
        """Note a name in its folder; a folder that is missing is made, with all above it."""
        folder, _, name = path.rpartition("/")
        held = self.entries.get(folder)
        if folder and (held is None or held.member.kind != "folder"):
            if held:
                self.remove(folder)
            self._link(folder, layer)
            self.entries[folder] = Placed(Member(folder, "folder", -1), layer)
        self._children.setdefault(folder, set()).add(name)


def contents(store: Store, manifest: str) -> Contents:
    """Lay out the image with this manifest; each layer is read once."""
    whole = Contents()
    for at, layer in enumerate(store.manifest(manifest).layers):
        whole.lay(list(members(store, layer)), at)
    return whole


def members(store: Store, layer: Descriptor, *, hashed: bool = False) -> Iterator[Member]:
    """The entries of a layer, in its order; ``hashed`` adds the digests of its files."""
    with open_layer(store, layer) as stream:
        for at, (found, file) in enumerate(walk(stream, layer.digest)):
            content = _digest(file) if hashed and file else ""
            if (member := _member(found, at, content, layer.digest)) is not None:
                yield member


def read_member(store: Store, layer: Descriptor, at: int, limit: int) -> bytes:
    """The bytes of the file that is entry ``at`` of a layer."""
    with open_layer(store, layer) as stream:
        for here, (found, file) in enumerate(walk(stream, layer.digest)):
            if here == at:
                if found.size > limit:
                    raise WardianError(f"{found.name} has {found.size} bytes: too many to read at once")
                return file.read() if file else b""
    return b""


def read(store: Store, manifest: str, whole: Contents, path: str, limit: int = 64 << 20) -> bytes | None:
    """The bytes of a file of an image; None when there is no such file."""
    real = whole.resolve(path)
    placed = whole.entries.get(real) if real else None
    if placed is None or placed.member.kind != "file":
        return None
    return read_member(store, store.manifest(manifest).layers[placed.layer], placed.member.at, limit)


@contextmanager
def open_layer(store: Store, layer: Descriptor) -> Iterator[IO[bytes]]:
    """A layer's tar, inflated on the way. What compressed it is told by its first bytes: media types lie."""
    try:
        raw = store.path(layer.digest).open("rb")
    except FileNotFoundError:
        raise WardianError(f"layer {layer.digest} is not in the store", hint="build or pull the image again") from None
    with raw:
        start = raw.read(4)
        raw.seek(0)
        if start[:2] == b"\x1f\x8b":
            yield io.BufferedReader(Inflated(raw), _CHUNK)
        else:
            yield uncompressed(raw)


class Inflated(io.RawIOBase):
    """The content of a gzip file of any number of members, in big steps."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._inflate = inflater(31)
        self._inside = False  # a member has begun and not ended
        self._left = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no length
        """Fill a part of ``buffer``; 0 at the end. Raises ``WardianError`` when the gzip is damaged or cut."""
        while True:
            self._left = self._left or self._raw.read(_CHUNK)
            while not self._inside and self._left[:1] in (b"", b"\0"):  # padding after a member, which gzip(1) allows
                self._left = self._left.lstrip(b"\0") or self._raw.read(_CHUNK)
                if not self._left:
                    return 0
            content = self._step(len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)

    def _step(self, limit: int) -> bytes:
        ended = not self._left
        try:
            content = self._inflate.decompress(self._left, limit)
        except damage() as error:
            raise WardianError(f"a damaged layer: {error}", hint="type: wardian store verify") from error
        if self._inflate.eof:
            self._left, self._inside = self._inflate.unused_data, False
            self._inflate = inflater(31)
        elif ended and not content:
            raise WardianError("a damaged layer: it ends too early", hint="type: wardian store verify")
        else:
            self._left, self._inside = self._inflate.unconsumed_tail, True
        return content


def walk(stream: IO[bytes], name: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The entries of a tar stream, each with its content if it is a file."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
            for found in tar:
                yield found, tar.extractfile(found) if found.isreg() else None
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every entry it saw
    except (tarfile.TarError, EOFError) as error:
        raise WardianError(f"layer {name} is not a tar file: {error}", hint="type: wardian store verify") from error


def clean(path: str, name: str) -> str:
    """A path of a tar without ``./`` and slashes around; '' is the root. Raises on one that leaves the image."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise WardianError(f"layer {name} holds a path that leaves the image: {path[:200]!r}")
    return "/".join(parts)


_KINDS: dict[bytes, Kind] = {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
}
_XATTR = "SCHILY.xattr."


def _member(found: tarfile.TarInfo, at: int, content: str, name: str) -> Member | None:
    path = clean(found.name, name)
    if not path:
        return None
    kind: Kind = "file" if found.isreg() else _KINDS.get(found.type, "file")
    device = ((0o020000 if found.type == tarfile.CHRTYPE else 0o060000), found.devmajor, found.devminor)
    return Member(
        path,
        kind,
        at,
        found.mode & 0o7777,
        found.uid,
        found.gid,
        found.size,
        int(found.mtime),
        clean(found.linkname, name) if kind == "hardlink" else found.linkname,
        device if kind == "device" else (0, 0, 0),
        tuple(
            sorted(
                (key.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
                for key, value in found.pax_headers.items()
                if key.startswith(_XATTR)
            )
        ),
        content,
    )


def _digest(file: IO[bytes]) -> str:
    hasher = Hasher()
    while chunk := file.read(_CHUNK):
        hasher.write(chunk)
    return hasher.digest


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
