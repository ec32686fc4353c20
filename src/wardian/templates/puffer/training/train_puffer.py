"""Train a policy with PufferLib, or measure what random actions reach.

    python training/train_puffer.py --trainer-backend puffer_ppo --env CartPole-v1 --timesteps 200000 --seed 1

Everything goes to the run folder (see run_folder.py). On one kind of processor the same arguments give the same
metrics.jsonl, byte for byte: one thread, deterministic kernels, no clock in it.
Ends with 1 when the mean return of the last 20 updates is below ``--expect``, with 2 when the arguments are wrong,
with 143 after SIGTERM and with 130 after Ctrl-C (both leave a checkpoint to --resume from).
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from run_folder import RunFolder, RunFolderError, Stopper, recent, tracker

ENVS, HORIZON, LAST = 32, 64, 20
SHAPE = {"batch_size": ENVS * HORIZON, "bptt_horizon": HORIZON, "minibatch_size": 512, "max_minibatch_size": 512}
LOSS = {"gamma": 0.98, "gae_lambda": 0.9, "clip_coef": 0.2, "vf_clip_coef": 10.0, "vf_coef": 0.5, "ent_coef": 0.005}
REPLAY = {"vtrace_rho_clip": 1.0, "vtrace_c_clip": 1.0, "prio_alpha": 0.0, "prio_beta0": 1.0, "update_epochs": 4}
# adam: pufferlib-core has no config files, and its default optimizer, muon, needs a package it does not depend on.
ADAM = {"optimizer": "adam", "learning_rate": 4e-3, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_eps": 1e-5}
FIXED = {"anneal_lr": True, "max_grad_norm": 0.5, "precision": "float32", "torch_deterministic": True}
PLAIN = {"cpu_offload": False, "use_rnn": False, "compile": False}


def options(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--trainer-backend", choices=("puffer_ppo", "random"), default="puffer_ppo")
    add("--env", default="CartPole-v1", help="a Gymnasium environment (default: CartPole-v1)")
    add("--timesteps", type=int, default=200_000, help="environment steps (default: 200000)")
    add("--seed", type=int, default=0)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--run-dir", type=Path, help="the run folder (default: results/<backend>-<env>-<seed>)")
    add("--checkpoint-every", type=int, default=25, metavar="UPDATES")
    add("--resume", action="store_true", help="go on from the last checkpoint (the environments start anew)")
    add("--overwrite", action="store_true", help="begin again in a folder that holds a run")
    add("--expect", type=float, help="fail when the mean return of the last 20 updates is lower")
    add("--wandb", metavar="PROJECT", help="also send the metrics to Weights & Biases (wandb, WANDB_API_KEY)")
    given = parser.parse_args(argv)
    if given.timesteps < ENVS * HORIZON:
        parser.error(f"--timesteps must be at least {ENVS * HORIZON}, one update")
    if given.resume and given.trainer_backend == "random":
        parser.error("random actions have no checkpoint to --resume from")
    name = f"{given.trainer_backend}-{given.env.replace('/', '-')}-{given.seed}"
    given.run_dir = given.run_dir or Path("results") / name
    return given


def configuration(given: argparse.Namespace, device: str) -> dict[str, Any]:
    """Everything that decides the result."""
    asked = {"backend": given.trainer_backend, "env": given.env, "timesteps": given.timesteps, "seed": given.seed}
    if given.trainer_backend == "random":
        return asked | {"envs": ENVS, "horizon": HORIZON}
    return asked | {"envs": ENVS, "device": device, **SHAPE, **LOSS, **REPLAY, **ADAM, **FIXED, **PLAIN}


class Loop:
    """The loop over updates: what is recorded, when a checkpoint is written, when it ends."""

    def __init__(self, run: RunFolder, given: argparse.Namespace, stopper: Stopper) -> None:
        self._run, self._every, self._stopper = run, given.checkpoint_every, stopper
        self._tracked = tracker(given.wandb, run)
        before = run.latest() if given.resume else None
        self.returns = run.returns(until=int(before.stem.removeprefix("update-")) if before else 0)
        self._resume = before

    def go(self, player: Any) -> float:
        """Play to the end, or to a signal; the mean return of the last 20 updates."""
        update = saved = 0
        if self._resume:
            player.load(self._resume)
        try:
            for row in player.updates():
                update = row["update"]
                self._note(row)
                if update % self._every == 0:
                    saved = self._save(update, player)
                if self._stopper.number:
                    break
            if update > saved:
                self._save(update, player)
        finally:
            player.close()
            if self._tracked:
                self._tracked.finish()
        return recent(self.returns, LAST)

    def _save(self, update: int, player: Any) -> int:
        self._run.checkpoint(update, player.save)
        return update

    def _note(self, row: Mapping[str, Any]) -> None:
        ended = row["returns"]
        last = self.returns[-1] if self.returns else 0.0
        self.returns.append(round(recent(ended, len(ended)), 4) if ended else last)
        clean = {name: value for name, value in row.items() if name != "returns"}
        clean |= {"mean_return": self.returns[-1], "episodes": len(ended)}
        self._run.record(clean)
        self._run.status("running", updates=row["update"], steps=row["steps"], mean_return=self.returns[-1])
        if self._tracked:
            self._tracked.log(clean, step=row["steps"])
        if row["update"] % 5 == 1:
            steps, total = row["steps"], self._run.config["timesteps"]
            print(f"{steps:>9,} of {total:,} steps  mean return {recent(self.returns, 5):7.1f}", flush=True)


def train(given: argparse.Namespace, stopper: Stopper) -> int:
    """Train in a run folder and return the exit code. Raises ``RunFolderError`` when it cannot be used as asked."""
    import backends

    stopper.listen()  # importing pufferlib made Ctrl-C end the process with 0
    config = configuration(given, backends.device_of(given.device))
    run = RunFolder(given.run_dir, config, resume=given.resume, fresh=given.overwrite)
    try:
        final = Loop(run, given, stopper).go(backends.backend(config))
    except BaseException as error:
        run.status("failed", error=f"{type(error).__name__}: {error}")
        raise
    if stopper.number:
        run.status("interrupted", signal=stopper.number)
        print(f"interrupted; go on with: --resume --run-dir {given.run_dir}", flush=True)
        return 128 + stopper.number
    good = given.expect is None or final >= given.expect
    run.status("finished" if good else "failed", final_return=round(final, 4), expected=given.expect)
    expected = "" if given.expect is None else f", expected at least {given.expect:g}"
    print(f"mean return {final:.1f} over the last {LAST} updates{expected}", flush=True)
    return 0 if good else 1


def main(argv: list[str] | None = None) -> int:
    """Parse, train, and turn a wrong folder into one line and exit code 2."""
    given, stopper = options(argv), Stopper()
    try:
        return train(given, stopper)
    except RunFolderError as error:
        print(f"train_puffer: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
