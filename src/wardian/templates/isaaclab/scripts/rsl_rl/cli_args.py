"""What train.py and play.py have in common: options, settings on the command line, and where Isaac Lab is found."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOGS = Path("logs") / "rsl_rl"
if find_spec("ext_template") is None:  # a Python that the image's `project = "editable"` does not reach
    sys.path.append(str(ROOT / "source" / "ext_template"))
if any(find_spec(name) is None for name in ("isaaclab", "isaaclab_rl", "isaaclab_tasks")):
    if "ISAACLAB_PATH" in os.environ:  # set in Isaac Lab's own images, whose Python is Isaac Sim's
        raise SystemExit(f"{sys.executable} has no Isaac Lab, but this image has: /isaac-sim/python.sh {sys.argv[0]} …")
    sys.path.append(str(ROOT / "standin"))


def parser(about: str | None) -> argparse.ArgumentParser:
    """The options of both scripts, as Isaac Lab's own scripts have them."""
    from isaaclab.app import AppLauncher

    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--task", required=True, help="such as ExtTemplate-Cartpole-v0")
    add("--num_envs", type=int, help="environments side by side")
    add("--seed", type=int)
    add("--experiment_name", help="the folder of logs/rsl_rl/ (default: the task's)")
    add("--load_run", default=".*", help="the run to load from, a regular expression (default: the last)")
    add("--checkpoint", default=r"model_.*\.pt", help="its checkpoint, a regular expression (default: the last)")
    add("settings", nargs="*", metavar="KEY=VALUE", help="env.… or agent.…, such as agent.algorithm.gamma=0.98")
    AppLauncher.add_app_launcher_args(made)
    return made


def launched(given: argparse.Namespace, work: Callable[[argparse.Namespace], int]) -> int:
    """Launch what there is to launch, then work: Isaac Sim must run before anything of it is imported."""
    from isaaclab.app import AppLauncher

    launcher = AppLauncher(given)
    code = work(given)
    launcher.app.close()
    return code


def device_of(asked: str | None) -> str:
    """The device, and a line on what was found."""
    import isaaclab
    import torch

    version = getattr(isaaclab, "__version__", "of unknown version")
    found = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = found if asked in (None, "auto") else asked
    if device.startswith("cuda") and found == "cpu":
        raise SystemExit(f"--device {device}, but torch {torch.__version__} sees no GPU")
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "the CPU"
    print(f"isaaclab {version} from {Path(isaaclab.__file__).parent}; torch {torch.__version__} on {name}", flush=True)
    return device


def configured(given: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The task's and the agent's configuration, with what the command line says. Exits for a setting that is none."""
    import ext_template.tasks  # noqa: F401 (registers them)
    from isaaclab_tasks.utils import load_cfg_from_registry, parse_env_cfg

    try:
        env = parse_env_cfg(given.task, device=device_of(given.device), num_envs=given.num_envs)
        agent = load_cfg_from_registry(given.task, "rsl_rl_cfg_entry_point")
        agent["seed"] = agent["seed"] if given.seed is None else given.seed
        agent["experiment_name"] = given.experiment_name or agent["experiment_name"]
        change({"env": env, "agent": agent}, given.settings)
    except ValueError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    env.seed = agent["seed"]
    return env, agent


def checkpoint(agent: dict[str, Any], given: argparse.Namespace) -> str:
    """The checkpoint to load. Exits when there is none."""
    from isaaclab_tasks.utils import get_checkpoint_path

    try:
        return get_checkpoint_path(str(LOGS / agent["experiment_name"]), given.load_run, given.checkpoint)
    except ValueError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}; train first", file=sys.stderr)
        raise SystemExit(2) from None


def change(roots: dict[str, Any], settings: Sequence[str]) -> None:
    """Set ``agent.actor.hidden_dims=[64, 64]`` and the like. Raises ``ValueError`` for what is not there."""
    import yaml

    for setting in settings:
        key, equals, text = setting.partition("=")
        *path, last = key.split(".")
        place: Any = roots
        for name in path:
            place = place.get(name) if isinstance(place, dict) else getattr(place, name, None)
        there = last in place if isinstance(place, dict) else hasattr(place, last)
        if not equals or not path or not there:
            raise ValueError(f"{setting!r} sets nothing: write env.NAME=VALUE or agent.NAME=VALUE")
        value = yaml.safe_load(text)
        if isinstance(value, str):
            with suppress(ValueError):
                value = float(text)  # 1e-3 is a word to YAML 1.1
        if isinstance(place, dict):
            place[last] = value
        else:
            setattr(place, last, value)
