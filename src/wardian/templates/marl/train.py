"""Train a team of agents with PPO: one policy, shared by all of them.

    python train.py --env-name MultiGrid-Empty-5x5-v0 --num-episodes 4000 --seed 1
    mpirun -n 2 python train.py --num-episodes 4000         two processes train one policy

Environments are MultiGrid's (MultiGrid-…), PettingZoo's by module (classic.rps_v2) and Gymnasium's, as a team of one.
Everything goes to the output folder: config.json, metadata.json with the live status, metrics.jsonl, tensorboard/,
checkpoints/, curves.svg. On one kind of processor the same arguments give the same metrics.jsonl, byte for byte.
Ends with 1 when the mean episode return of the last 10 updates is below --expect, with 2 when the arguments are wrong,
with 143 after SIGTERM and with 130 after Ctrl-C (both leave a checkpoint to --resume from).
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marl.ranks import Ranks, checksum, ranks
from marl.run_folder import RunFolder, RunFolderError, Stopper, recent, tracker

LAST = 10


class Run(RunFolder):
    """The output folder."""

    budget = "num_episodes"
    option = "--output-dir"
    packages = ("torch", "numpy", "gymnasium", "multigrid", "pettingzoo", "mpi4py")


def options(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--env-name", default="MultiGrid-Empty-5x5-v0", help="(default: %(default)s)")
    add("--num-agents", type=int, default=2, help="agents of a MultiGrid team (default: 2)")
    add("--num-episodes", type=int, default=4000, help="episodes over all environments and ranks (default: 4000)")
    add("--num-envs", type=int, default=16, help="environments of each rank, side by side (default: 16)")
    add("--lr", type=float, default=1e-3, help="learning rate, falling to a tenth (default: 0.001)")
    add("--gamma", type=float, default=0.99, help="discount (default: 0.99)")
    add("--seed", type=int, default=0)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--output-dir", type=Path, help="(default: results/<env>-<seed>)")
    add("--checkpoint-every", type=int, default=20, metavar="UPDATES")
    add("--resume", action="store_true", help="go on from the last checkpoint (the environments start anew)")
    add("--overwrite", action="store_true", help="begin again in a folder that holds a run")
    add("--expect", type=float, help="fail when the mean episode return of the last 10 updates is lower")
    add("--wandb", metavar="PROJECT", help="also send the metrics to Weights & Biases (WANDB_API_KEY)")
    given = parser.parse_args(argv)
    for name in ("num_agents", "num_episodes", "num_envs", "checkpoint_every"):
        if getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if given.lr <= 0 or not 0 <= given.gamma <= 1:
        parser.error("--lr must be above 0, and --gamma from 0 to 1")
    name = f"{given.env_name.replace('/', '-')}-{given.seed}"
    given.output_dir = given.output_dir or Path("results") / name
    return given


def device_of(asked: str) -> tuple[str, str]:
    """The device to train on, and a sentence that says what was found. Raises ``RunFolderError`` if it is not there."""
    import torch

    if torch.cuda.is_available() and asked != "cpu":
        return "cuda", f"training on {torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
    built = f"with CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    found = f"torch {torch.__version__} is built {built}, and sees {torch.cuda.device_count()} GPUs"
    if asked == "cuda":
        raise RunFolderError(f"--device cuda, but {found}")
    return "cpu", f"training on the CPU ({'as asked' if asked == 'cpu' else found})"


class Learner:
    """Environments, policy and optimizer of one rank."""

    def __init__(self, config: dict[str, Any], rank: int) -> None:
        import torch

        from marl.policy import Policy
        from marl.worlds import Worlds

        torch.set_num_threads(1)  # sums add up in one order
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        torch.manual_seed(config["seed"])
        self._config, self.device = config, torch.device(config["device"])
        first = config["seed"] * 1_000_003 + rank * config["num_envs"]
        self.worlds = Worlds(config["env_name"], agents=config["num_agents"], count=config["num_envs"], seed=first)
        self.policy = Policy(self.worlds.width, self.worlds.actions).to(self.device)  # the same on every rank
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config["lr"], eps=1e-5)
        torch.manual_seed(first)  # from here on, every rank chooses for itself

    def update(self, done: float, average: Callable[[Any], None]) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """Play and learn once; ``done`` is the share of the budget that is spent."""
        from marl.policy import collect, improve

        for group in self.optimizer.param_groups:
            group["lr"] = self._config["lr"] * (1 - 0.9 * min(done, 1))
        rollout = collect(self.worlds, self.policy, self._config["gamma"], self.device)
        return rollout.ended, improve(self.policy, self.optimizer, rollout, average)

    def save(self, path: Path, facts: dict[str, int]) -> None:
        """Write what evaluation and ``load`` need."""
        import torch

        state = {"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({"config": self._config, "facts": facts, **state}, path)

    def load(self, path: Path) -> dict[str, int]:
        """Go on from a checkpoint; the counts at that time. Chances are drawn anew from there."""
        import torch

        state = torch.load(path, map_location=self.device, weights_only=True)
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        return dict(state["facts"])


class Log:
    """What the first rank writes: metrics, TensorBoard, Weights & Biases, curves."""

    def __init__(self, run: Run, wandb: str | None, *, first_update: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=first_update or None)
        self._tracked = tracker(wandb, run)
        self.rows = run.rows(until=first_update)

    def add(self, row: dict[str, Any]) -> None:
        """Note one update."""
        self.rows.append(row)
        self._run.record(row)
        facts = {name: row[name] for name in ("steps", "episodes", "mean_return", "mean_length")}
        self._run.status("running", updates=row["update"], **facts)
        values = {name: value for name, value in row.items() if name not in ("update", "steps")}
        for name, value in values.items():
            self._board.add_scalar(f"train/{name}", value, row["steps"])
        if self._tracked:
            self._tracked.log(values, step=row["steps"])
        if row["update"] % 10 == 1:
            print(
                f"{row['episodes']:>8,} episodes  {row['steps']:>9,} agent steps"
                f"  return {row['mean_return']:6.3f}  length {row['mean_length']:6.1f}",
                flush=True,
            )

    def close(self) -> None:
        """Draw the curves and end the writers."""
        from marl.plot import curves
        from marl.run_folder import replace

        self._board.close()
        if self._tracked:
            self._tracked.finish()
        if self.rows:
            names = (("mean episode return", "mean_return"), ("mean episode length", "mean_length"))
            series = [(title, [row[name] for row in self.rows]) for title, name in names]
            replace(self._run.path / "curves.svg", curves([row["steps"] for row in self.rows], series))


class Training:
    """The loop over updates, the same on every rank; the first one writes."""

    def __init__(self, learner: Learner, team: Ranks, run: Run | None, given: argparse.Namespace) -> None:
        self._learner, self._team, self._run = learner, team, run
        self._every, self._budget = given.checkpoint_every, given.num_episodes
        self._facts = {"update": 0, "steps": 0, "episodes": 0}
        before = team.share(str(run.latest() or "") if run and given.resume else "")
        if before:
            self._facts = learner.load(Path(before))
        self._saved = self._facts["update"]
        self._log = Log(run, given.wandb, first_update=self._saved) if run else None
        self._last = (
            (self._log.rows[-1]["mean_return"], self._log.rows[-1]["mean_length"]) if before and run else (0, 0)
        )
        self._last = team.share(self._last)

    def go(self, stopper: Stopper) -> int:
        """Train until the episodes are played or a signal came to any rank, and return its number."""
        stopped = 0
        while self._facts["episodes"] < self._budget and not stopped:
            ended, losses = self._learner.update(self._facts["episodes"] / self._budget, self._team.average)
            played = [len(ended), sum(one[0] for one in ended), sum(one[1] for one in ended)]
            heard = [stopper.number, int(stopper.number > 0)]
            count, returns, lengths, signals, hearers, *sums = self._team.total([*played, *heard, *losses.values()])
            stopped = int(signals / hearers) if hearers else 0
            self._last = (round(returns / count, 6), round(lengths / count, 4)) if count else self._last
            self._facts = {
                "update": self._facts["update"] + 1,
                "steps": self._facts["steps"] + self._team.size * self._learner.worlds.rows * _horizon(),
                "episodes": self._facts["episodes"] + int(count),
            }
            means = {name: round(value / self._team.size, 6) for name, value in zip(losses, sums, strict=True)}
            if self._log:
                self._log.add({**self._facts, "mean_return": self._last[0], "mean_length": self._last[1], **means})
            if self._facts["update"] % self._every == 0:
                self._save()
        if self._facts["update"] > self._saved:
            self._save()
        return stopped

    def end(self) -> tuple[float, str]:
        """Close everything. The mean return of the last updates, and the checksum that all ranks' parameters have."""
        self._learner.worlds.close()
        if self._log:
            self._log.close()
        own = checksum(self._learner.policy)
        same = self._team.total([float(own == self._team.share(own))])[0]
        if same != self._team.size:
            raise RuntimeError(f"the parameters of {self._team.size - same:g} ranks differ from the first one's")
        return recent([row["mean_return"] for row in self._log.rows], LAST) if self._log else 0.0, own

    def _save(self) -> None:
        self._saved = self._facts["update"]
        if self._run:
            self._run.checkpoint(self._saved, lambda path: self._learner.save(path, self._facts))


def _horizon() -> int:
    from marl.policy import HORIZON

    return HORIZON


def configuration(given: argparse.Namespace, device: str, size: int) -> dict[str, Any]:
    """Everything that decides the result."""
    from marl.policy import LOSS, SHAPE

    names = ("env_name", "num_agents", "num_episodes", "num_envs", "lr", "gamma", "seed")
    return {name: getattr(given, name) for name in names} | {"device": device, "ranks": size, **SHAPE, **LOSS}


def opened(given: argparse.Namespace, team: Ranks) -> tuple[Run | None, Learner]:
    """The output folder, on the first rank, and this rank's learner. Raises ``RunFolderError`` on all or none."""
    from marl.worlds import WorldError

    run, refused = None, ""
    try:
        device, found = device_of(given.device)
        config = configuration(given, device, team.size)
        learner = Learner(config, team.rank)
        if team.rank == 0:
            run = Run(given.output_dir, config, resume=given.resume, fresh=given.overwrite)
            print(found + (f", {team.size} ranks" if team.size > 1 else ""), flush=True)
    except (RunFolderError, WorldError) as error:
        refused = str(error)
    if refused := team.share(refused):
        raise RunFolderError(refused)
    return run, learner


def train(given: argparse.Namespace, team: Ranks) -> int:
    """Train and return the exit code."""
    stopper = Stopper()
    run, learner = opened(given, team)
    try:
        training = Training(learner, team, run, given)
        number = training.go(stopper)
        final, parameters = training.end()
    except BaseException as error:
        if run:
            run.status("failed", error=f"{type(error).__name__}: {error}")
        raise
    code = 128 + number if number else 0
    if run:
        code = _finished(run, given, final, parameters, number)
    return int(team.share(code))


def _finished(run: Run, given: argparse.Namespace, final: float, parameters: str, number: int) -> int:
    if number:
        run.status("interrupted", signal=number)
        print(f"interrupted; go on with: --resume --output-dir {given.output_dir}", flush=True)
        return 128 + number
    good = given.expect is None or final >= given.expect
    run.status("finished" if good else "failed", final_return=final, expected=given.expect, parameters=parameters)
    expected = "" if given.expect is None else f", expected at least {given.expect:g}"
    print(f"mean return {final:.3f} over the last {LAST} updates{expected}; results in {given.output_dir}", flush=True)
    return 0 if good else 1


def main(argv: list[str] | None = None) -> int:
    """Parse, train, and turn what cannot be done as asked into one line and exit code 2."""
    given, team = options(argv), ranks()
    try:
        return train(given, team)
    except RunFolderError as error:
        if team.rank == 0:
            print(f"train: {error}", file=sys.stderr)
        return 2
    except BaseException:
        import traceback

        traceback.print_exc()
        team.abort()
        raise


if __name__ == "__main__":
    sys.exit(main())
