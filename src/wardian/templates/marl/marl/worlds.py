"""The environments: MultiGrid's and PettingZoo's, and Gymnasium's as a team of one, side by side in this process."""

import importlib
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

Floats = NDArray[np.float32]
MULTIGRID = 10  # its observations are indices of objects, colours and states: 10 is the highest; its spaces say 255


# MultiGrid compiles itself on first use. That is kept in this folder, for each image apart: numba tells a changed
# source by its time and size, and all files of an image have one time.
if image := os.environ.get("WARDIAN_IMAGE"):
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(".cache/numba", image[-12:]).absolute()))


class WorldError(Exception):
    """There is no such environment, or one that this policy cannot play; the message says what to type instead."""


class Single(ParallelEnv):
    """A Gymnasium environment as a team of one."""

    def __init__(self, env: gymnasium.Env) -> None:
        self._env = env
        self.possible_agents = ["agent"]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> spaces.Space:
        """What the agent sees."""
        return self._env.observation_space

    def action_space(self, agent: str) -> spaces.Space:
        """What it can do."""
        return self._env.action_space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode."""
        self.agents = ["agent"]
        seen, about = self._env.reset(seed=seed)
        return {"agent": seen}, {"agent": about}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """One step."""
        parts = self._env.step(actions["agent"])
        if parts[2] or parts[3]:
            self.agents = []
        return tuple({"agent": part} for part in parts)


def make(name: str, agents: int) -> ParallelEnv:
    """One environment: ``MultiGrid-…``, a module of PettingZoo (``classic.rps_v2``) or a Gymnasium name."""
    import multigrid.envs  # noqa: F401 (registers its environments)
    from multigrid.pettingzoo import PettingZooWrapper

    if name.startswith("MultiGrid-") and name in gymnasium.registry:
        # Gymnasium's checker and wrappers know of no teams, and hide what the PettingZoo wrapper asks for.
        return PettingZooWrapper(gymnasium.make(name, agents=agents, disable_env_checker=True).unwrapped)
    if name in gymnasium.registry:
        return Single(gymnasium.make(name))
    try:
        return importlib.import_module(f"pettingzoo.{name}").parallel_env()
    except ImportError as error:
        known = [*gymnasium.registry]
        near = get_close_matches(name, known, n=1) or ["MultiGrid-Empty-5x5-v0"]
        raise WorldError(f"there is no environment {name} ({error}); did you mean {near[0]}?") from None


class Eyes:
    """Turns what an agent sees into a vector."""

    def __init__(self, space: spaces.Space, highest: float) -> None:
        # What MultiGrid tells every agent in words ("mission") is the same in a whole training: left out.
        inner = dict(space.items()) if isinstance(space, spaces.Dict) else {"": space}
        known = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
        self._spaces = {name: part for name, part in inner.items() if type(part) in known}
        self._highest, self._single = highest, not isinstance(space, spaces.Dict)
        self.size = sum(spaces.flatdim(part) for part in self._spaces.values())
        if self.size == 0:
            raise WorldError(f"no policy here can see {space}")

    def __call__(self, seen: Any) -> Floats:
        """The vector."""
        parts = []
        for name, space in self._spaces.items():
            flat = np.asarray(spaces.flatten(space, seen if self._single else seen[name]), np.float32)
            whole = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer)
            parts.append(flat / self._highest if whole else flat)
        return np.concatenate(parts)


class Worlds:
    """Several environments that begin anew by themselves. A row of every array is one agent of one of them."""

    def __init__(self, name: str, *, agents: int, count: int, seed: int) -> None:
        self._envs = [make(name, agents) for _ in range(count)]
        first = self._envs[0]
        self._ids = list(first.possible_agents)
        acts, sees = ({str(space(one)) for one in self._ids} for space in (first.action_space, first.observation_space))
        if len(acts) > 1 or len(sees) > 1:
            raise WorldError(f"{name}: one shared policy needs agents that see and act alike")
        action = first.action_space(self._ids[0])
        if not isinstance(action, spaces.Discrete):
            raise WorldError(f"{name}: this policy chooses among actions, it has none for {action}")
        self.actions = int(action.n)
        self._first = int(action.start)
        self._eyes = Eyes(first.observation_space(self._ids[0]), MULTIGRID if name.startswith("MultiGrid-") else 255)
        self._team = np.eye(len(self._ids), dtype=np.float32)  # an agent knows which one it is
        self.width = self._eyes.size + len(self._ids)
        self.agents, self.rows = len(self._ids), count * len(self._ids)
        self._returns = np.zeros(count)
        self._lengths = np.zeros(count, int)
        self._seen = np.zeros((self.rows, self.width), np.float32)
        for at in range(count):
            self._begin(at, seed + at)

    def see(self) -> Floats:
        """What every agent sees now."""
        return self._seen.copy()

    def step(self, actions: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_], Floats, list]:
        """One step of all.

        Rewards; whether it is over for the agent; whether only the time was; what it saw last; of each episode that
        ended, the return (the mean of the team) and the length.
        """
        rewards = np.zeros(self.rows, np.float32)
        over, late = np.ones(self.rows, bool), np.zeros(self.rows, bool)  # over for who plays no more
        ended = []
        for at, env in enumerate(self._envs):
            base = at * self.agents
            alive = list(env.agents)
            chosen = {one: int(actions[base + self._ids.index(one)]) + self._first for one in alive}
            seen, reward, dead, timed, _ = env.step(chosen)
            for one in alive:
                row = base + self._ids.index(one)
                rewards[row] = reward[one]
                over[row], late[row] = dead[one] or timed[one], timed[one] and not dead[one]
                self._look(row, seen[one])
            self._returns[at] += rewards[base : base + self.agents].mean()
            self._lengths[at] += 1
        last = self.see()
        for at, env in enumerate(self._envs):
            if not env.agents:
                ended.append((float(self._returns[at]), int(self._lengths[at])))
                self._begin(at, None)
        return rewards, over, late, last, ended

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()

    def _begin(self, at: int, seed: int | None) -> None:
        seen, _ = self._envs[at].reset(seed=seed)
        self._returns[at], self._lengths[at] = 0, 0
        for place, one in enumerate(self._ids):
            self._look(at * self.agents + place, seen[one])

    def _look(self, row: int, seen: Any) -> None:
        self._seen[row] = np.concatenate([self._eyes(seen), self._team[row % self.agents]])
