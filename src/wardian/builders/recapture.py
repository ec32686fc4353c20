"""A layer that an engine made → the tar stream that the sandbox would have made of the same changes. Pure.

An engine's layer has the times of the day, places where something was mounted, what an image must not hold, and its
own order. ``beneath`` is what the step saw: it tells a folder that was only walked through from one that was changed.
Source of the whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wardian.builders.capture import kept_attribute
from wardian.builders.clean import dropped
from wardian.errors import WardianError
from wardian.oci.tar import OPAQUE, WHITEOUT, Entry


def recaptured(
    given: Sequence[Entry], beneath: Mapping[str, Entry], *, epoch: int, skip: Collection[str] = ()
) -> Iterator[tuple[Entry, int | None]]:
    """Every entry of the layer in the sandbox's order, and the place in ``given`` of the one that has its bytes."""
    changes = _Changes.of(given, beneath, frozenset(skip))
    first: dict[int, str] = {}  # origin of hard links → the first of its names
    for path, at, hides in changes.walk("", seen=True):
        if at is None:  # a whiteout
            folder, _, name = path.rpartition("/")
            yield Entry(f"{folder}/{WHITEOUT}{name}".lstrip("/"), mode=0, mtime=epoch), None
            continue
        origin = given[changes.origin(at)] if at >= 0 else beneath[path]
        entry = replace(origin, path=path, mtime=epoch, xattrs=_attributes(origin))
        if entry.kind != "dir":
            name = first.setdefault(changes.origin(at), path)
            if name != path:
                yield replace(entry, kind="hardlink", link=name, size=0, device=(0, 0), xattrs=()), None
                continue
        yield entry, changes.origin(at) if entry.kind == "file" else None
        if hides:
            yield Entry(f"{path}/{OPAQUE}", mode=0, mtime=epoch), None


@dataclass
class _Changes:
    """A layer as a tree."""

    given: Sequence[Entry]
    beneath: Mapping[str, Entry]
    skip: frozenset[str]
    places: dict[str, int] = field(default_factory=dict)  # path → place in ``given``; -1: implied
    removed: set[str] = field(default_factory=set)
    opaque: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def of(cls, given: Sequence[Entry], beneath: Mapping[str, Entry], skip: frozenset[str]) -> "_Changes":
        made = cls(given, beneath, skip)
        for at, entry in enumerate(given):
            folder, _, name = entry.path.rpartition("/")
            if not entry.path:
                continue
            if name == OPAQUE:
                made.opaque.add(folder)
                continue
            path = entry.path
            if name.startswith(WHITEOUT):
                path = f"{folder}/{name.removeprefix(WHITEOUT)}".lstrip("/")
                made.removed.add(path)
            else:
                made.places[path] = at
            made.name(path)
        return made

    def name(self, path: str) -> None:
        """Note a path in its folder, and the folder in its own."""
        while path:
            folder, _, name = path.rpartition("/")
            self.names[folder].add(name)
            path = folder
            if path and path not in self.places:
                self.places[path] = -1

    def origin(self, at: int) -> int:
        """The place of the entry that a chain of hard links leads to."""
        for _ in self.given:
            entry = self.given[at]
            if entry.kind != "hardlink":
                return at
            if self.places.get(entry.link, -1) < 0:
                break
            at = self.places[entry.link]
        raise WardianError(f"the engine's layer has a hard link to nothing: {self.given[at].path!r}")

    def walk(self, folder: str, *, seen: bool) -> Iterator[tuple[str, int | None, bool]]:
        """Path, place (None for a whiteout), and whether it hides a folder beneath; as ``capture`` goes through it.

        ``seen`` says that what lies beneath this folder shows through.
        """
        for name in sorted(self.names.get(folder, ()), key=lambda name: self._order(f"{folder}/{name}".lstrip("/"))):
            path = f"{folder}/{name}".lstrip("/")
            if path in self.skip or path == "run" or dropped(path):
                continue
            at = self.places.get(path)
            lower = self.beneath.get(path) if seen else None
            if at is None:
                if lower is None:
                    raise WardianError(f"/{path}: a file in an image cannot have a name that starts with {WHITEOUT}")
                yield path, None, False
                continue
            if at >= 0 and self.given[at].kind != "dir":
                yield path, at, False
                continue
            over = lower is not None and lower.kind == "dir"
            hides = over and (path in self.opaque or path in self.removed)
            inner = list(self.walk(path, seen=over and not hides))
            if inner or hides or self._changed(at, lower if over else None):
                yield path, at, hides
                yield from inner

    def _changed(self, at: int, lower: Entry | None) -> bool:
        """Whether a folder with nothing in it is one that the step made, or made different."""
        if at < 0:
            return False
        entry = self.given[at]
        if lower is None:
            return True
        return (entry.mode, entry.uid, entry.gid, _attributes(entry)) != (
            lower.mode,
            lower.uid,
            lower.gid,
            _attributes(lower),
        )

    def _order(self, path: str) -> tuple[bool, bytes]:
        return path in self.places, os.fsencode(path.rpartition("/")[2])


def _attributes(entry: Entry) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value) for name, value in entry.xattrs if kept_attribute(name))
