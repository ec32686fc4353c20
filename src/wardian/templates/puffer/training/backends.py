"""What can play: PPO through pufferlib's ``PuffeRL``, and uniformly random actions as the baseline to compare with."""

import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
import pufferlib.emulation
import pufferlib.pufferlib
import pufferlib.vector
import torch
from pufferlib import models, pufferl

Row = dict[str, Any]  # update, steps, returns (of the episodes that ended), losses
warnings.filterwarnings("ignore", message="In CPU autocast")  # pufferlib asks for autocast in float32, which is none


class Backend(Protocol):
    """Plays in vectorised environments, one update at a time."""

    def updates(self) -> Iterator[Row]:
        """Play, and learn if that is what it does; a row for each update."""
        ...

    def save(self, path: Path) -> None:
        """Write what ``load`` needs to go on."""
        ...

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        ...

    def close(self) -> None:
        """End every thread and environment."""
        ...


def make_envs(config: Mapping[str, Any]) -> Any:
    """The environments, in this process: with workers the order of episodes would depend on the machine's load."""

    def one(buf: Any = None, seed: int = 0) -> Any:
        env = pufferlib.pufferlib.EpisodeStats(gymnasium.make(config["env"]))
        return pufferlib.emulation.GymnasiumPufferEnv(env=env, buf=buf, seed=seed)

    return pufferlib.vector.make(one, backend=pufferlib.vector.Serial, num_envs=config["envs"], seed=config["seed"])


class Random:
    """Uniformly random actions. Learns nothing, so there is nothing to save."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._envs = make_envs(config)
        self._envs.action_space.seed(config["seed"])

    def updates(self) -> Iterator[Row]:
        """Play; a row for each stretch of ``horizon`` steps."""
        envs, horizon = self._config["envs"], self._config["horizon"]
        self._envs.reset(self._config["seed"])
        for update in range(1, self._config["timesteps"] // (envs * horizon) + 1):
            played = [self._envs.step(self._envs.action_space.sample())[4] for _ in range(horizon)]
            ended = [episode["episode_return"] for episodes in played for episode in episodes if episode]
            yield {"update": update, "steps": update * envs * horizon, "returns": ended}

    def save(self, path: Path) -> None:
        """Write an empty file: the run folder's shape is the same for every backend."""
        path.touch()

    def load(self, path: Path) -> None:
        """Never called: the command line refuses it."""

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


class Trainer(pufferl.PuffeRL):
    """PufferLib's trainer without its full-screen display and its own checkpoints, whose names come from the clock."""

    def print_dashboard(self, *_: object, **__: object) -> None:
        """Say nothing: the script prints a line now and then."""

    def save_checkpoint(self) -> None:
        """Write nothing: the run folder does."""


class PufferPPO:
    """PPO by PufferLib, deterministic: one thread, every generator seeded."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        random.seed(config["seed"])
        np.random.seed(config["seed"])  # the generator that pufferlib draws from
        torch.manual_seed(config["seed"])
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(mode=True, warn_only=config["device"] == "cuda")
        self._device = config["device"]
        self._envs = make_envs(config)
        self._policy = models.Default(self._envs.driver_env).to(self._device)
        settings = {
            **config,
            "total_timesteps": config["timesteps"],
            "data_dir": "",
            "checkpoint_interval": sys.maxsize,
        }
        self._trainer = Trainer(settings, self._envs, self._policy)

    def updates(self) -> Iterator[Row]:
        """Train; a row for each update."""
        trainer = self._trainer
        while trainer.epoch < trainer.total_epochs:
            trainer.stats.clear()
            ended = list(trainer.evaluate().get("episode_return", []))
            trainer.last_log_time = 0.0  # else it keeps losses only four times a second, and rows depend on the clock
            trainer.train()
            losses = {name: round(float(value), 6) for name, value in trainer.losses.items() if name != "importance"}
            yield {"update": trainer.epoch, "steps": trainer.global_step, "returns": ended, **losses}

    def save(self, path: Path) -> None:
        """Write weights, optimizer and generator."""
        trainer = self._trainer
        state = {"policy": self._policy.state_dict(), "optimizer": trainer.optimizer.state_dict()}
        torch.save(state | {"update": trainer.epoch, "steps": trainer.global_step, "rng": torch.get_rng_state()}, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; the environments start anew."""
        state, trainer = torch.load(path, map_location=self._device, weights_only=True), self._trainer
        self._policy.load_state_dict(state["policy"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.epoch = trainer.scheduler.last_epoch = state["update"]
        trainer.global_step = state["steps"]
        torch.set_rng_state(state["rng"].cpu())

    def close(self) -> None:
        """End pufferlib's own thread, which would keep the process alive, and the environments."""
        self._trainer.utilization.stop()
        self._envs.close()


def device_of(asked: str) -> str:
    """The device to train on; ``auto`` is cuda where there is one."""
    return asked if asked != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def backend(config: Mapping[str, Any]) -> Backend:
    """The backend that the configuration names."""
    return PufferPPO(config) if config["backend"] == "puffer_ppo" else Random(config)
