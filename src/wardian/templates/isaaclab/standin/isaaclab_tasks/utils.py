"""Configurations by the name of a task, and checkpoints by the name of a run."""

import importlib
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium


def load_cfg_from_registry(task: str, entry: str) -> Any:
    """What a task registered under a key, called."""
    if task not in gymnasium.registry:
        near = get_close_matches(task, list(gymnasium.registry), n=1)
        raise ValueError(f"there is no task {task}" + (f"; did you mean {near[0]}?" if near else ""))
    module, _, name = gymnasium.spec(task).kwargs[entry].partition(":")
    return getattr(importlib.import_module(module), name)()


def parse_env_cfg(task: str, device: str = "cuda:0", num_envs: int | None = None) -> Any:
    """The task's configuration, for a device and a number of environments."""
    cfg = load_cfg_from_registry(task, "env_cfg_entry_point")
    cfg.sim.device = device
    cfg.scene.num_envs = num_envs or cfg.scene.num_envs
    return cfg


def get_checkpoint_path(log_path: str, run_dir: str = ".*", checkpoint: str = ".*") -> str:
    """The last checkpoint of the last run whose names match."""
    runs = sorted(path for path in Path(log_path).glob("*/") if re.fullmatch(run_dir, path.name))
    for run in reversed(runs):
        found = [path for path in run.glob("*.pt") if re.fullmatch(checkpoint, path.name)]
        if found:
            return str(max(found, key=lambda path: int("0" + re.sub(r"\D", "", path.name))))
    raise ValueError(f"no checkpoint {checkpoint} in a run {run_dir} of {log_path}")
