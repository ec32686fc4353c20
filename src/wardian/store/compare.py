"""Which files differ between two images of the store."""

from wardian.oci.model import Descriptor
from wardian.plan.difference import Change, changed
from wardian.store.contents import Placed, contents, members
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
        return (self._layers[placed.layer].digest, placed.member.at) if placed else None

    def digests(self, paths: list[str]) -> dict[str, str]:
        """The digests of files."""
        hashed = {
            at: {member.at: member.content for member in members(self._store, self._layers[at], hashed=True)}
            for at in {self.entries[path].layer for path in paths}
        }
        return {path: hashed[self.entries[path].layer][self.entries[path].member.at] for path in paths}


def _told(placed: Placed) -> str:
    member = placed.member
    if member.kind == "symlink":
        return f"symlink to {member.target}"
    size = f" {member.size} B" if member.kind == "file" else ""
    return f"{member.kind} {member.mode:04o} {member.uid}:{member.gid}{size}"
