"""The simulation's settings, as far as they mean anything without one."""

from isaaclab.utils import configclass


@configclass
class SimulationCfg:
    """Time step and device."""

    device: str = "cpu"
    dt: float = 1 / 60
    render_interval: int = 1
