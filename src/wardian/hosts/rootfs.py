"""Where a path inside a container really lies, before anything is mounted: layers, binds, the image's symlinks."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wardian.errors import EngineFailed
from wardian.oci.links import followed


@dataclass(frozen=True)
class Tree:
    """The file system a program will see: unpacked layers (top first), and host paths bound over it."""

    lowers: Sequence[str]
    binds: Mapping[str, str] = field(default_factory=dict)  # resolved target → host path

    def over(self, target: str, source: str) -> "Tree":
        """This tree with a host path bound at a resolved target."""
        return Tree(self.lowers, {**self.binds, target: source})

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """The path without symlinks and dots. What does not exist is taken as a plain name; nothing leaves the tree.

        With ``follow=False`` a symlink in the last place stays. Raises ``EngineFailed`` on a loop.
        """
        real = followed(path, lambda at: self._link(f"/{at}"), last=follow)
        if real is None:
            raise EngineFailed(f"{path} in the image is a loop of symlinks")
        return f"/{real}"

    def find(self, path: str) -> Path | None:
        """The host path of what lies at ``path``, symlinks followed; None when nothing does or it cannot be seen."""
        return self._lookup(self.resolve(path))

    def _link(self, path: str) -> str | None:
        if path in self.binds or (found := self._lookup(path)) is None or not found.is_symlink():
            return None
        return str(found.readlink())

    def _lookup(self, path: str) -> Path | None:
        """The topmost entry at a path whose parents hold no symlinks."""
        for target in sorted(self.binds, key=len, reverse=True):
            if path == target or path.startswith(target.rstrip("/") + "/"):
                found = Path(self.binds[target] + path[len(target.rstrip("/")) :])
                return found if os.path.lexists(found) else None
        for lower in self.lowers:
            try:
                found = Path(lower + path)
                mode = found.lstat()
            except FileNotFoundError:
                continue
            except OSError:  # a parent is a file here, or is closed to us: what lies beneath is unknown
                return None
            whiteout = stat.S_ISCHR(mode.st_mode) and mode.st_rdev == 0
            return None if whiteout else found
        return None
