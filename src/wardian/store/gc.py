"""What nothing needs any more: listed first, removed only then, and never under a process that works on it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wardian.errors import WardianError
from wardian.hosts.base import Host
from wardian.hosts.sandbox import Namespace
from wardian.store.files import abandoned, remove_tree
from wardian.store.reach import living, reach
from wardian.store.store import Store
from wardian.store.unpacked import is_done, noted, remove, removed_if_free, trees

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Litter:
    """Something to remove: what kind it is, where, how many bytes, and why it is not needed."""

    kind: str  # blob | unpacked | record | listing | download | temporary | referrer
    path: Path
    size: int
    why: str


def litter(store: Store, inside: Namespace | None, *, downloads: float = 30 * DAY) -> list[Litter]:
    """Everything that may go; downloads when they are unused for so many seconds.

    Raises ``WardianError`` when a reference is broken: then it is not certain what is needed.
    """
    found = reach(store)
    if found.broken:
        first = found.broken[0]
        raise WardianError(f"{first.name} is broken: {first.why}", hint="type: wardian store verify --repair")
    needed = {digest[7:] for digest in found.blobs}
    return [
        *_referrers(store),
        *_records(store, needed),
        *_blobs(store, needed),
        *_unpacked(store, inside, found.diff_ids),
        *_listings(store, needed),
        *_downloads(store, time.time() - downloads),
        *_temporary(store),
    ]


def prune(
    store: Store, host: Host, inside: Namespace | None, *, downloads: float = 30 * DAY, said: Callable[[Litter], None]
) -> list[Litter]:
    """Remove what ``litter`` finds and return what was removed; each is told to ``said`` after it is gone."""
    removed = []
    with store.exclusive(), store.changing() as entries:
        doomed = litter(store, inside, downloads=downloads)
        entries[:] = list(living(store))
        for item in doomed:
            if _remove(item, store, host, inside):
                said(item)
                removed.append(item)
    return removed


def _remove(item: Litter, store: Store, host: Host, inside: Namespace | None) -> bool:
    if item.kind == "unpacked":
        return inside is not None and removed_if_free(store, host, inside, item.path)
    if item.kind == "temporary" and item.path.is_dir():
        try:
            remove_tree(item.path)
        except PermissionError:  # holds files of subordinate ids
            if inside is not None:
                remove(host, inside, item.path)
        return not item.path.exists()
    if item.kind != "referrer":
        item.path.unlink(missing_ok=True)
    if item.kind == "download" and not any(item.path.parent.iterdir()):
        item.path.parent.rmdir()
    return True


def _referrers(store: Store) -> Iterator[Litter]:
    kept = list(living(store))
    for entry in store.index().manifests:
        if entry not in kept:
            yield Litter("referrer", store.path(entry.digest), 0, "speaks of an image that is gone")


def _records(store: Store, needed: set[str]) -> Iterator[Litter]:
    for path, record in store.remembered():
        if record is None or record.digest[7:] not in needed:
            title = record.title if record else "damaged"
            yield Litter("record", path, path.stat().st_size, f"no image has this layer ({title})")


def _blobs(store: Store, needed: set[str]) -> Iterator[Litter]:
    for path in sorted(store.blobs.iterdir()) if store.blobs.is_dir() else ():
        if len(path.name) == 64 and path.name not in needed:
            yield Litter("blob", path, path.stat().st_size, "no image has it")


def _listings(store: Store, needed: set[str]) -> Iterator[Litter]:
    folder = store.root / "listings"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.partition(".")[0] not in needed:
            yield Litter("listing", path, path.stat().st_size, "no image has it")


def _unpacked(store: Store, inside: Namespace | None, needed: set[str]) -> Iterator[Litter]:
    for tree in trees(store, inside) if inside else ():
        if f"sha256:{tree.name[:64]}" not in needed:
            yield Litter("unpacked", tree, unpacked_size(tree), "no image has this layer")
        elif (maker := noted(tree).get("made_by")) and maker not in needed:
            yield Litter("unpacked", tree, unpacked_size(tree), "no image has the Python that made it")
        elif not is_done(tree):
            yield Litter("unpacked", tree, 0, "was never finished")


def _downloads(store: Store, before: float) -> Iterator[Litter]:
    for path in sorted(store.downloads.glob("*/*")):
        seen = path.stat()
        if max(seen.st_atime, seen.st_mtime) < before:
            yield Litter("download", path, seen.st_size, "was not used for long")


def _temporary(store: Store) -> Iterator[Litter]:
    for path in sorted(store.scratch.iterdir()) if store.scratch.is_dir() else ():
        seen = path.lstat()
        if abandoned(path.name, time.time() - seen.st_mtime):
            yield Litter("temporary", path, seen.st_size, "its maker is gone")


def unpacked_size(tree: Path) -> int:
    """The bytes that a finished tree took when it was unpacked."""
    size = noted(tree).get("size", 0)
    return size if isinstance(size, int) else 0
