"""What an image holds, path by path: its layers laid over each other without being unpacked.

Sources: https://github.com/opencontainers/image-spec/blob/main/layer.md (whiteouts, hard links), and overlayfs, which
the sandbox uses: a folder that an upper layer only implies is the lower one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from wardian.errors import WardianError
from wardian.oci.compression import chunks
from wardian.oci.digest import Hasher
from wardian.oci.links import followed
from wardian.oci.model import Descriptor
from wardian.oci.tar import OPAQUE, WHITEOUT, Entry
from wardian.oci.untar import Source, entries
from wardian.store.store import Store


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry, and where its bytes are: the layer counted from the bottom, the entry counted in its tar.

    Hard links to one file are placed alike. A folder that is only implied has no place in a tar: -1.
    """

    entry: Entry
    layer: int
    at: int


@dataclass
class Contents:
    """The files of an image: what a container would see."""

    entries: dict[str, Placed] = field(default_factory=dict)
    _children: dict[str, set[str]] = field(default_factory=dict)

    def lay(self, members: Iterable[Entry], layer: int) -> None:
        """Put a layer on top. Its whiteouts hide what lies beneath, never what it brings itself."""
        whole = list(members)
        for entry in whole:
            folder, _, name = entry.path.rpartition("/")
            if name == OPAQUE:
                for child in sorted(self._children.get(folder, ())):
                    self.remove(_join(folder, child))
            elif name.startswith(WHITEOUT):
                self.remove(_join(folder, name.removeprefix(WHITEOUT)))
        for at, entry in enumerate(whole):
            if entry.path and not entry.path.rpartition("/")[2].startswith(WHITEOUT):
                self._put(Placed(entry, layer, at))

    def remove(self, path: str) -> None:
        """Hide a path and all that lies under it."""
        doomed = [path]
        while doomed:
            one = doomed.pop()
            doomed += [_join(one, child) for child in self._children.pop(one, ())]
            self.entries.pop(one, None)
        folder, _, name = path.rpartition("/")
        self._children.get(folder, set()).discard(name)

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; links on the way are followed."""
        real = self.resolve(folder)
        return sorted(self._children.get(real, ())) if real is not None else []

    def resolve(self, path: str) -> str | None:
        """The path of an entry with every symbolic link followed, inside the image; None when it is not there."""
        real = self._follow(path, None)
        return real if real == "" or real in self.entries else None

    def _follow(self, path: str, layer: int | None) -> str | None:
        """A path with links followed: all, or those of one layer. None for a loop."""

        def link(at: str) -> str | None:
            placed = self.entries.get(at)
            there = placed is not None and placed.entry.kind == "symlink" and layer in (None, placed.layer)
            return placed.entry.link if placed and there else None

        return followed(path, link)

    def _put(self, placed: Placed) -> None:
        entry, layer = placed.entry, placed.layer
        if entry.kind == "hardlink":
            origin = self.entries.get(self._inside(entry.link, layer))
            if origin is None or origin.entry.kind == "dir":
                raise WardianError(f"layer {layer + 1} has a hard link to nothing: {entry.path!r} → {entry.link!r}")
            placed = origin
        path = self._inside(entry.path, layer)
        held = self.entries.get(path)
        if held and (held.entry.kind == "dir") != (entry.kind == "dir"):
            self.remove(path)
        self._link(path, layer)
        self.entries[path] = placed

    def _inside(self, path: str, layer: int) -> str:
        """Where an entry goes: through links that its own layer holds, as when the layer is unpacked by itself."""
        folder, _, name = path.rpartition("/")
        held = self.entries.get(folder)
        if not folder or (held and held.entry.kind == "dir"):
            return path
        real = self._follow(folder, layer)
        return path if real is None else _join(real, name)

    def _link(self, path: str, layer: int) -> None:
        """Note a name in its folder; a folder that is missing is made, with all above it."""
        while True:
            folder, _, name = path.rpartition("/")
            held = self.entries.get(folder)
            there = not folder or (held is not None and held.entry.kind == "dir")
            if held and not there:
                self.remove(folder)
            self._children.setdefault(folder, set()).add(name)
            if there:
                return
            self.entries[folder] = Placed(Entry(folder, "dir", 0o755), layer, -1)
            path = folder


def contents(store: Store, manifest: str) -> Contents:
    """Lay out the image with this manifest; each layer is read once."""
    whole = Contents()
    for at, layer in enumerate(store.manifest(manifest).layers):
        whole.lay((entry for entry, _ in walk(store, layer)), at)
    return whole


def read(store: Store, manifest: str, whole: Contents, path: str, limit: int = 64 << 20) -> bytes | None:
    """The bytes of a file of an image; None when there is no such file. Raises for one that is too large."""
    real = whole.resolve(path)
    placed = whole.entries.get(real) if real else None
    if placed is None or placed.entry.kind != "file":
        return None
    for at, (entry, content) in enumerate(walk(store, store.manifest(manifest).layers[placed.layer])):
        if at == placed.at:
            if entry.size > limit:  # asked of the layer itself: a listing knows no sizes
                raise WardianError(f"{path} has {entry.size} bytes: too many to read at once")
            return b"".join(content)
    return None


def digests(store: Store, layer: Descriptor, wanted: set[int]) -> dict[int, str]:
    """The digests of some files of a layer, by their place in its tar."""
    found: dict[int, str] = {}
    for at, (_, content) in enumerate(walk(store, layer)):
        if at in wanted:
            hasher = Hasher()
            for piece in content:
                hasher.write(bytes(piece))
            found[at] = hasher.digest
    return found


def walk(store: Store, layer: Descriptor) -> Iterator[tuple[Entry, Iterator[memoryview]]]:
    """The entries of a layer, each with its content, which may be left unread."""
    try:
        raw = store.path(layer.digest).open("rb")
    except FileNotFoundError:
        raise WardianError(f"layer {layer.digest} is not in the store", hint="build or pull the image again") from None
    name = f"layer {layer.digest[:19]}"
    with raw:
        yield from entries(Source(chunks(raw, name), name))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
