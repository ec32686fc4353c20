"""Floating numbers of one width as another, rounded to the nearest (ties to even), and a count of what is no number.

bfloat16 is the upper half of a float32; numpy does not know it, so it is a uint16 here. Pieces are small enough for a
core's cache: on whole tensors the same work waits for memory.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from wardian.checkpoints.plan import Counts

PIECE = 64 * 1024  # elements
Array = np.ndarray[Any, Any]
TYPES: Mapping[str, Any] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}
# From these bits on, without the sign, a float32 is no finite bfloat16: it rounds to infinity, or is none already.
_EDGE = 0x7F7F8000


def convert(given: memoryview, source: str, out: memoryview, target: str, counts: Counts) -> None:
    """Write the numbers of ``given`` as numbers of dtype ``target`` into ``out``, which has room for as many."""
    numbers, made = np.frombuffer(given, TYPES[source]), np.frombuffer(out, TYPES[target])
    for at in range(0, len(numbers), PIECE):
        piece, into = numbers[at : at + PIECE], made[at : at + PIECE]
        if (source, target) == ("float32", "bfloat16") and _halve(piece, into):
            continue
        wide = _wide(piece, source)
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = _halves(wide.astype("<f4", copy=False)) if target == "bfloat16" else wide.astype(TYPES[target])
        into[:] = narrow
        before = _count(wide, counts)
        counts.overflow += int(np.count_nonzero(np.isinf(_wide(narrow, target)))) - before


def count(given: memoryview, source: str, counts: Counts) -> None:
    """Count what is no finite number."""
    numbers = np.frombuffer(given, TYPES[source])
    for at in range(0, len(numbers), PIECE):
        _count(_wide(numbers[at : at + PIECE], source), counts)


def gap(first: bytes, second: bytes, dtype: str) -> float:
    """The largest difference of two numbers in the same place; nan where one is none, or of a type unknown to numpy."""
    if dtype.startswith("float8"):
        return math.nan
    kind = TYPES[dtype] if dtype in TYPES else np.dtype(dtype)
    ours, theirs = (_wide(np.frombuffer(part, kind), dtype).astype("<f8") for part in (first, second))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(ours - theirs)
    return float(apart[~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))].max(initial=0))


def _count(wide: Array, counts: Counts) -> int:
    """Count, and return how many are infinite."""
    if np.isfinite(wide).all():
        return 0
    inf = int(np.count_nonzero(np.isinf(wide)))
    counts.inf += inf
    counts.nan += int(np.count_nonzero(np.isnan(wide)))
    return inf


def _wide(numbers: Array, dtype: str) -> Array:
    """The same numbers in a type that numpy has."""
    return (numbers.astype("<u4") << 16).view("<f4") if dtype == "bfloat16" else numbers


def _halve(numbers: Array, into: Array) -> bool:
    """Round float32 to bfloat16 where all stay finite; else False, and nothing is written."""
    bits = numbers.view("<u4")
    if int(bits.view("<i4").max()) >= _EDGE or int(bits.max()) >= _EDGE | 1 << 31:
        return False
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    into[:] = rounded.view("<u2")[1::2]
    return True


def _halves(numbers: Array) -> Array:
    """Round any float32 to bfloat16. What is no number stays none, and keeps its sign."""
    bits = numbers.view("<u4")
    rounded = ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype("<u2")
    return np.where(np.isnan(numbers), (bits >> 16).astype("<u2") | np.uint16(0x40), rounded)
