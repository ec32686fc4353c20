"""Play with a trained policy and measure it.

    python scripts/rsl_rl/play.py --task ExtTemplate-Cartpole-v0 --num_envs 64 --headless

Loads the last checkpoint of the last run (or --load_run, --checkpoint), plays --num_episodes episodes without noise and
prints a line of JSON. Ends with 1 when their mean length is below --expect_length, with 2 when there is no checkpoint.
"""

import json
import sys
from typing import Any

import cli_args


def options(argv: list[str]) -> Any:
    """The command line."""
    parser = cli_args.parser(__doc__)
    parser.add_argument("--num_episodes", type=int, default=64)
    parser.add_argument("--expect_length", type=float, help="fail when the episodes were shorter, in steps")
    return parser.parse_args(argv)


def play(given: Any) -> int:
    """Play, and return the exit code."""
    env_cfg, agent = cli_args.configured(given)
    import gymnasium
    import torch
    from isaaclab_rl.rsl_rl import RslRlVecEnvWrapper
    from rsl_rl.runners import OnPolicyRunner

    path = cli_args.checkpoint(agent, given)
    torch.manual_seed(agent["seed"])
    env = RslRlVecEnvWrapper(gymnasium.make(given.task, cfg=env_cfg))
    device = str(env_cfg.sim.device)
    runner = OnPolicyRunner(env, agent, log_dir=None, device=device)
    runner.load(path, map_location=device)
    policy = runner.get_inference_policy(device=device)
    lengths: list[int] = []
    ages = torch.zeros(env.num_envs, dtype=torch.long, device=device)
    seen = env.get_observations()
    with torch.inference_mode():
        while len(lengths) < given.num_episodes:
            seen, _, done, _ = env.step(policy(seen))
            ages += 1
            lengths += ages[done.bool()].tolist()
            ages[done.bool()] = 0
    env.close()
    mean = sum(lengths) / len(lengths)
    print(json.dumps({"checkpoint": path, "episodes": len(lengths), "mean_episode_length": mean}))
    return int(given.expect_length is not None and mean < given.expect_length)


if __name__ == "__main__":
    sys.exit(cli_args.launched(options(sys.argv[1:]), play))
