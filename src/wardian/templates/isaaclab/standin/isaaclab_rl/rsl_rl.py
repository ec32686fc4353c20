"""What rsl-rl sees of a task."""

from typing import Any

import gymnasium
import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict


class RslRlVecEnvWrapper(VecEnv):
    """Observations as a TensorDict; an episode that only ran out of time is told apart from one that failed."""

    def __init__(self, env: gymnasium.Env) -> None:
        self.env = env
        self.num_envs, self.device = self.unwrapped.num_envs, self.unwrapped.device
        self.max_episode_length = self.unwrapped.max_episode_length
        self.num_actions = self.unwrapped.single_action_space.shape[0]
        env.reset()

    @property
    def unwrapped(self) -> Any:
        """The task."""
        return self.env.unwrapped

    @property
    def cfg(self) -> Any:
        """The task's configuration."""
        return self.unwrapped.cfg

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """The age of every episode, in steps."""
        return self.unwrapped.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        self.unwrapped.episode_length_buf = value

    def get_observations(self) -> TensorDict:
        """What is seen now."""
        seen = self.unwrapped._get_observations()  # noqa: SLF001 (the bridge's own, in Isaac Lab too)
        return TensorDict(seen, batch_size=[self.num_envs])

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict]:
        """One step."""
        seen, rewards, terminated, late, extras = self.env.step(actions)
        done = (terminated | late).long()
        return TensorDict(seen, batch_size=[self.num_envs]), rewards, done, {**extras, "time_outs": late}

    def close(self) -> None:
        """Close the task."""
        self.env.close()
