"""Train a task with rsl-rl.

    python scripts/rsl_rl/train.py --task ExtTemplate-Cartpole-v0 --num_envs 256 --max_iterations 60 --headless --seed 1

Results go to logs/rsl_rl/<experiment>/<time>/: model_<iteration>.pt, TensorBoard events, and in params/ what was asked
(env.yaml, agent.yaml, argv.json). Ends with 1 when the mean episode length is below --expect_length, with 2 when the
arguments are wrong.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import cli_args
import yaml


def options(argv: list[str]) -> Any:
    """The command line."""
    parser = cli_args.parser(__doc__)
    add = parser.add_argument
    add("--max_iterations", type=int, help="(default: the task's)")
    add("--run_name", default="", help="added to the folder's name")
    add("--resume", action="store_true", help="go on from --load_run and --checkpoint, in a new folder")
    add("--expect_length", type=float, help="fail when the last episodes were shorter, in steps")
    return parser.parse_args(argv)


def folder(agent: dict[str, Any]) -> Path:
    """A new folder for this run; two that begin in the same second have two."""
    base = cli_args.LOGS / agent["experiment_name"]
    name = time.strftime("%Y-%m-%d_%H-%M-%S") + (f"_{agent['run_name']}" if agent["run_name"] else "")
    for number in range(1, 1000):
        path = base / (name if number == 1 else f"{name}_{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path.resolve()
    raise SystemExit(f"{base} has a thousand runs of this second")


def train(given: Any) -> int:
    """Train, and return the exit code."""
    env_cfg, agent = cli_args.configured(given)
    import gymnasium
    import torch
    from isaaclab_rl.rsl_rl import RslRlVecEnvWrapper
    from rsl_rl.runners import OnPolicyRunner

    torch.manual_seed(agent["seed"])
    if env_cfg.sim.device == "cpu":
        torch.set_num_threads(1)  # small networks; and sums add up in one order
    agent["run_name"] = given.run_name or agent["run_name"]
    agent["max_iterations"] = given.max_iterations or agent["max_iterations"]
    before = cli_args.checkpoint(agent, given) if given.resume else None
    path = folder(agent)
    params = path / "params"
    params.mkdir()
    (params / "env.yaml").write_text(yaml.safe_dump(env_cfg.to_dict(), sort_keys=False), encoding="utf-8")
    (params / "agent.yaml").write_text(yaml.safe_dump(agent, sort_keys=False), encoding="utf-8")
    (params / "argv.json").write_text(json.dumps(sys.argv, indent=2) + "\n", encoding="utf-8")

    env = RslRlVecEnvWrapper(gymnasium.make(given.task, cfg=env_cfg))
    runner = OnPolicyRunner(env, agent, log_dir=str(path), device=str(env_cfg.sim.device))
    if before:
        runner.load(before, map_location=str(env_cfg.sim.device))
    runner.learn(num_learning_iterations=agent["max_iterations"], init_at_random_ep_len=True)
    env.close()
    length = statistics.mean(runner.logger.lenbuffer) if runner.logger.lenbuffer else 0.0
    print(f"mean episode length {length:.1f} of {env.max_episode_length}; results in {path.relative_to(Path.cwd())}")
    return int(given.expect_length is not None and length < given.expect_length)


if __name__ == "__main__":
    sys.exit(cli_args.launched(options(sys.argv[1:]), train))
