"""Read what a merge has to look at: whether copies agree, whether records are whole, what a written file holds."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from wardian.checkpoints.archive import Record
from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import Part, Same
from wardian.errors import DigestMismatch
from wardian.oci.inflater import crc32

BUFFER = 1 << 20  # bytes
Advance = Callable[[float], None]


class Inputs:
    """Input files, each opened once."""

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}
        self._guard = Lock()

    def __enter__(self) -> "Inputs":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._files.values():
            os.close(one)

    def get(self, path: Path) -> int:
        """The descriptor of a file."""
        with self._guard:
            if path not in self._files:
                self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return self._files[path]


def equal(first: Sequence[Part], second: Sequence[Part], itemsize: int) -> bool:
    """Whether two tensors hold the same bytes, element by element; each is covered once, in order."""
    if tuple(first) == tuple(second):  # FSDP2 keeps tied tensors in one place
        return True
    with Inputs() as sources:
        ours, theirs = _ordered(sources, first, itemsize), _ordered(sources, second, itemsize)
        left = right = b""
        while True:
            left, right = left or next(ours, b""), right or next(theirs, b"")
            size = min(len(left), len(right))
            if not size:
                return not left and not right
            if left[:size] != right[:size]:
                return False
            left, right = left[size:], right[size:]


def agree(same: Sequence[Same]) -> None:
    """Raise ``Refused`` for a tensor that each rank has whole, and that is not the same in all."""
    for one in same:
        for at, copy in enumerate(one.copies[1:], 1):
            if not equal(one.copies[:1], (copy,), one.itemsize):
                names = one.copies[0].record.path.name, one.copies[at].record.path.name
                raise Refused(f"{one.key} is no shard, and differs between {names[0]} and {names[1]}")


def digests(
    path: Path, places: Mapping[str, tuple[int, int]], threads: int, advance: Advance = lambda _: None
) -> tuple[str, dict[str, str]]:
    """The sha256 of a file, and of each tensor in it by its (first byte, bytes); a thread for each of them at a time.

    The hash of a file cannot be made of its parts': so each byte is hashed twice.
    """
    with path.open("rb") as file, ThreadPoolExecutor(threads) as pool:
        size = os.fstat(file.fileno()).st_size
        whole = pool.submit(_hash, file.fileno(), 0, size, path, advance)
        parts = {key: pool.submit(_hash, file.fileno(), *place, path) for key, place in places.items()}
        return whole.result(), {key: one.result() for key, one in parts.items()}


def _hash(source: int, start: int, size: int, path: Path, advance: Advance = lambda _: None) -> str:
    made = hashlib.sha256()
    while size:
        piece = os.pread(source, min(size, BUFFER), start)
        if not piece:
            raise Refused(f"{path}: it ends early")
        made.update(piece)
        start, size = start + len(piece), size - len(piece)
        advance(len(piece))
    return made.hexdigest()


def check(source: int, record: Record) -> None:
    """Compare a record with the CRC-32 that the zip has for it, which torch itself never does."""
    crc, at = 0, 0
    while at < record.size:
        piece = os.pread(source, min(BUFFER, record.size - at), record.start + at)
        if not piece:
            break
        crc = crc32(piece, crc)
        at += len(piece)
    if at != record.size or crc != record.crc:
        raise DigestMismatch(
            f"{record.path}: bytes {record.start} to {record.start + record.size} were changed since they were saved",
            hint="copy it again from where the checkpoint was saved",
        )


def _ordered(sources: Inputs, parts: Sequence[Part], itemsize: int) -> Iterator[bytes]:
    """The elements in order, a piece at a time. Parts of a tensor that is cut otherwise than by rows are sorted out."""
    runs = sorted(
        (
            part.first + run * part.step,
            part.record.path,
            part.start + run * part.length * itemsize,
            part.length * itemsize,
        )
        for part in parts
        for run in range(part.runs)
    )
    for _, path, start, size in runs:
        at = 0
        while at < size:
            piece = os.pread(sources.get(path), min(BUFFER, size - at), start + at)
            if not piece:
                raise Refused(f"{path}: it ends early")
            yield piece
            at += len(piece)
