"""What can go wrong without anybody seeing it: run with `wardian run --image dev -- python -m pytest`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate import main as evaluate
from marl.policy import Policy, collect
from marl.ranks import Alone, checksum
from marl.worlds import WorldError, Worlds
from train import main, options


def test_the_goal_ends_the_episode_for_the_whole_team() -> None:
    worlds = Worlds("MultiGrid-Empty-5x5-v0", agents=2, count=1, seed=0)
    path = [2, 2, 1, 2, 2]  # forward twice, right, forward twice: from the corner to the goal
    for action in path:
        rewards, over, late, _, ended = worlds.step(np.array([action, 6]))

    assert ended == [(pytest.approx((1 - 0.9 * 5 / 100) / 2), 5)]
    assert rewards[0] > 0
    assert over.all()
    assert not late.any()


def test_an_agent_knows_which_one_it_is() -> None:
    seen = Worlds("MultiGrid-Empty-5x5-v0", agents=2, count=3, seed=0).see()

    assert seen.shape[0] == 6
    assert seen[:, -2:].tolist() == [[1, 0], [0, 1]] * 3


def test_an_unknown_environment_is_named() -> None:
    with pytest.raises(WorldError, match="did you mean MultiGrid-Empty-5x5-v0"):
        Worlds("MultiGrid-Empty-5x5-v1", agents=2, count=1, seed=0)


def test_advantages_of_a_policy_that_expects_nothing_are_discounted_rewards() -> None:
    worlds = Worlds("CartPole-v1", agents=1, count=1, seed=0)
    policy = Policy(worlds.width, worlds.actions)
    for values in policy.parameters():
        torch.nn.init.zeros_(values)

    rollout = collect(worlds, policy, 0.0, torch.device("cpu"))

    assert rollout.advantages.tolist() == [1.0] * len(rollout.advantages)


@pytest.mark.parametrize("env", ["classic.rps_v2", "CartPole-v1"])
def test_other_environments_train(env: str, tmp_path: Path) -> None:
    assert main(["--env-name", env, "--num-episodes", "5", "--output-dir", str(tmp_path / "run")]) == 0
    assert evaluate([str(tmp_path / "run"), "--num-episodes", "2"]) == 0


def test_the_same_seed_gives_the_same_metrics(tmp_path: Path) -> None:
    for name in ("a", "b"):
        main(["--num-episodes", "20", "--seed", "3", "--output-dir", str(tmp_path / name)])

    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()


def test_a_training_goes_on_and_refuses_to_be_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--output-dir", str(tmp_path / "run"), "--seed", "1"]
    assert main([*words, "--num-episodes", "10"]) == 0
    assert main([*words, "--num-episodes", "10"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "--num-episodes", "60", "--resume"]) == 0
    assert main([*words, "--num-episodes", "60", "--resume", "--lr", "0.1"]) == 2
    assert "another lr" in capsys.readouterr().err
    updates = [json.loads(line)["update"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert updates == list(range(1, len(updates) + 1))


@pytest.mark.parametrize("words", [["--num-episodes", "0"], ["--lr", "0"], ["--gamma", "2"], ["--device", "tpu"]])
def test_wrong_arguments_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(words)

    assert ended.value.code == 2


def test_checksums_tell_policies_apart() -> None:
    policy = Policy(4, 2)
    before = checksum(policy)
    with torch.no_grad():
        next(policy.parameters())[0, 0] += 1

    assert checksum(policy) != before
    assert Alone().total([1.5]) == [1.5]
