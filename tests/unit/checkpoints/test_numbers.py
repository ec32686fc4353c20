"""Rounding is IEEE 754's, whatever the piece is; what is no number is counted."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.checkpoints.numbers import PIECE, TYPES, convert, count, gap
from wardian.checkpoints.plan import Counts

BITS = st.integers(0, 2**32 - 1)


def converted(data: bytes, source: str, target: str) -> tuple[bytes, Counts]:
    counts = Counts()
    size = len(data) // TYPES[source].itemsize * TYPES[target].itemsize
    out = bytearray(size)
    convert(memoryview(data), source, memoryview(out), target, counts)
    return bytes(out), counts


def nearest(bits: int) -> int:
    """A float32 as the nearest bfloat16, ties to even, in exact integers."""
    low, high = bits & 0xFFFF, bits >> 16
    return high + (low > 0x8000 or (low == 0x8000 and high & 1))


@given(st.lists(BITS, min_size=1, max_size=50))
def test_float32_to_bfloat16(bits: list[int]) -> None:
    out, counts = converted(struct.pack(f"<{len(bits)}I", *bits), "float32", "bfloat16")
    made = struct.unpack(f"<{len(bits)}H", out)
    nan = [(one & 0x7FFFFFFF) > 0x7F800000 for one in bits]
    for one, got, none in zip(bits, made, nan, strict=True):
        if none:
            assert (got & 0x7FFF) > 0x7F80
            assert got >> 15 == one >> 31
        else:
            assert got == nearest(one), hex(one)
    inf = sum((one & 0x7FFFFFFF) == 0x7F800000 for one in bits)
    became = sum((nearest(one) & 0x7FFF) == 0x7F80 for one, none in zip(bits, nan, strict=True) if not none) - inf
    assert counts == Counts(sum(nan), inf, became)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7])
def test_every_piece_is_converted(size: int) -> None:
    numbers = np.random.default_rng(size).standard_normal(size, np.float32)
    numbers[size // 2 : size // 2 + 1] = np.inf
    out, counts = converted(numbers.tobytes(), "float32", "bfloat16")
    expected = [nearest(int(one)) for one in numbers.view(np.uint32)]
    assert np.frombuffer(out, "<u2").tolist() == expected
    assert counts == Counts(inf=min(size, 1))


@given(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=50))
def test_a_wider_type_holds_the_same_numbers(halves: list[int]) -> None:
    data = struct.pack(f"<{len(halves)}H", *halves)
    for source in ("bfloat16", "float16"):
        wide, counts = converted(data, source, "float32")
        again, _ = converted(wide, "float32", source)
        numbers = np.frombuffer(wide, "<f4")
        kept = ~np.isnan(numbers)
        assert np.array_equal(np.frombuffer(again, "<u2")[kept], np.frombuffer(data, "<u2")[kept])
        assert counts == Counts(int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum()))


@given(st.lists(st.floats(width=64), min_size=1, max_size=30))
def test_float64_and_float16_as_numpy_has_them(numbers: list[float]) -> None:
    data = np.array(numbers, "<f8").tobytes()
    with np.errstate(over="ignore"):
        for target, kind in (("float32", "<f4"), ("float16", "<f2")):
            out, counts = converted(data, "float64", target)
            expected = np.array(numbers, "<f8").astype(kind)
            assert np.array_equal(np.frombuffer(out, kind), expected, equal_nan=True)
            assert counts.overflow == np.isinf(expected).sum() - np.isinf(np.array(numbers)).sum()


def test_counting_alone() -> None:
    counts = Counts()
    count(memoryview(np.array([np.nan, 1, -np.inf], "<f2").tobytes()), "float16", counts)
    count(memoryview(struct.pack("<3H", 0x7FC0, 0x7F80, 0x3F80)), "bfloat16", counts)
    assert counts == Counts(nan=2, inf=2)
    counts += Counts(1, 1, 1)
    assert counts == Counts(3, 3, 1)


@pytest.mark.parametrize(
    ("dtype", "ours", "theirs", "apart"),
    [
        ("float32", [1, 2, 3], [1, 2.5, 3], 0.5),
        ("float32", [math.nan, math.inf, -math.inf], [math.nan, math.inf, -math.inf], 0),
        ("float32", [math.inf], [0], math.inf),
        ("float32", [math.nan, 1], [1, 2], math.nan),
        ("float64", [1e300], [-1e300], 2e300),
        ("int64", [7, -2], [7, 3], 5),
        ("bool", [True], [False], 1),
        ("uint8", [0], [255], 255),
    ],
)
def test_how_far_numbers_are_apart(dtype: str, ours: list[float], theirs: list[float], apart: float) -> None:
    first, second = (np.array(part, TYPES.get(dtype, dtype)).tobytes() for part in (ours, theirs))
    found = gap(first, second, dtype)
    assert found == apart or (math.isnan(found) and math.isnan(apart))


def test_bfloat16_is_read_as_what_it_is() -> None:
    assert gap(b"\x80\x3f", b"\x00\x40", "bfloat16") == 1
    assert math.isnan(gap(b"\x01", b"\x02", "float8_e4m3fn"))
