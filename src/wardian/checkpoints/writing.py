"""Write planned files: room first, then each tensor to its final place, by threads; nothing is visible before all is.

All is read, rounded where the dtype changes, and written a megabyte at a time. So memory does not grow with the model,
and inputs are not mapped: a mapped page counts as ours. ``copy_file_range`` takes longer, because pieces of tensors
begin at other places of a page than they came from (ext4, 3.2 GB in 2,456 pieces: 0.58 s, in this way 0.34).
"""

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, local
from typing import NamedTuple

from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import FLOATING, Counts, OutputFile, Placed
from wardian.checkpoints.reading import BUFFER, Advance, Inputs, check
from wardian.checkpoints.safetensors import header
from wardian.checkpoints.tensors import DTYPES
from wardian.errors import WardianError
from wardian.spec.units import human_size


@dataclass
class Report:
    """What was seen on the way: numbers that are none, by tensor, and how often rounding left the range."""

    counts: dict[str, Counts] = field(default_factory=dict)
    _guard: Lock = field(default_factory=Lock)

    def add(self, key: str, counts: Counts) -> None:
        """Add what one thread counted."""
        with self._guard:
            self.counts[key] = counts


def room(folder: Path, files: Sequence[OutputFile]) -> None:
    """Raise ``WardianError`` where the disk has not the room for all of these."""
    needed = sum(len(header(one)) + one.size for one in files)
    seen = os.statvfs(folder)
    free = seen.f_bavail * seen.f_frsize
    if needed > free:
        raise WardianError(
            f"{folder} has room for {human_size(free)}, and {human_size(needed)} are needed",
            hint="free some, or write to another disk with --out",
        )


def write(
    folder: Path, files: Sequence[OutputFile], *, threads: int, verify: bool, advance: Advance = lambda _: None
) -> Report:
    """Write all files into an empty folder. With ``verify`` each record's CRC-32 is compared first.

    Raises ``DigestMismatch`` for a record that was changed, ``WardianError`` for a disk that is full.
    """
    report = Report()
    targets = [_prepared(folder / one.name, one) for one in files]
    try:
        work = sorted(
            (
                (one, target, first)
                for file, (target, first) in zip(files, targets, strict=True)
                for one in file.tensors
            ),
            key=lambda item: -item[0].size,
        )
        with ThreadPoolExecutor(threads) as pool, Inputs() as sources:
            if verify:
                records = {part.record for one, _, _ in work for part in one.whole.parts}
                ordered = sorted(records, key=lambda record: -record.size)
                list(pool.map(lambda record: check(sources.get(record.path), record), ordered))
            writer = _Writer(sources, report, advance, counting=verify)
            made = [pool.submit(writer.tensor, *item) for item in work]
            try:
                for future in made:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WardianError(f"{folder}: the disk is full", hint="free some, or write to another disk") from error
        raise WardianError(f"{folder}: {error.strerror}") from error
    finally:
        for target, _ in targets:
            os.close(target)
    return report


def _prepared(path: Path, file: OutputFile) -> tuple[int, int]:
    """A new file of its full size with its header; its descriptor, and where the data begin."""
    text = header(file)
    target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    _allocate(target, len(text) + file.size)
    os.pwrite(target, text, 0)
    return target, len(text)


def _allocate(target: int, size: int) -> None:
    """Take the room now. Where the file system cannot, only the size is set: posix_fallocate(3) would write zeros."""
    os.ftruncate(target, size)
    call = ctypes.CDLL(None, use_errno=True).fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if size and call(target, 0, 0, size) and ctypes.get_errno() in (errno.ENOSPC, errno.EDQUOT):
        os.close(target)
        raise WardianError("the disk is full", hint="free some, or write to another disk with --out")


class _Move(NamedTuple):
    """Elements that lie together in both files: from byte ``start`` of one to byte ``place`` of the other."""

    source: int
    start: int
    target: int
    place: int
    length: int


@dataclass(frozen=True, slots=True)
class _Writer:
    """What all threads share."""

    sources: Inputs
    report: Report
    advance: Advance
    counting: bool

    def tensor(self, one: Placed, target: int, data: int) -> None:
        """Write one tensor to its place."""
        ours, theirs = one.whole.itemsize, DTYPES[one.dtype][1]
        floating = one.whole.dtype in FLOATING
        looked = floating and (self.counting or one.dtype != one.whole.dtype)
        counts = Counts()
        for part in one.whole.parts:
            source = self.sources.get(part.record.path)
            for run in range(part.runs):
                start = part.start + run * part.length * ours
                place = data + one.start + (part.first + run * part.step) * theirs
                move = _Move(source, start, target, place, part.length)
                if looked:
                    _convert(move, one, counts)
                else:
                    _copy(move, ours)
                self.advance(part.length * theirs)
        if looked:
            self.report.add(one.key, counts)


class _Mine(local):
    """Memory of one thread, kept from move to move: to clear it anew costs as much as the move."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER))


_MINE = _Mine()


def _copy(move: _Move, itemsize: int) -> None:
    """Bytes from file to file."""
    source, start, target, place, length = move
    size, buffer = length * itemsize, _MINE.buffer
    while size:
        done = os.preadv(source, [buffer[:size]], start)
        if not done:
            raise Refused("an input file became shorter while it was read")
        put(target, buffer[:done], place)
        start, place, size = start + done, place + done, size - done


def _convert(move: _Move, one: Placed, counts: Counts) -> None:
    """Read, round and write; with equal dtypes read, count and write."""
    for place, out in _read(move, one, counts):
        put(move.target, out, place)


def put(target: int, out: memoryview, place: int) -> None:
    """Write all of it: pwrite(2) may write less."""
    written = 0
    while written < len(out):
        written += os.pwrite(target, out[written:], place + written)


def _read(move: _Move, one: Placed, counts: Counts) -> Iterator[tuple[int, memoryview]]:
    """The elements as the output has them, and where they belong; each piece is overwritten by the next."""
    from wardian.checkpoints.numbers import convert, count  # numpy, without which a plain copy is done sooner

    source, start, _, place, length = move
    ours, theirs = one.whole.itemsize, DTYPES[one.dtype][1]
    step = BUFFER // ours
    given, made = memoryview(bytearray(min(length, step) * ours)), memoryview(bytearray(min(length, step) * theirs))
    while length:
        size = min(length, step)
        piece, out = given[: size * ours], made[: size * theirs]
        if os.preadv(source, [piece], start) != size * ours:
            raise Refused("an input file became shorter while it was read")
        if one.dtype != one.whole.dtype:
            convert(piece, one.whole.dtype, out, one.dtype, counts)
            yield place, out
        else:
            if one.dtype in FLOATING:
                count(piece, one.dtype, counts)
            yield place, piece
        start, place, length = start + size * ours, place + size * theirs, length - size


def pieces(one: Placed, sources: Inputs) -> Iterator[tuple[int, memoryview]]:
    """All bytes of a tensor as the output has them, and where in the tensor each piece belongs."""
    ours, theirs = one.whole.itemsize, DTYPES[one.dtype][1]
    for part in one.whole.parts:
        source = sources.get(part.record.path)
        for run in range(part.runs):
            start = part.start + run * part.length * ours
            yield from _read(
                _Move(source, start, -1, (part.first + run * part.step) * theirs, part.length), one, Counts()
            )
