"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.units import seconds, size


@pytest.mark.parametrize(
    ("written", "meant"), [(0, 0), (90, 90), (1.5, 1.5), ("60s", 60), ("1h30m", 5400), ("0.5d", 43200), ("1m1m", 120)]
)
def test_durations(written: object, meant: float) -> None:
    assert seconds(written) == meant


@pytest.mark.parametrize(
    "written", ["", "60", "1..5s", "1.2.3s", ".5s", "5.s", "1h 30m", "-1s", -1, True, None, float("inf"), float("nan")]
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(0, 0), ("512", 512), ("1k", 1024), ("16g", 16 << 30), ("16 GB", 16 << 30), ("1.5GiB", 3 << 29), ("2T", 2 << 40)],
)
def test_sizes(written: object, meant: int) -> None:
    assert size(written) == meant


@pytest.mark.parametrize("written", ["", "g", "1.g", "1e3", "-1", -1, 1.5, True, None, "16q", "1 2g"])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(written)


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("smhd")), min_size=1))
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    assert seconds("".join(f"{number}{unit}" for number, unit in parts)) == sum(
        seconds(f"{number}{unit}") for number, unit in parts
    )
