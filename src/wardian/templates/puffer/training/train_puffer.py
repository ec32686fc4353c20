"""Train a policy with PufferLib, or measure what random actions reach.

    python training/train_puffer.py --trainer-backend puffer_ppo --env CartPole-v1 --timesteps 200000 --seed 1

Everything goes to the run folder (see run_folder.py). On one processor architecture the same arguments give the same
metrics.jsonl, byte for byte: one thread, deterministic kernels, no clock in it.
Ends with 1 when the mean return of the last 20 updates is below ``--expect``, with 2 when the arguments are wrong,
with 143 after SIGTERM and with 130 after Ctrl-C (both leave a checkpoint to --resume from).
"""

import argparse
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from run_folder import RunFolder, RunFolderError, recent

ENVS, HORIZON, LAST = 32, 64, 20
PPO = {"batch_size": ENVS * HORIZON, "bptt_horizon": HORIZON, "minibatch_size": 512, "max_minibatch_size": 512, "update_epochs": 4}
PPO |= {"learning_rate": 4e-3, "anneal_lr": True, "gamma": 0.98, "gae_lambda": 0.9, "clip_coef": 0.2, "ent_coef": 0.005, "vf_coef": 0.5}
PPO |= {"vf_clip_coef": 10.0, "max_grad_norm": 0.5, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_eps": 1e-5, "vtrace_rho_clip": 1.0}
PPO |= {"vtrace_c_clip": 1.0, "prio_alpha": 0.0, "prio_beta0": 1.0}
# pufferlib-core has no config files and its default optimizer, muon, needs a package that it does not depend on.
FIXED = {"optimizer": "adam", "precision": "float32", "torch_deterministic": True, "cpu_offload": False, "use_rnn": False, "compile": False}


def options(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer-backend", choices=("puffer_ppo", "random"), default="puffer_ppo")
    parser.add_argument("--env", default="CartPole-v1", help="a Gymnasium environment (default: CartPole-v1)")
    parser.add_argument("--timesteps", type=int, default=200_000, help="environment steps (default: 200000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--run-dir", type=Path, help="the run folder (default: results/<backend>-<env>-<seed>)")
    parser.add_argument("--checkpoint-every", type=int, default=25, metavar="UPDATES")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint (the environments start anew)")
    parser.add_argument("--overwrite", action="store_true", help="begin again in a folder that holds a run")
    parser.add_argument("--expect", type=float, help="fail when the mean return of the last 20 updates is lower")
    parser.add_argument("--wandb", metavar="PROJECT", help="also send the metrics to Weights & Biases (needs wandb and WANDB_API_KEY)")
    given = parser.parse_args(argv)
    if given.timesteps < ENVS * HORIZON:
        parser.error(f"--timesteps must be at least {ENVS * HORIZON}, one update")
    if given.resume and given.trainer_backend == "random":
        parser.error("random actions have no checkpoint to --resume from")
    given.run_dir = given.run_dir or Path("results") / f"{given.trainer_backend}-{given.env.replace('/', '-')}-{given.seed}"
    return given


def configuration(given: argparse.Namespace, device: str) -> dict[str, Any]:
    """Everything that decides the result."""
    settings = {"backend": given.trainer_backend, "env": given.env, "timesteps": given.timesteps, "seed": given.seed, "envs": ENVS}
    return settings | ({**PPO, **FIXED, "device": device} if given.trainer_backend == "puffer_ppo" else {"horizon": HORIZON})


class Stop(Exception):  # noqa: N818 - not an error: someone asked
    """SIGTERM or SIGINT arrived; ``number`` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopper:
    """Remembers the first signal; the loop looks between two updates, so that a checkpoint is always whole."""

    def __init__(self) -> None:
        self.number = 0
        self.listen()

    def listen(self) -> None:
        """Take both signals (again)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _: object) -> None:
        self.number = self.number or number

    def look(self) -> None:
        """Raise ``Stop`` when a signal has arrived."""
        if self.number:
            raise Stop(self.number)


def make_envs(name: str, seed: int) -> Any:  # noqa: ANN401 - pufferlib has no types
    """The vectorised environments, in this process: workers would end episodes in an order that depends on the machine's load."""
    import gymnasium
    import pufferlib.emulation
    import pufferlib.pufferlib
    import pufferlib.vector

    def one(buf: Any = None, seed: int = 0) -> Any:  # noqa: ANN401 - pufferlib has no types
        env = pufferlib.pufferlib.EpisodeStats(gymnasium.make(name))
        return pufferlib.emulation.GymnasiumPufferEnv(env=env, buf=buf, seed=seed)

    return pufferlib.vector.make(one, backend=pufferlib.vector.Serial, num_envs=ENVS, seed=seed)


def play_randomly(envs: Any, config: dict[str, Any]) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - pufferlib has no types
    """Rows of the baseline: uniformly random actions."""
    envs.action_space.seed(config["seed"])
    envs.reset(config["seed"])
    for update in range(1, config["timesteps"] // (ENVS * HORIZON) + 1):
        ended: list[float] = []
        for _ in range(HORIZON):
            episodes = envs.step(envs.action_space.sample())[4]
            ended += [episode["episode_return"] for episode in episodes if "episode_return" in episode]
        yield {"update": update, "steps": update * ENVS * HORIZON, "returns": ended}


def learn(envs: Any, config: dict[str, Any], run: RunFolder, *, resume: bool, every: int) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Rows of PPO through ``pufferlib.pufferl.PuffeRL``; writes a checkpoint every few updates and when it is closed early."""
    import torch
    from pufferlib import models, pufferl

    class Trainer(pufferl.PuffeRL):  # type: ignore[misc, unused-ignore]
        """PufferLib's trainer without its full-screen display."""

        def print_dashboard(self, *_: object, **__: object) -> None:
            """Say nothing: this script prints one line for each update."""

    warnings.filterwarnings("ignore", message="In CPU autocast")  # it asks for autocast in float32, which is none
    policy = models.Default(envs.driver_env).to(config["device"])
    settings = {**config, "env": config["env"], "total_timesteps": config["timesteps"], "data_dir": str(run.path)}
    settings["checkpoint_interval"] = sys.maxsize
    trainer = Trainer(settings, envs, policy)
    try:
        if resume and (path := run.latest()):
            state = torch.load(path, map_location=config["device"], weights_only=True)
            policy.load_state_dict(state["policy"])
            trainer.optimizer.load_state_dict(state["optimizer"])
            trainer.scheduler.last_epoch, trainer.epoch, trainer.global_step = state["update"], state["update"], state["steps"]
            torch.set_rng_state(state["rng"].cpu())

        def save(path: Path) -> None:
            state = {"policy": policy.state_dict(), "optimizer": trainer.optimizer.state_dict(), "update": trainer.epoch}
            torch.save(state | {"steps": trainer.global_step, "rng": torch.get_rng_state()}, path)

        trainer.save_checkpoint = lambda: None  # its own would go beside ours, under a name made from the clock
        while trainer.epoch < trainer.total_epochs:
            trainer.stats.clear()
            ended = list(trainer.evaluate().get("episode_return", []))
            trainer.last_log_time = 0.0  # or it would keep the losses only four times a second: rows that depend on the clock
            trainer.train()
            try:
                losses = {name: round(float(value), 6) for name, value in trainer.losses.items() if name != "importance"}
                yield {"update": trainer.epoch, "steps": trainer.global_step, "returns": ended, **losses}
            finally:
                if trainer.epoch % every == 0 or trainer.epoch == trainer.total_epochs or sys.exc_info()[0] is GeneratorExit:
                    run.checkpoint(trainer.epoch, save)
    finally:
        trainer.utilization.stop()


def tracker(project: str | None, run: RunFolder) -> Any:  # noqa: ANN401 - wandb's run, or nothing
    """A Weights & Biases run, or None when none was asked for. Raises ``RunFolderError`` when something for it is missing."""
    if not project:
        return None
    if "WANDB_API_KEY" not in os.environ and os.environ.get("WANDB_MODE") != "offline":
        raise RunFolderError("WANDB_API_KEY did not reach this program; export it before `wardian run` ([run] env-pass names it)")
    try:
        import wandb
    except ImportError:
        raise RunFolderError("wandb is not in this image; add it to `requirements` in wardian.toml, then: wardian lock && wardian build") from None
    return wandb.init(project=project, dir=str(run.path), config=run.config, name=run.path.name)


def train(given: argparse.Namespace, run: RunFolder, stopper: Stopper) -> float:
    """Run to the end and return the mean return of the last 20 updates. Raises ``Stop`` when a signal arrives."""
    config, tracked = run.config, tracker(given.wandb, run)
    envs = make_envs(config["env"], config["seed"])
    stopper.listen()  # importing pufferlib made Ctrl-C end the process with 0
    before = run.latest() if given.resume else None
    returns = run.returns(until=int(before.stem.removeprefix("update-")) if before else 0)
    rows = learn(envs, config, run, resume=given.resume, every=given.checkpoint_every) if config["backend"] == "puffer_ppo" else play_randomly(envs, config)
    try:
        for row in rows:
            ended = row.pop("returns")
            returns.append(round(recent(ended, len(ended)), 4) if ended else returns[-1] if returns else 0.0)
            row |= {"mean_return": returns[-1], "episodes": len(ended)}
            run.record(row)
            run.status("running", updates=row["update"], steps=row["steps"], mean_return=returns[-1])
            if tracked:
                tracked.log(row, step=row["steps"])
            if row["update"] % 5 == 1:
                print(f"{row['steps']:>9,} of {config['timesteps']:,} steps  mean return {recent(returns, 5):7.1f}", flush=True)
            stopper.look()
    finally:
        rows.close()  # type: ignore[attr-defined] # a generator
        envs.close()
        if tracked:
            tracked.finish()
    return recent(returns, LAST)


def set_deterministic(seed: int, device: str) -> str:
    """Fix every source of chance and return the device to use."""
    import numpy as np
    import torch

    device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - pufferlib draws from the global generator
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True, warn_only=device == "cuda")
    return device


def main(argv: list[str] | None = None) -> int:
    """Train and return the exit code."""
    given, stopper = options(argv), Stopper()
    device = set_deterministic(given.seed, given.device) if given.trainer_backend == "puffer_ppo" else "cpu"
    try:
        run = RunFolder(given.run_dir, configuration(given, device), resume=given.resume, fresh=given.overwrite)
    except RunFolderError as error:
        print(f"train_puffer: {error}", file=sys.stderr)
        return 2
    try:
        final = train(given, run, stopper)
    except Stop as stop:
        run.status("interrupted", signal=stop.number)
        print(f"interrupted; go on with: --resume --run-dir {given.run_dir}", flush=True)
        return 128 + stop.number
    except RunFolderError as error:
        run.status("failed", error=str(error))
        print(f"train_puffer: {error}", file=sys.stderr)
        return 2
    except BaseException as error:
        run.status("failed", error=f"{type(error).__name__}: {error}")
        raise
    good = given.expect is None or final >= given.expect
    run.status("finished" if good else "failed", final_return=round(final, 4), expected=given.expect)
    print(f"mean return {final:.1f} over the last {LAST} updates{f', expected at least {given.expect:g}' if given.expect is not None else ''}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
