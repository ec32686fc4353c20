"""Bins keep their content when other wheels come and go; there are never too many layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.factory import wheel
from wardian.errors import WardianError
from wardian.lock.wheel import Wheel
from wardian.plan.bins import BIG, BINS, bin_of, groups

NAMES = st.sets(st.from_regex(r"[a-z][a-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=60)
SIZES = st.integers(min_value=0, max_value=8 * BIG)


@st.composite
def wheels(draw: st.DrawFn) -> list[Wheel]:
    names = sorted(draw(NAMES))
    return [wheel(name, size=draw(st.one_of(st.none(), SIZES))) for name in names]


def names(made: tuple[tuple[str, tuple[Wheel, ...]], ...]) -> list[tuple[str, ...]]:
    return [tuple(one.name for one in group) for _, group in made]


@given(wheels(), st.integers(min_value=1, max_value=30))
def test_every_wheel_is_in_one_layer_and_there_is_room(given_wheels: list[Wheel], room: int) -> None:
    made = groups(given_wheels, room=room)
    assert sorted(name for group in names(made) for name in group) == sorted(one.name for one in given_wheels)
    assert 1 <= len(made) <= room


@given(wheels(), st.randoms())
def test_the_order_of_the_wheels_does_not_matter(given_wheels: list[Wheel], random: object) -> None:
    shuffled = list(given_wheels)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert groups(shuffled, room=100) == groups(given_wheels, room=100)


@given(wheels(), st.data())
def test_removing_a_wheel_touches_one_layer(given_wheels: list[Wheel], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(given_wheels))
    before = set(names(groups(given_wheels, room=100)))
    after = set(names(groups([one for one in given_wheels if one != gone], room=100)))
    assert len(before - after) == 1
    assert len(after - before) <= 1


@given(wheels(), st.data())
def test_a_new_version_touches_one_layer(given_wheels: list[Wheel], data: st.DataObject) -> None:
    old = data.draw(st.sampled_from(given_wheels))
    new = wheel(old.name, "2.0", old.size)
    before = {group for _, group in groups(given_wheels, room=100)}
    after = {group for _, group in groups([new if one == old else one for one in given_wheels], room=100)}
    assert len(before - after) == len(after - before) == 1


def test_big_wheels_have_a_layer_of_their_own() -> None:
    made = groups([wheel("torch", "2.4.0", BIG), wheel("rich", size=BIG - 1)], room=100)
    assert made[0][0] == "torch 2.4.0"
    assert names(made)[0] == ("torch",)
    assert made[1][0] == f"bin {bin_of('rich') + 1} of {BINS} (rich)"


def test_a_wheel_without_a_size_is_alone_and_merged_first() -> None:
    given_wheels = [wheel("torch", size=None), *(wheel(f"big{at}", size=4 * BIG) for at in range(4))]
    assert ("torch",) in names(groups(given_wheels, room=100))
    crowded = names(groups([*given_wheels, wheel("small")], room=6))
    assert ("big0",) in crowded
    assert ("torch",) not in crowded or len(crowded) <= 6


def test_four_hundred_big_wheels_fit() -> None:
    many = [wheel(f"dist{at}", size=BIG * (at + 1)) for at in range(400)]
    made = groups(many, room=90)
    assert len(made) <= 90
    largest = [one for one in names(made) if one == ("dist399",)]
    assert largest, "the biggest wheel keeps its own layer"


def test_the_number_of_bins_shrinks_when_there_is_no_room() -> None:
    many = [wheel(f"dist{at}") for at in range(100)]
    assert [len(groups(many, room=room)) for room in (100, 7, 3, 1)] == [8, 4, 2, 1]


def test_no_wheels_need_no_layer_and_some_need_one() -> None:
    assert groups([], room=0) == ()
    with pytest.raises(WardianError, match="no room"):
        groups([wheel("rich")], room=0)


def test_a_bin_never_moves() -> None:
    """The hash is part of every published image's layers: another one would push everything again."""
    assert [bin_of(name) for name in ("numpy", "torch", "rich", "gymnasium")] == [2, 1, 5, 3]
