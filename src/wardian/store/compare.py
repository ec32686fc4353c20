"""Which files differ between two images of the store."""

from wardian.oci.model import Descriptor
from wardian.plan.difference import Change, changed
from wardian.store.contents import Placed, contents, digests
from wardian.store.store import Store


def files_changed(store: Store, first: str, second: str) -> tuple[Change, ...]:
    """Path, and what it was and is: kind, mode, owner, size, and the digest where nothing else differs.

    A time alone is no change. Only layers that hold such files are read a second time, to hash them.
    """
    sides = (_Side(store, first), _Side(store, second))
    paths = sides[0].entries.keys() | sides[1].entries.keys()
    differ = [path for path in paths if sides[0].place(path) != sides[1].place(path)]
    told = [{path: _told(side.entries[path]) for path in differ if path in side.entries} for side in sides]
    alike = [path for path in differ if told[0].get(path) == told[1].get(path) and told[0][path].startswith("file")]
    for side, lines in zip(sides, told, strict=True):
        for path, digest in side.digests(alike).items():
            lines[path] += f" {digest[:19]}"
    return changed(*told)


class _Side:
    """One of the two images."""

    def __init__(self, store: Store, manifest: str) -> None:
        self.entries = contents(store, manifest).entries
        self._store = store
        self._layers: tuple[Descriptor, ...] = store.manifest(manifest).layers

    def place(self, path: str) -> tuple[str, int] | None:
        """Where a path's bytes are: the same place in both images holds the same."""
        placed = self.entries.get(path)
        return (self._layers[placed.layer].digest, placed.at) if placed else None

    def digests(self, paths: list[str]) -> dict[str, str]:
        """The digests of files."""
        places = {path: self.entries[path] for path in paths}
        layers = {placed.layer for placed in places.values()}
        found = {
            layer: digests(self._store, self._layers[layer], {one.at for one in places.values() if one.layer == layer})
            for layer in layers
        }
        return {path: found[placed.layer][placed.at] for path, placed in places.items()}


def _told(placed: Placed) -> str:
    entry = placed.entry
    if entry.kind == "symlink":
        return f"symlink to {entry.link}"
    size = f" {entry.size} B" if entry.kind == "file" else ""
    return f"{'folder' if entry.kind == 'dir' else entry.kind} {entry.mode:04o} {entry.uid}:{entry.gid}{size}"
