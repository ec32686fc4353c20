"""The direct workflow: the order in which a task's own methods are called, and nothing between them."""

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass


@configclass
class DirectRLEnvCfg:
    """What every task says."""

    seed: int | None = None
    decimation: int = 1
    episode_length_s: float = 1.0
    action_space: int = 0
    observation_space: int = 0
    state_space: int = 0
    sim: SimulationCfg = SimulationCfg()
    scene: InteractiveSceneCfg = InteractiveSceneCfg()


class DirectRLEnv(gymnasium.Env):
    """Many environments in one, as tensors."""

    def __init__(self, cfg: DirectRLEnvCfg, render_mode: str | None = None, **_: object) -> None:
        self.cfg, self.render_mode = cfg, render_mode
        self.num_envs, self.device = cfg.scene.num_envs, cfg.sim.device
        self.physics_dt, self.step_dt = cfg.sim.dt, cfg.sim.dt * cfg.decimation
        self.max_episode_length = math.ceil(cfg.episode_length_s / self.step_dt)
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        self.extras: dict[str, Any] = {}
        self.single_action_space = gymnasium.spaces.Box(-np.inf, np.inf, (cfg.action_space,))
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (cfg.observation_space,))
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        if cfg.seed is not None:
            torch.manual_seed(cfg.seed)
        self._setup_scene()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin everywhere."""
        if seed is not None:
            torch.manual_seed(seed)
        self._reset_idx(torch.arange(self.num_envs, device=self.device))
        return self._get_observations(), self.extras

    def step(self, action: torch.Tensor) -> tuple[dict, torch.Tensor, torch.Tensor, torch.Tensor, dict]:
        """One decision everywhere; what is over begins anew before it is seen."""
        self._pre_physics_step(action.to(self.device))
        for _ in range(self.cfg.decimation):
            self._apply_action()
        self.episode_length_buf += 1
        terminated, late = self._get_dones()
        rewards = self._get_rewards()
        ended = (terminated | late).nonzero().squeeze(-1)
        if len(ended):
            self._reset_idx(ended)
        return self._get_observations(), rewards, terminated, late, self.extras

    def _reset_idx(self, env_ids: Sequence[int] | torch.Tensor | None) -> None:
        self.episode_length_buf[env_ids] = 0
