"""``gymnasium:ID`` and ``pettingzoo:MODULE``: registered environments, told and steered in JSON (or text, where it is).

An item is a seed. An action is the JSON of a value of the action space; a bare word is a string, for text spaces.
"""

import importlib
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from wardian.envs.base import NoSuchItem, Turn
from wardian.errors import WardianError

SYSTEM = (
    "You act in an environment. Each turn you get an observation and answer with one action, as JSON and nothing else."
)


def plain(value: Any) -> Any:
    """An observation as JSON has it: arrays are lists, NumPy's numbers are numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def shown(value: Any) -> str:
    """An observation in words: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


def understood(space: Any, action: str) -> Any:
    """The value of a space that an action's text stands for. Raises ``ValueError`` when there is none."""
    import gymnasium
    import numpy as np

    try:
        value = json.loads(action)
    except ValueError:
        value = action.strip()

    def fit(space: Any, value: Any) -> Any:
        spaces = gymnasium.spaces
        if isinstance(space, spaces.Dict) and isinstance(value, dict):
            return {key: fit(one, value[key]) for key, one in space.spaces.items()}
        if isinstance(space, spaces.Tuple) and isinstance(value, list):
            return tuple(fit(one, given) for one, given in zip(space.spaces, value, strict=True))
        if isinstance(space, spaces.Text):
            return str(value)
        if isinstance(space, spaces.Discrete):
            if type(value) is not int:
                raise ValueError("a whole number is wanted")
            return value
        return np.asarray(value, dtype=space.dtype)

    try:
        found = fit(space, value)
        inside = space.contains(found)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not an action of {space}: {error}") from error
    if not inside:
        raise ValueError(f"not an action of {space}")
    return found


class GymnasiumEpisode:
    """One environment with one seed."""

    __slots__ = ("_env", "_score", "_threshold")

    def __init__(self, env: Any) -> None:
        self._env, self._score = env, 0.0
        self._threshold = env.spec.reward_threshold if env.spec else None

    def first(self, seed: int) -> Turn:
        """The space of actions, and the first observation."""
        try:
            observation, _ = self._env.reset(seed=seed)
        except Exception as error:
            self._env.close()
            raise NoSuchItem(f"{type(error).__name__}: {error}") from error
        return Turn(f"Actions: {self._env.action_space}\n{shown(observation)}")

    def step(self, action: str) -> Turn:
        """Do an action; what is none is told, costs nothing and pays nothing."""
        try:
            value = understood(self._env.action_space, action)
        except ValueError as error:
            return Turn(f"The action is not valid: {error}", valid=False)
        observation, reward, ended, cut, told = self._env.step(value)
        self._score += float(reward)
        success = told.get("is_success", told.get("success"))
        if success is None:
            success = ended and (float(reward) > 0 if self._threshold is None else self._score >= self._threshold)
            if self._threshold is not None and cut:
                success = self._score >= self._threshold
        return Turn(shown(observation), float(reward), bool(ended or cut), bool(cut and not ended), bool(success))

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


class Gymnasium:
    """One registered environment."""

    items = None
    max_score = None
    success = "what info says, else the reward threshold reached, else ended with a positive reward"
    system = SYSTEM
    actions = "json"
    blocking = True
    max_sessions = 256
    wire = None

    def __init__(self, env: str = "", *, agentgym: bool = False) -> None:
        del agentgym
        if not env:
            raise WardianError("gymnasium wants an environment's id", hint="for example gymnasium:CartPole-v1")
        self.name, self._id = f"gymnasium:{env}", env
        self._make().close()

    def _make(self) -> Any:
        import gymnasium

        try:
            return gymnasium.make(self._id, disable_env_checker=True)
        except (gymnasium.error.Error, ImportError) as error:
            raise WardianError(f"gymnasium cannot make {self._id!r}: {error}") from error

    def start(self, item: int, seed: int | None) -> tuple[GymnasiumEpisode, Turn]:
        """Begin with a seed: the item's number, or ``seed``."""
        episode = GymnasiumEpisode(self._make())
        return episode, episode.first(item if seed is None else seed)

    def versions(self) -> Mapping[str, str]:
        """Of gymnasium and the module that has the environment."""
        return {"gymnasium": importlib.metadata.version("gymnasium")}

    def close(self) -> None:
        """Nothing is shared."""


class PettingZooEpisode:
    """A parallel environment: an action is an object of each agent's; the reward is the sum."""

    __slots__ = ("_env",)

    def __init__(self, env: Any) -> None:
        self._env = env

    def first(self, seed: int) -> Turn:
        """Each agent's space of actions, and the first observations."""
        observations, _ = self._env.reset(seed=seed)
        spaces = "; ".join(f"{agent}: {self._env.action_space(agent)}" for agent in self._env.agents)
        return Turn(f"Actions: {spaces}\n{shown(observations)}")

    def step(self, action: str) -> Turn:
        """Do one action of each agent that is still there."""
        agents = list(self._env.agents)
        try:
            given = json.loads(action)
            actions = {agent: understood(self._env.action_space(agent), json.dumps(given[agent])) for agent in agents}
        except (ValueError, KeyError, TypeError) as error:
            return Turn(
                f"The action is not valid: {error!s}; an object with {', '.join(agents)} is wanted", valid=False
            )
        observations, rewards, ended, cut, _ = self._env.step(actions)
        reward = float(sum(rewards.values()))
        done = not self._env.agents
        truncated = done and any(cut.values()) and not all(ended.values())
        said = shown({"observations": observations, "rewards": rewards})
        return Turn(said, reward, done, truncated, done and reward > 0)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


class PettingZoo(Gymnasium):
    """One module of PettingZoo with a ``parallel_env``."""

    success = "all agents ended and their last rewards' sum is positive"

    def __init__(self, module: str = "", *, agentgym: bool = False) -> None:
        del agentgym
        if not module:
            raise WardianError(
                "pettingzoo wants a module", hint="for example pettingzoo:pettingzoo.butterfly.pistonball_v6"
            )
        self.name, self._id = f"pettingzoo:{module}", module
        self._make().close()

    def _make(self) -> Any:
        try:
            return importlib.import_module(self._id).parallel_env()
        except (ImportError, AttributeError) as error:
            raise WardianError(f"pettingzoo cannot make {self._id!r}: {error}") from error

    def start(self, item: int, seed: int | None) -> tuple[Any, Turn]:
        """Begin with a seed: the item's number, or ``seed``."""
        episode = PettingZooEpisode(self._make())
        return episode, episode.first(item if seed is None else seed)

    def versions(self) -> Mapping[str, str]:
        """Of pettingzoo."""
        return {"pettingzoo": importlib.metadata.version("pettingzoo")}
