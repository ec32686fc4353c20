"""Whether everything in the store is what it claims to be, and its repair: the damaged goes, to be made anew."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wardian.errors import WardianError
from wardian.hosts.base import Host
from wardian.hosts.sandbox import Namespace
from wardian.oci.model import Index
from wardian.store.files import write_file
from wardian.store.reach import Broken, Reach, reach
from wardian.store.store import Store
from wardian.store.unpacked import changed, is_done, removed_if_free, trees

_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, where, and what repairing it will do."""

    place: str
    what: str
    remedy: str
    repair: Callable[[], object]  # looks again before it does something; False: a running container is in the way


def verify(store: Store, host: Host, inside: Namespace | None, *, note: Callable[[str], None]) -> list[Fault]:
    """Everything that is wrong in the store; ``inside`` is None where unpacked trees cannot be looked into."""
    if not (store.root / "oci-layout").exists():
        return []
    faults = list(_index(store))
    if faults:
        return faults
    note("reading blobs and downloads")
    damaged = [*_blobs(store), *_downloads(store)]
    gone = frozenset(f"sha256:{Path(fault.place).name}" for fault in damaged if Path(fault.place).parent == store.blobs)
    note("following references")
    broken = [_unreachable(store, entry) for entry in reach(store, gone).broken]
    note("looking at unpacked layers")
    return [*damaged, *broken, *_records(store, gone), *_trees(store, host, inside)]


def repair(store: Store, faults: list[Fault]) -> list[Fault]:
    """Do what each fault's remedy says; those that remain, because a running container uses what they speak of."""
    with store.exclusive():
        return [fault for fault in faults if fault.repair() is False]


def _index(store: Store) -> Iterator[Fault]:
    try:
        store.index()
    except WardianError as error:
        path, empty = store.root / "index.json", Index().to_bytes()
        remedy = "start an empty index; images get their names back when they are built or pulled"
        yield Fault(str(path), error.message, remedy, lambda: write_file(path, empty, scratch=store.scratch))


def _blobs(store: Store) -> Iterator[Fault]:
    paths = sorted(store.blobs.iterdir()) if store.blobs.is_dir() else []
    for path, said in _hashed(paths):
        if len(path.name) != 64 or path.is_dir():
            yield Fault(str(path), "is not a blob", "leave it", lambda: None)
        elif said != path.name:
            yield _removal(path, said, path.name)


def _downloads(store: Store) -> Iterator[Fault]:
    paths = sorted(store.downloads.glob("*/*")) if store.downloads.is_dir() else []
    for path, said in _hashed(paths):
        if said != path.parent.name:
            yield _removal(path, said, path.parent.name)


def _removal(path: Path, said: str, wanted: str) -> Fault:
    def remove_it() -> None:
        if _hash(path) != wanted:
            path.unlink(missing_ok=True)

    return Fault(str(path), f"was changed: its bytes are sha256:{said}", "remove it", remove_it)


def _hashed(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    with ThreadPoolExecutor(2) as pool:
        yield from zip(paths, pool.map(_hash, paths), strict=True)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_WINDOW):
                digest.update(piece)
    except IsADirectoryError:
        return ""
    except FileNotFoundError:  # pruned meanwhile
        return path.name
    return digest.hexdigest()


def _unreachable(store: Store, broken: Broken) -> Fault:
    def forget() -> None:
        now = Reach()
        now.add(store, broken.entry)
        if now.broken:
            with store.changing() as entries:
                entries[:] = [entry for entry in entries if entry != broken.entry]

    return Fault(broken.name, broken.why, "forget it, to be built or pulled again", forget)


def _records(store: Store, gone: frozenset[str]) -> Iterator[Fault]:
    for path, record in store.remembered():
        if record is None:
            what = "is not a layer's record"
        elif not store.has(record.digest, record.size) or record.digest in gone:
            what = f"names {record.digest}, which is not here, or not whole"
        else:
            continue
        yield Fault(str(path), what, "remove it", partial(path.unlink, missing_ok=True))


def _trees(store: Store, host: Host, inside: Namespace | None) -> Iterator[Fault]:
    """Unpacked layers that somebody changed, or that were never finished."""
    if inside is None or not store.unpacked.is_dir():
        return
    for tree in trees(store, inside):
        if is_done(tree) and (what := changed(host, inside, tree)):
            free = partial(removed_if_free, store, host, inside, tree)
            yield Fault(str(tree), what, "remove it, to be unpacked again", free)
