"""BabyAI in words: the same as AgentGym's, call for call; strict, where AgentGym pays twice."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.walks import digest, walk
from wardian.envs.babyai import LEVELS, BabyAI, BabyAIEpisode
from wardian.envs.babyai_view import visible
from wardian.envs.base import NoSuchItem, Turn

GOLDEN = json.loads((Path(__file__).parents[2] / "cases" / "envs" / "babyai.json").read_text())


class Served:
    """An environment behind AgentGym's answers, without the HTTP."""

    def __init__(self, *, agentgym: bool) -> None:
        self.environment = BabyAI(agentgym=agentgym)
        self.score: float = 0
        self.done = False

    def reset(self, item: int) -> dict[str, Any]:
        self.episode, turn = self.environment.start(item, None)
        self.score = 0
        return self._told(turn, deleted=False)

    def step(self, action: str) -> dict[str, Any]:
        if self.done:
            return {"error": "The task with environment 0 has finished."}
        return self._told(self.episode.step(action))

    def _told(self, turn: Turn, **more: Any) -> dict[str, Any]:
        self.score, self.done = self.score + turn.reward, turn.done
        return {"observation": turn.text, "reward": turn.reward, "score": self.score, **more, "done": turn.done}


@pytest.mark.parametrize("part", range(8))
def test_each_answer_is_agentgyms(part: int) -> None:
    """800 episodes, 18,450 calls, all 40 levels, 20 seeds each."""
    found = []
    for item in range(part * 100, part * 100 + 100):
        served = Served(agentgym=True)
        found.append(digest(walk(item, served.reset, served.step)))
    assert found == GOLDEN["digests"].split()[part * 100 : part * 100 + 100]


@pytest.mark.parametrize("item", [int(item) for item in GOLDEN["whole"]])
def test_a_whole_transcript(item: int) -> None:
    """The same, where a difference can be read; 22 begins with something in hand."""
    served = Served(agentgym=True)
    answers = [json.loads(answer) for answer in walk(item, served.reset, served.step)]
    assert answers == GOLDEN["whole"][str(item)]


@pytest.mark.parametrize("level", LEVELS)
def test_the_view_is_minigrids(level: str) -> None:
    """Also after moves at random: what is seen, and what is hidden, as MiniGrid's own observation has it."""
    from minigrid.minigrid_env import MiniGridEnv

    episode = BabyAIEpisode(level, 3, agentgym=False)
    env = episode._env
    chance = random.Random(level)
    for _ in range(40):
        image = MiniGridEnv.gen_obs(env)["image"]
        codes = [
            int(cell[0]) | int(cell[1]) << 4 | int(cell[2]) << 8 for row in image.transpose(1, 0, 2) for cell in row
        ]
        assert visible(env) == codes
        env.step(chance.choice([0, 1, 2, 2, 2, 3, 4, 5]))


def solve(episode: BabyAIEpisode, wait: int) -> Turn:
    """Go to the red ball of item 0 after some turns on the spot."""
    for _ in range(wait):
        episode.step("turn left")
    return episode.step("go to red ball 1")


def test_a_goal_ends_the_episode_also_when_it_is_late() -> None:
    """The reference forces done to False at a reward of 0.5 or less."""
    episode, _ = BabyAI().start(0, None)
    turn = solve(episode, 44)
    assert (turn.done, turn.success, turn.truncated) == (True, True, False)
    assert 0 < turn.reward <= 0.5


def test_agentgym_mode_pays_a_late_goal_again_and_again() -> None:
    """The reward hack of the reference, kept only where it was asked for."""
    served = Served(agentgym=True)
    served.reset(0)
    said = solve_served(served, 44)
    once = said["reward"]
    assert 0 < once <= 0.5
    assert not said["done"]
    for times in range(2, 11):
        said = served.step("no such thing")
        assert (said["reward"], said["score"], said["done"]) == (once, pytest.approx(times * once), False)
    assert said["score"] > 1


def solve_served(served: Served, wait: int) -> dict[str, Any]:
    for _ in range(wait):
        served.step("turn left")
    return served.step("go to red ball 1")


def test_the_level_s_limit_ends_an_episode() -> None:
    episode, _ = BabyAI().start(0, None)
    turns = [episode.step("turn left") for _ in range(70)]
    first = next(at for at, turn in enumerate(turns) if turn.done)
    assert first == 63  # 8 × 8 cells, one navigation
    assert (turns[first].truncated, turns[first].success, turns[first].reward) == (True, False, 0)


def test_strict_shows_what_is_in_hand_once() -> None:
    """In the reference, what the agent carries at first also lies on the floor."""
    for item in range(22, 22 + 40 * 12, 40):
        _, strict = BabyAI().start(item, None)
        _, quirky = BabyAI(agentgym=True).start(item, None)
        carried = strict.text.partition("You are carrying a ")[2].partition(".")[0]
        assert carried
        if strict.text != quirky.text:
            assert quirky.text.count(carried) > strict.text.count(carried)
            return
    pytest.fail("no item of the level shows the difference")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("", "No change in state."),
        ("dance", "The action is not recognized."),
        ("\0", "The action is not recognized."),
        ("🐍" * 100, "The action is not recognized."),
        ("drop", "You cannot drop the object, as you are not carrying anything."),
    ],
)
def test_what_is_no_action_is_said_and_costs_nothing(action: str, said: str) -> None:
    episode, _ = BabyAI().start(0, None)
    turn = episode.step(action)
    assert turn.text.startswith(said)
    assert (turn.valid, turn.reward, turn.done) == (False, 0, False)


def test_a_seed_below_zero_is_no_item() -> None:
    with pytest.raises(NoSuchItem, match="greater or equal to zero, actual value: -1"):
        BabyAI().start(-1, None)


def test_a_seed_takes_the_place_of_the_item_s_own() -> None:
    environment = BabyAI()
    assert environment.start(5, 7)[1] == environment.start(5 + 40 * 7, None)[1]


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """MiniGrid tells of each sample that it rejects."""
    for item in range(80):
        BabyAI().start(item, None)
    assert capsys.readouterr().out == ""
