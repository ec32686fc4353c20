"""Retention: what may go, and above all what may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.plan.prune import Stored, natural, newest_first, prune, retention, subject_of


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def image(number: int, *tags: str, created: str | None = "2020-01-01T00:00:00Z", **more: object) -> Stored:
    return Stored(digest(number), tags, created, **more)  # type: ignore[arg-type]


def gone(stored: list[Stored], **keep: int) -> list[str]:
    return [one.digest for one in prune(stored, {name.replace("_", "-") + "-*": n for name, n in keep.items()}).going]


NIGHTS = [image(day, f"nightly-2026112{day}") for day in range(5)]


def test_the_newest_stay_by_name_where_times_are_equal() -> None:
    assert gone(NIGHTS, nightly=3) == [digest(0), digest(1)]


def test_times_go_before_names() -> None:
    stored = [image(one, f"nightly-{one}", created=f"2026-01-0{9 - one}T00:00:00Z") for one in range(1, 5)]
    assert gone(stored, nightly=2) == [digest(3), digest(4)]


def test_names_decide_for_all_where_one_has_no_time() -> None:
    stored = [image(1, "n-1", created="2026-01-01T00:00:00Z"), image(2, "n-2", created=None)]
    assert gone(stored, n=1) == [digest(1)]


def test_numbers_in_names_are_numbers() -> None:
    assert gone([image(9, "v-9"), image(10, "v-10")], v=1) == [digest(9)]


def test_what_no_pattern_matches_stays() -> None:
    assert gone([*NIGHTS, image(9, "latest"), image(8, "stable-1")], nightly=0) == [digest(day) for day in range(5)]


def test_two_tags_of_one_digest_count_once() -> None:
    stored = [image(1, "n-1"), image(2, "n-2"), image(3, "n-3", "n-latest")]
    assert gone(stored, n=2) == [digest(1)]


def test_a_digest_with_a_tag_that_stays_stays() -> None:
    found = prune([image(1, "n-1", "production"), image(2, "n-2")], {"n-*": 1})
    assert found.going == ()
    assert found.staying == (("n-1", "production is the same image"),)
    assert dict(found.kept) == {"n-1": digest(1), "production": digest(1), "n-2": digest(2)}


def test_a_tag_that_one_of_two_patterns_keeps_stays() -> None:
    stored = [image(1, "n-a-1"), image(2, "n-b-1"), image(3, "n-b-2")]
    assert [one.digest for one in prune(stored, {"n-*": 1, "n-a-*": 1}).going] == [digest(2)]


def test_a_child_of_a_kept_index_stays() -> None:
    stored = [image(1, "n-1"), image(2, "n-2"), image(7, "release", children=(digest(1), digest(5))), image(5)]
    found = prune(stored, {"n-*": 0})
    assert [one.digest for one in found.going] == [digest(2)]
    assert found.staying == (("n-1", "release needs it"),)


def test_an_index_goes_before_its_children_and_they_go_with_it() -> None:
    stored = [
        image(5),
        image(6),
        image(7, "n-1", children=(digest(5), digest(6))),
        image(8, "n-2", children=(digest(6),)),
    ]
    assert gone(stored, n=1) == [digest(7), digest(5)]


def test_a_child_with_a_tag_of_its_own_stays() -> None:
    stored = [image(5, "amd64"), image(7, "n-1", children=(digest(5),)), image(8, "n-2")]
    assert gone(stored, n=1) == [digest(7)]


def test_what_speaks_of_an_image_goes_after_it_and_stays_with_it() -> None:
    listing = {number: f"sha256-{number:064x}" for number in (1, 2)}
    stored = [
        image(1, "n-1"),
        image(11, listing[1], children=(digest(21),), created=None),
        image(21, subject=digest(1), created=None),
        image(2, "n-2"),
        image(12, listing[2], children=(digest(22),), created=None),
        image(22, subject=digest(2), created=None),
        image(32, subject=digest(2), created=None),
    ]
    assert gone(stored, n=1) == [digest(1), digest(11), digest(21)]
    found = prune(stored, {"*": 1})
    assert {one.digest for one in found.going} == {digest(1), digest(11), digest(21)}


def test_what_a_kept_artifact_speaks_of_stays() -> None:
    stored = [image(1, "n-1"), image(9, "audit", subject=digest(1)), image(2, "n-2")]
    found = prune(stored, {"n-*": 0})
    assert [one.digest for one in found.going] == [digest(2)]
    assert found.staying == (("n-1", "audit needs it"),)


def test_a_list_of_what_speaks_of_something_unknown_is_left_alone() -> None:
    assert gone([image(11, f"sha256-{99:064x}", children=(digest(21),))], n=0) == []


@pytest.mark.parametrize(
    ("tag", "subject"),
    [
        (f"sha256-{5:064x}", digest(5)),
        (f"sha256-{5:064x}.sig", digest(5)),
        ("sha256-5", None),
        ("nightly", None),
    ],
)
def test_tags_beside_images_are_known(tag: str, subject: str | None) -> None:
    assert subject_of(tag) == subject


def test_rules_of_the_command_line_win() -> None:
    assert retention(["a-*=1", "b=c=2"], {"a-*": 9, "x": 0}) == {"a-*": 1, "b=c": 2, "x": 0}


@pytest.mark.parametrize("word", ["a", "a=", "=3", "a=-1", "a=x", "a=1.5"])
def test_a_rule_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(SpecError, match="is not PATTERN=NUMBER"):
        retention([word], {})


@pytest.mark.parametrize(
    "ordered",
    [
        ["v1", "v9", "v10"],
        ["1", "8" * 5000, "9" * 5000],  # longer than int() reads
        ["1", "1.9", "1.10"],
        ["a", "²", "1"],  # a digit of another kind is a letter
        ["nightly", "nightly-0", "nightly-00", "nightly-1"],
    ],
)
def test_numbers_are_ordered_as_numbers_however_long(ordered: list[str]) -> None:
    assert sorted(ordered, key=natural) == ordered
    keys = [natural(name) for name in ordered]
    assert keys == sorted(keys)


@given(st.lists(st.integers(0, 10**30), min_size=1, max_size=6))
def test_the_order_of_numbered_names_is_that_of_the_numbers(numbered: list[int]) -> None:
    names = [f"nightly-{number}" for number in numbered]
    assert sorted(names, key=natural) == [f"nightly-{number}" for number in sorted(numbered)]


Drawn = tuple[list[str], list[int], int | None]
numbers = st.integers(0, 9)
stored_images = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["n-1", "n-2", "n-10", "s-1", "s-2", "latest", "prod"]), max_size=3),
        st.lists(numbers, max_size=3),
        st.one_of(st.none(), numbers),
    ),
    max_size=10,
)


@given(stored_images, st.dictionaries(st.sampled_from(["n-*", "s-*", "*", "n-1"]), st.integers(0, 3)))
def test_nothing_that_stays_ever_needs_what_goes(
    drawn: list[tuple[list[str], list[int], int | None]], keep: dict[str, int]
) -> None:
    used: set[str] = set()
    stored = []
    for number, (tags, children, subject) in enumerate(drawn):
        own = tuple(tag for tag in dict.fromkeys(tags) if tag not in used)
        used.update(own)
        stored.append(
            image(
                number,
                *own,
                children=tuple(digest(child) for child in children if child < number),
                subject=digest(subject) if subject is not None and subject < number else None,
            )
        )
    found = prune(stored, keep)
    going = {one.digest for one in found.going}
    by_digest = {one.digest: one for one in stored}
    reached = {found_digest for _, found_digest in found.kept}
    waiting = list(reached)
    while waiting:
        one = by_digest.get(waiting.pop())
        near = {*one.children, *filter(None, [one.subject])} - reached if one else set()
        reached |= near
        waiting += near
    assert not going & reached
    assert not {tag for one in found.going for tag in one.tags} & {tag for tag, _ in found.kept}
    for at, left in enumerate(found.going):
        assert not any(left.digest in other.children for other in found.going[at + 1 :])


@given(st.lists(st.text(), max_size=5))
def test_any_names_can_be_ordered(names: list[str]) -> None:
    assert sorted(names, key=natural) is not None
    assert len(newest_first([image(at, name) for at, name in enumerate(names)])) == len(names)
