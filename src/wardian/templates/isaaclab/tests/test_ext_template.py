"""The extension, and what it stands on: run with `wardian run --image ext-dev -- python -m pytest`."""

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "rsl_rl"))

import cli_args
import ext_template.tasks  # noqa: F401
import gymnasium
import torch
from isaaclab.app import AppLauncher
from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlVecEnvWrapper
from isaaclab_tasks.utils import get_checkpoint_path, load_cfg_from_registry, parse_env_cfg

TASK = "ExtTemplate-Cartpole-v0"


def wrapped(count: int) -> RslRlVecEnvWrapper:
    return RslRlVecEnvWrapper(gymnasium.make(TASK, cfg=parse_env_cfg(TASK, device="cpu", num_envs=count)))


def test_a_pole_that_nobody_holds_falls() -> None:
    env = wrapped(8)
    fallen = torch.zeros(8, dtype=torch.bool)
    for _ in range(198):
        _, _, done, extras = env.step(torch.zeros(8, 1))
        fallen |= done.bool()
        assert not extras["time_outs"].any()

    assert fallen.all()


def test_energy_is_kept_where_nobody_pushes() -> None:
    cfg = parse_env_cfg(TASK, device="cpu", num_envs=1)
    cfg.lean, cfg.edge, cfg.sim.dt, cfg.decimation = 10.0, 100.0, 1e-4, 1
    env = gymnasium.make(TASK, cfg=cfg).unwrapped
    env.reset()
    env._state = torch.tensor([[0.0, 0.0, 0.1, 0.0]])  # noqa: SLF001

    def energy() -> float:
        _, speed, angle, turn = env._state[0].tolist()  # noqa: SLF001
        sine, cosine = torch.tensor(angle).sin().item(), torch.tensor(angle).cos().item()
        along, down = speed + 0.5 * turn * cosine, 0.5 * turn * sine
        spin = 0.5 * (0.1 * 1.0**2 / 12) * turn**2
        return 0.5 * 1.0 * speed**2 + 0.5 * 0.1 * (along**2 + down**2) + spin + 0.1 * 9.81 * 0.5 * cosine

    before = energy()
    for _ in range(10_000):  # a second
        env._apply_action()  # noqa: SLF001

    assert abs(env._state[0, 3].item()) > 0.1  # noqa: SLF001
    assert energy() == pytest.approx(before, abs=2e-3)


def test_an_episode_that_runs_out_of_time_is_no_failure() -> None:
    env = wrapped(2)
    env.episode_length_buf = torch.tensor([0, 198])

    _, _, done, extras = env.step(torch.zeros(2, 1))

    assert done.tolist() == [0, 1]
    assert extras["time_outs"].tolist() == [False, True]
    assert env.episode_length_buf.tolist() == [1, 0]


def test_settings_of_the_command_line() -> None:
    roots = {"env": parse_env_cfg(TASK, device="cpu"), "agent": load_cfg_from_registry(TASK, "rsl_rl_cfg_entry_point")}

    cli_args.change(roots, ["agent.actor.hidden_dims=[1, 2]", "env.sim.dt=5e-3", "agent.run_name=$(id -u)"])

    assert roots["agent"]["actor"]["hidden_dims"] == [1, 2]
    assert roots["agent"]["critic"]["hidden_dims"] == [32, 32]
    assert roots["env"].sim.dt == 0.005
    assert roots["agent"]["run_name"] == "$(id -u)"


@pytest.mark.parametrize(
    "setting", ["lr=$(id -u)", "agent.algorithm.lr=1", "env.sim", "agent=1", "env.sim.dt.x=1", "x.y=1"]
)
def test_a_setting_of_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="sets nothing"):
        cli_args.change({"env": parse_env_cfg(TASK, device="cpu"), "agent": {"algorithm": {"gamma": 1}}}, [setting])


def test_the_last_checkpoint_of_the_last_run(tmp_path: Path) -> None:
    for run, names in {
        "2026-01-01": ["model_9.pt"],
        "2026-01-02": ["model_9.pt", "model_10.pt"],
        "2026-01-03": [],
    }.items():
        (tmp_path / run).mkdir()
        for name in names:
            (tmp_path / run / name).touch()

    assert get_checkpoint_path(str(tmp_path), checkpoint="model_.*") == str(tmp_path / "2026-01-02" / "model_10.pt")
    assert get_checkpoint_path(str(tmp_path), "2026-01-01") == str(tmp_path / "2026-01-01" / "model_9.pt")
    with pytest.raises(ValueError, match="no checkpoint"):
        get_checkpoint_path(str(tmp_path), "2025.*")


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(ValueError, match=f"did you mean {TASK}"):
        parse_env_cfg("ExtTemplate-Cartpole-v1", device="cpu")


def test_configurations_do_not_share_their_values() -> None:
    @configclass
    class Inner:
        values: list = [1]  # noqa: RUF012

    @configclass
    class Outer:
        inner: Inner = Inner()
        size = 3

    one, other = Outer(), Outer()
    one.inner.values.append(2)

    assert other.to_dict() == {"inner": {"values": [1]}, "size": 3}
    assert Outer(size=4).size == 4


def test_the_stand_in_has_no_window() -> None:
    parser = argparse.ArgumentParser()
    AppLauncher.add_app_launcher_args(parser)
    with pytest.raises(SystemExit, match="--headless"):
        AppLauncher(parser.parse_args([]))
