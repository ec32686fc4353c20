"""A pole on a cart, with its equations of motion in torch: it needs no asset, so it runs with and without Isaac Sim.

Source of the equations: Florian, "Correct equations for the dynamics of the cart-pole system" (2007), without friction.
"""

import math
from collections.abc import Sequence

import torch
from isaaclab.envs import DirectRLEnv, DirectRLEnvCfg
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass

GRAVITY, CART, POLE, HALF = 9.81, 1.0, 0.1, 0.5  # m/s², kg, kg, half the pole's length in m


@configclass
class CartpoleEnvCfg(DirectRLEnvCfg):
    """Four seconds at 50 decisions each."""

    decimation = 2
    episode_length_s = 4.0
    action_space = 1
    observation_space = 4
    state_space = 0
    sim: SimulationCfg = SimulationCfg(dt=0.01, render_interval=2)
    scene: InteractiveSceneCfg = InteractiveSceneCfg(num_envs=256, env_spacing=4.0, replicate_physics=True)
    force = 10.0  # N, at an action of 1
    edge = 2.4  # m
    lean = math.radians(12)


class CartpoleEnv(DirectRLEnv):
    """Keep the pole up."""

    cfg: CartpoleEnvCfg

    def __init__(self, cfg: CartpoleEnvCfg, render_mode: str | None = None, **kwargs: object) -> None:
        super().__init__(cfg, render_mode, **kwargs)
        self._state = torch.zeros(self.num_envs, 4, device=self.device)  # place, speed, angle, speed of the angle
        self._force = torch.zeros(self.num_envs, device=self.device)

    def _setup_scene(self) -> None:
        """Nothing to put into the scene."""

    def _pre_physics_step(self, actions: torch.Tensor) -> None:
        self._force = actions[:, 0].clamp(-1, 1) * self.cfg.force

    def _apply_action(self) -> None:
        place, speed, angle, turn = self._state.unbind(1)
        sine, cosine = angle.sin(), angle.cos()
        push = (self._force + POLE * HALF * turn**2 * sine) / (CART + POLE)
        turning = (GRAVITY * sine - cosine * push) / (HALF * (4 / 3 - POLE * cosine**2 / (CART + POLE)))
        pushing = push - POLE * HALF * turning * cosine / (CART + POLE)
        speed, turn = speed + self.physics_dt * pushing, turn + self.physics_dt * turning
        self._state = torch.stack((place + self.physics_dt * speed, speed, angle + self.physics_dt * turn, turn), 1)

    def _get_observations(self) -> dict[str, torch.Tensor]:
        return {"policy": self._state.clone()}

    def _get_rewards(self) -> torch.Tensor:
        return 1.0 - self._state[:, 2].abs() - 0.05 * self._state[:, 0].abs()

    def _get_dones(self) -> tuple[torch.Tensor, torch.Tensor]:
        fallen = (self._state[:, 0].abs() > self.cfg.edge) | (self._state[:, 2].abs() > self.cfg.lean)
        return fallen, self.episode_length_buf >= self.max_episode_length - 1

    def _reset_idx(self, env_ids: Sequence[int] | torch.Tensor | None) -> None:
        super()._reset_idx(env_ids)
        self._state[env_ids] = torch.empty(len(env_ids), 4, device=self.device).uniform_(-0.05, 0.05)
