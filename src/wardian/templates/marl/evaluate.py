"""Play with a trained policy: load the last checkpoint of an output folder, and measure it.

    python evaluate.py results/MultiGrid-Empty-5x5-v0-1 --num-episodes 100

Prints a line of JSON and writes it to evaluation.json in that folder. Ends with 1 when the mean episode return is below
--expect, and with 2 when there is no checkpoint.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from marl.run_folder import replace


def options(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path, help="the output folder of a training")
    add("--num-episodes", type=int, default=100)
    add("--seed", type=int, default=10_000, help="of the environments: not those of the training (default: 10000)")
    add("--sample", action="store_true", help="draw actions as the training did, instead of the most likely ones")
    add("--expect", type=float, help="fail when the mean episode return is lower")
    return parser.parse_args(argv)


def checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a training."""
    pointer = folder / "checkpoints" / "latest"
    return folder / "checkpoints" / pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None


def play(path: Path, episodes: int, seed: int, *, sample: bool) -> dict[str, Any]:
    """Play with the policy of a checkpoint: means over the episodes."""
    import torch

    from marl.policy import Policy
    from marl.worlds import Worlds

    state = torch.load(path, map_location="cpu", weights_only=True)
    config = state["config"]
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    worlds = Worlds(config["env_name"], agents=config["num_agents"], count=1, seed=seed)
    policy = Policy(worlds.width, worlds.actions)
    policy.load_state_dict(state["policy"])
    ended: list[tuple[float, int]] = []
    with torch.no_grad():
        while len(ended) < episodes:
            choice = policy.choose(torch.as_tensor(worlds.see()))
            action = choice.sample() if sample else choice.probs.argmax(-1)
            ended += worlds.step(action.numpy())[4]
    worlds.close()
    returns, lengths = zip(*ended, strict=True)
    means = {"mean_return": sum(returns) / episodes, "mean_length": sum(lengths) / episodes}
    return {"checkpoint": path.name, "env_name": config["env_name"], "episodes": episodes, "seed": seed, **means}


def main(argv: list[str] | None = None) -> int:
    """Measure, and return the exit code."""
    given = options(argv)
    path = checkpoint(given.folder)
    if path is None:
        print(f"evaluate: {given.folder} has no checkpoint; train first", file=sys.stderr)
        return 2
    found = play(path, given.num_episodes, given.seed, sample=given.sample)
    replace(given.folder / "evaluation.json", json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))
    return 0 if given.expect is None or found["mean_return"] >= given.expect else 1


if __name__ == "__main__":
    sys.exit(main())
