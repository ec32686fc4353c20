"""The pure parts of an evaluation: actions, items, numbers, the picture."""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.envs.evaluation.actions import Several, action, opening
from wardian.envs.evaluation.items import Items, first, read
from wardian.envs.evaluation.picture import picture
from wardian.envs.evaluation.results import interval, pass_at, reference_success, student, summary
from wardian.errors import SpecError


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Thought:\nx\n\nAction:\nturn left", "turn left"),
        ("Action: go to red ball 1", "go to red ball 1"),
        ("Action:\n\n  pickup `grey key 2`.\nand then", "pickup grey key 2"),
        ("no action at all", ""),
        ("Action:", ""),
        ("", ""),
        ("Thought: Action speaks\nAction: toggle", "toggle"),
        ("**Action:** drop", "drop"),
    ],
)
def test_the_action_in_a_response(said: str, found: str) -> None:
    """By the rule of AgentGym's BabyAI client."""
    assert action(said, "words", "react") == found


def test_several_actions_are_none() -> None:
    with pytest.raises(Several):
        action("Action: turn left\nAction: turn right", "words", "react")
    assert action("Action: turn left\nAction: turn right", "text", "react").startswith("Action: turn left\n")
    assert action(' {"move": 1} ', "json", "plain") == '{"move": 1}'
    assert action("Turn left!", "words", "plain") == "Turn left"


@given(st.text())
def test_no_response_breaks_the_rule(said: str) -> None:
    for kind in ("words", "json", "text"):
        for form in ("react", "plain"):
            try:
                action(said, kind, form)
            except Several:
                assert said.count("Action:") > 1


def test_the_opening() -> None:
    info = {"actions": "words", "system": "You play."}
    react, agreed = opening(info, "react")
    assert react["content"] == (
        "You play.\n\nYour response should use the following format:\n"
        "Thought:\n<Your Thought>\n\nAction:\n<Your Action>"
    )
    assert agreed["role"] == "assistant"
    assert opening({"actions": "text", "system": "x"}, "react") == []


def listed(folder: Path, name: str, *numbers: int) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps([{"item_id": f"babyai_{number}", "conversations": []} for number in numbers]))
    return path


def test_agentgyms_lists_and_their_categories(tmp_path: Path) -> None:
    path = listed(tmp_path, "babyai_test", 5, 3, 9, 3)
    listed(tmp_path, "babyai_train", 5)
    listed(tmp_path, "GoTo", 3, 9, 77)
    listed(tmp_path, "Elsewhere", 1000)
    (tmp_path / "package.json").write_text('{"name": "of something else"}')
    found = read(path, None, "babyai")
    assert found == Items((5, 3, 9), {"GoTo": frozenset({3, 9})})
    assert (found.of(9), found.of(5)) == (["GoTo"], [])
    assert read(path, 2, "babyai") == Items((5, 3), {"GoTo": frozenset({3})})


def test_a_list_of_another_environment_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path, "babyai_test", 5)
    with pytest.raises(SpecError, match="a list of babyai, and sciworld is played"):
        read(path, None, "sciworld", {"babyai", "sciworld"})
    assert read(path, None, "mine", {"sciworld"}).numbers == (5,)  # a name that we do not know may be anyone's


def test_the_first_items() -> None:
    assert first(None, None).numbers == tuple(range(200))
    assert first(34, None).numbers == tuple(range(34))
    assert first(10**9, 3).numbers == (0, 1, 2)


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '[{"item_id": "babyai"}]', '[{"id": 1}]', '{"item_id": "x_1"}'])
def test_what_is_no_list_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"odd\.json"):
        read(path, None, "babyai")
    with pytest.raises(SpecError, match="nowhere"):
        read(tmp_path / "nowhere.json", None, "babyai")


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_choices_with_a_solved_one(numbers: tuple[int, int, int]) -> None:
    tried, solved, k = numbers
    choices = list(combinations([True] * solved + [False] * (tried - solved), k))
    assert pass_at(solved, tried, k) == pytest.approx(sum(any(one) for one in choices) / len(choices))


def test_an_interval() -> None:
    assert interval([]) == interval([0.3]) == 0
    assert interval([0, 1] * 50) == pytest.approx(1.984217 * math.sqrt(25 / 99) / 10)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (30, 2.0423)])
def test_few_items_have_a_wide_interval(freedom: int, quantile: float) -> None:
    """Quantiles of the usual table (NIST handbook, 1.3.6.7.2)."""
    assert student(freedom) == pytest.approx(quantile, rel=0.002)


@pytest.mark.parametrize(("reward", "success"), [(1, True), (100, True), (0.97, False), (0, False), (13.1, False)])
def test_the_references_success(reward: float, *, success: bool) -> None:
    """Never true of BabyAI, whose rewards stay below 1: eight of twelve solved, and it says 0.0."""
    assert reference_success(reward) is success


def result(item: int, sample: int, reward: float, **more: Any) -> dict[str, Any]:
    base = {"item": item, "sample": sample, "reward": reward, "success": reward > 0, "rounds": 4, "invalid": 1}
    fixed = {"reference_success": reference_success(reward), "truncated": False, "tokens": [7, 3], "seconds": 0.5}
    return {**base, **fixed, "error": None, **more}


RESULTS = [
    result(0, 0, 0.9), result(0, 1, 0.0), result(1, 0, 1), result(1, 1, 1), result(2, 0, 0.0), result(2, 1, 0.0),
    result(3, 0, 0.0, error="the model: gone", rounds=0), result(3, 1, 0.8),
]  # fmt: skip


def test_a_summary() -> None:
    said = summary(RESULTS, {"GoTo": frozenset({0, 1}), "None": frozenset({77})}, 2)
    every = said["all"]
    assert (every["items"], every["samples"], every["errors"]) == (4, 7, 1)
    assert every["score"] == pytest.approx((0.45 + 1 + 0 + 0.8) / 4)
    assert every["success"] == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert every["reference_success"] == pytest.approx(1 / 4)
    assert every["pass_at_k"] == {"1": pytest.approx(0.5), "2": pytest.approx(2 / 3)}  # of items with all samples
    assert every["invalid_actions"] == pytest.approx(0.25)
    assert every["tokens"] == [49, 21]
    assert said["categories"]["GoTo"]["score"] == pytest.approx(0.725)
    assert said["categories"]["None"]["score"] is None
    json.dumps(said, allow_nan=False)


def test_nothing_played_is_no_zero() -> None:
    said = summary([result(0, 0, 0.0, error="x")], {}, 1)["all"]
    assert (said["score"], said["success"], said["errors"]) == (None, None, 1)


def test_the_picture_is_whole() -> None:
    said = summary(RESULTS, {"<b>&": frozenset({0}), "None": frozenset({77})}, 2)
    root = ET.fromstring(picture('a "title" <&>', said, 1.0))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {'a "title" <&>', "all", "<b>&", "nothing played"} <= set(texts)
    ET.fromstring(picture("t", summary([], {}, 1), None))
