"""The scene's settings, as far as they mean anything without one."""

from isaaclab.utils import configclass


@configclass
class InteractiveSceneCfg:
    """How many environments."""

    num_envs: int = 1
    env_spacing: float = 1.0
    replicate_physics: bool = True
