"""Registered environments in JSON: real ones, and spaces of every kind."""

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.envs.gymnasium_env import Gymnasium, plain, shown, understood
from wardian.errors import WardianError

SPACES = gymnasium.spaces


def cartpole() -> Any:
    return Gymnasium("CartPole-v1")


def test_an_item_is_a_seed() -> None:
    environment = cartpole()
    first, again, other = (environment.start(item, None)[1].text for item in (3, 3, 4))
    assert first == again != other
    assert environment.start(0, 3)[1].text == first
    assert first.startswith("Actions: Discrete(2)\n[")


def test_the_pole_falls() -> None:
    """A reward for each step, an end, and no success: CartPole's threshold is 475."""
    episode, _ = cartpole().start(0, None)
    last = episode.step("1")
    while not last.done:
        last = episode.step("1")
    assert (last.reward, last.truncated, last.success) == (1.0, False, False)
    assert len(json.loads(last.text)) == 4
    episode.close()


def test_text_is_told_as_it_is() -> None:
    assert shown("you are here") == "you are here"
    assert shown({"a": np.float32(0.5), "b": (np.arange(3), "x")}) == '{"a": 0.5, "b": [[0, 1, 2], "x"]}'


@pytest.mark.parametrize("action", ["", "left", "2", "-1", "1.0", "true", "null", "[1]", '{"a": 1}', "9" * 400, "\0"])
def test_what_is_no_action(action: str) -> None:
    episode, _ = cartpole().start(0, None)
    turn = episode.step(action)
    assert (turn.valid, turn.done, turn.reward) == (False, False, 0)
    assert turn.text.startswith("The action is not valid: not an action of Discrete(2)")
    episode.close()


SOME = [
    SPACES.Discrete(5, start=-2),
    SPACES.Box(-2.0, 2.0, (3,)),
    SPACES.Box(0, 255, (2, 2), dtype=np.uint8),
    SPACES.MultiBinary(4),
    SPACES.MultiDiscrete([3, 4]),
    SPACES.Text(8),
    SPACES.Tuple((SPACES.Discrete(3), SPACES.Box(-1.0, 1.0, (2,)))),
    SPACES.Dict({"move": SPACES.Discrete(3), "say": SPACES.Text(4)}),
]


@pytest.mark.parametrize("space", SOME, ids=str)
def test_every_action_can_be_told_in_json(space: Any) -> None:
    space.seed(0)
    for _ in range(50):
        value = space.sample()
        found = understood(space, json.dumps(plain(value)))
        assert space.contains(found)
        assert json.dumps(plain(found)) == json.dumps(plain(value))


@given(st.text(max_size=40) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_text_breaks_a_space(action: str) -> None:
    for space in SOME:
        try:
            found = understood(space, action)
        except ValueError:
            continue
        assert space.contains(found)


@pytest.mark.parametrize("name", ["", "NoSuch-v0", "no_such_module:Thing-v0", "CartPole-v999"])
def test_what_cannot_be_made_is_named(name: str) -> None:
    with pytest.raises(WardianError, match=name.partition(":")[0] or "id"):
        Gymnasium(name)
