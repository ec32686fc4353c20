"""Proximal policy optimisation on CartPole in plain numpy: what `wardian demo` trains inside the image.

    python train.py --seconds 30 --seed 0 --out results

Writes into ``--out``: config.json, metrics.jsonl (a line for each iteration, free of clocks: one seed gives the same
bytes), timing.jsonl (the same iterations with the clock), status.json (live), checkpoint.npz and curve.svg.
Ends with 1 when the mean return of the last 20 iterations is below ``--expect``, with 143 after SIGTERM.
"""

import argparse
import json
import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # matrices this small are slower on many threads, and one adds up in one order

import gymnasium
import numpy as np

ENVS, HORIZON, EPOCHS, BATCH = 16, 128, 6, 256
GAMMA, LAMBDA, CLIP, ENTROPY, RATE, DECAY = 0.99, 0.95, 0.2, 0.01, 1e-3, 400_000
WIDTH, LAST = 64, 20
SETTINGS = {"envs": ENVS, "horizon": HORIZON, "epochs": EPOCHS, "batch": BATCH, "gamma": GAMMA, "lambda": LAMBDA}
SETTINGS |= {"clip": CLIP, "entropy": ENTROPY, "rate": RATE, "decay": DECAY, "width": WIDTH}


class Network:
    """Two tanh layers and a linear one, with its gradient by hand and Adam."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, ...], *, last_scale: float) -> None:
        self.weights = [rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in pairwise(sizes)]
        self.weights[-1] *= last_scale
        self.weights += [np.zeros(b) for b in sizes[1:]]
        self._first = [np.zeros_like(w) for w in self.weights]
        self._second = [np.zeros_like(w) for w in self.weights]
        self._updates = 0

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """The output, and the activations that ``step`` needs."""
        layers = len(self.weights) // 2
        seen = [x]
        for at in range(layers):
            x = seen[-1] @ self.weights[at] + self.weights[layers + at]
            seen.append(np.tanh(x) if at < layers - 1 else x)
        return seen[-1], seen

    def step(self, seen: list[np.ndarray], slope: np.ndarray, rate: float) -> None:
        """One Adam step down the loss whose derivative with respect to the output is ``slope``."""
        layers = len(self.weights) // 2
        gradients: list[np.ndarray] = [np.empty(0)] * len(self.weights)
        for at in reversed(range(layers)):
            gradients[at], gradients[layers + at] = seen[at].T @ slope, slope.sum(0)
            if at:
                slope = (slope @ self.weights[at].T) * (1 - seen[at] ** 2)
        length = np.sqrt(sum(float((g**2).sum()) for g in gradients))
        self._updates += 1
        shrink, steady = min(1.0, 0.5 / (length + 1e-8)), (1 - 0.9**self._updates, 1 - 0.999**self._updates)
        for at, gradient in enumerate(gradients):
            self._first[at] += 0.1 * (shrink * gradient - self._first[at])
            self._second[at] += 0.001 * ((shrink * gradient) ** 2 - self._second[at])
            self.weights[at] -= rate * (self._first[at] / steady[0]) / (np.sqrt(self._second[at] / steady[1]) + 1e-5)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithms of the probabilities, safe for large logits."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def advantages(rewards: np.ndarray, values: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Generalised advantage estimates; ``values`` has one row more. Source: Schulman et al., 2016, eq. 16."""
    result = np.zeros_like(rewards)
    running = np.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        alive = 1.0 - ended[t]
        running = rewards[t] + GAMMA * alive * values[t + 1] - values[t] + GAMMA * LAMBDA * alive * running
        result[t] = running
    return result


class Worlds:
    """The vectorised environment, with the returns of the episodes that ended."""

    def __init__(self, seed: int) -> None:
        self._env = gymnasium.make_vec("CartPole-v1", num_envs=ENVS, vectorization_mode="vector_entry_point")
        self.observation = self._env.reset(seed=seed)[0].astype(np.float64)
        self._returns = np.zeros(ENVS)
        self._fresh = np.zeros(ENVS, dtype=bool)
        self.finished: list[float] = []

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rewards, which episodes ended, and which steps count: the one after an end only resets."""
        counts = ~self._fresh
        observation, rewards, terminated, truncated, _ = self._env.step(actions)
        self._fresh = terminated | truncated
        self._returns = np.where(counts, self._returns + rewards, 0.0)
        self.finished += self._returns[self._fresh].tolist()
        self.observation = observation.astype(np.float64)
        return rewards * counts, self._fresh, counts


def collect(worlds: Worlds, policy: Network, critic: Network, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One batch of experience, flattened over time and environments, without the steps that only reset."""
    names = ("observations", "actions", "logs", "rewards", "ended", "counts", "values")
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _ in range(HORIZON):
        logs = log_softmax(policy.forward(worlds.observation)[0])
        actions = (rng.random(ENVS) > np.exp(logs[:, 0])).astype(np.int64)
        before, worth = worlds.observation, critic.forward(worlds.observation)[0][:, 0]
        rewards, ended, counts = worlds.step(actions)
        row = (before, actions, logs[np.arange(ENVS), actions], rewards, ended, counts, worth)
        for name, value in zip(names, row, strict=True):
            rows[name].append(value)
    rows["values"].append(critic.forward(worlds.observation)[0][:, 0])
    batch = {name: np.stack(row) for name, row in rows.items()}
    gains = advantages(batch["rewards"], batch["values"], batch["ended"].astype(np.float64))
    batch["gains"], batch["targets"] = gains, gains + batch["values"][:-1]
    keep = batch.pop("counts").ravel()
    del batch["values"]
    return {name: value.reshape(HORIZON * ENVS, *value.shape[2:])[keep] for name, value in batch.items()}


def improve(
    policy: Network, critic: Network, batch: dict[str, np.ndarray], rng: np.random.Generator, rate: float
) -> dict[str, float]:
    """Several epochs of the clipped objective; the means of what is worth plotting."""
    losses: list[tuple[float, float, float]] = []
    for _ in range(EPOCHS):
        order = rng.permutation(len(batch["actions"]))
        for part in (order[at : at + BATCH] for at in range(0, len(order), BATCH)):
            rows, gain = np.arange(len(part)), batch["gains"][part]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            logits, seen = policy.forward(batch["observations"][part])
            logs, chosen = log_softmax(logits), batch["actions"][part]
            odds, ratio = np.exp(logs), np.exp(logs[rows, chosen] - batch["logs"][part])
            entropy = -(odds * logs).sum(1)
            clipped = ((gain > 0) & (ratio > 1 + CLIP)) | ((gain < 0) & (ratio < 1 - CLIP))
            weight = np.where(clipped, 0.0, -gain * ratio)
            slope = -odds * weight[:, None]
            slope[rows, chosen] += weight
            slope += ENTROPY * odds * (logs + entropy[:, None])
            policy.step(seen, slope / len(part), rate)
            value, seen = critic.forward(batch["observations"][part])
            error = value[:, 0] - batch["targets"][part]
            critic.step(seen, error[:, None] / len(part), rate)
            surrogate = np.minimum(ratio * gain, np.clip(ratio, 1 - CLIP, 1 + CLIP) * gain)
            losses.append((-float(surrogate.mean()), float((error**2).mean()) / 2, float(entropy.mean())))
    return dict(zip(("policy_loss", "value_loss", "entropy"), np.mean(losses, 0).round(6).tolist(), strict=True))


def curve(steps: list[int], returns: list[float], *, title: str) -> str:
    """The learning curve as SVG: mean return over environment steps, from 0 to 500."""
    width, height, left, top, right, bottom = 760, 400, 62, 44, 22, 50
    across, down, last = width - left - right, height - top - bottom, max(steps)
    x = [left + across * step / last for step in steps]
    y = [top + down * (1 - min(value, 500) / 500) for value in returns]
    smooth = [sum(y[max(0, at - 9) : at + 1]) / len(y[max(0, at - 9) : at + 1]) for at in range(len(y))]
    line, fine = (" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, ys, strict=True)) for ys in (smooth, y))
    heights = [(at, top + down * (1 - at / 500)) for at in range(0, 501, 100)]
    places = [(f"{last * at / 4000:.0f}k", left + across * at / 4) for at in range(5)]
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" ',
            'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12" fill="#59636e">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="{left}" y="26" font-size="15" fill="#1f2328">{title}</text>',
            *(f'<path d="M{left} {at:.1f}h{across}" stroke="#e3e6ea"/>' for _, at in heights),
            *(f'<text x="{left - 9}" y="{at + 4:.1f}" text-anchor="end">{name}</text>' for name, at in heights),
            *(f'<text x="{at:.1f}" y="{top + down + 20}" text-anchor="middle">{name}</text>' for name, at in places),
            f'<text x="{left + across / 2}" y="{height - 10}" text-anchor="middle">environment steps</text>',
            f'<text transform="translate(17 {top + down / 2}) rotate(-90)" text-anchor="middle">mean return</text>',
            f'<polyline points="{fine}" fill="none" stroke="#9dc3ea" stroke-width="1"/>',
            f'<polyline points="{line}" fill="none" stroke="#0b62b8" stroke-width="2.5" stroke-linejoin="round"/>',
            "</svg>\n",
        ]
    )


def options(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seconds", type=float, default=30.0, help="stop after this long (default: 30)")
    add("--steps", type=int, help="stop after this many environment steps instead: the same seed, the same metrics")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("results"), help="folder for the results (default: results)")
    add("--expect", type=float, default=0.0, help="fail when the mean return of the last 20 iterations is lower")
    return parser.parse_args(argv)


class Results:
    """The folder of results. What another program may read while it is written is replaced whole."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given, self._folder, self._start = given, given.out, time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._metrics = (self._folder / "metrics.jsonl").open("w", encoding="utf-8")
        self._timing = (self._folder / "timing.jsonl").open("w", encoding="utf-8")
        self.steps: list[int] = []
        self.returns: list[float] = []
        settings = {"env": "CartPole-v1", "seed": given.seed, "steps": given.steps, **SETTINGS}
        self._replace("config.json", settings | {"numpy": np.__version__, "gymnasium": gymnasium.__version__})

    @property
    def done(self) -> float:
        """The share of the budget that is spent."""
        if self._given.steps:
            return min(1.0, sum(self.steps[-1:]) / self._given.steps)
        return min(1.0, (time.monotonic() - self._start) / self._given.seconds)

    @property
    def final(self) -> float:
        """The mean return of the last iterations."""
        return float(np.mean(self.returns[-LAST:])) if self.returns else 0.0

    def add(self, ended: list[float], losses: dict[str, float]) -> None:
        """Note one iteration: the returns of the episodes that ended in it, and its losses."""
        iteration, seconds = len(self.steps) + 1, time.monotonic() - self._start
        self.steps.append(iteration * ENVS * HORIZON)
        self.returns.append(float(np.mean(ended)) if ended else (self.returns[-1] if self.returns else 0.0))
        row = {"iteration": iteration, "steps": self.steps[-1], "mean_return": round(self.returns[-1], 3)}
        print(json.dumps(row | {"episodes": len(ended)} | losses), file=self._metrics, flush=True)
        print(json.dumps({"iteration": iteration, "seconds": round(seconds, 3)}), file=self._timing, flush=True)
        if iteration % 10 == 1:
            self._replace("status.json", {"status": "running", "done": round(self.done, 3), **row})
            print(
                f"{self.done:4.0%}  {seconds:5.1f} s  {self.steps[-1]:>8,} steps  mean return {self.final:6.1f}",
                flush=True,
            )

    def finish(self, status: str, weights: dict[str, np.ndarray]) -> None:
        """Write the checkpoint, the picture and the last status."""
        np.savez(self._folder / "checkpoint.npz", **weights)
        if self.steps:
            seconds = time.monotonic() - self._start
            title = f"CartPole-v1, PPO in numpy, seed {self._given.seed}: {self.final:.0f} after {seconds:.0f} s"
            self._replace("curve.svg", curve(self.steps, self.returns, title=title))
        facts = {"iterations": len(self.steps), "steps": sum(self.steps[-1:]), "final_return": round(self.final, 2)}
        self._replace("status.json", {"status": status, **facts})
        self._metrics.close()
        self._timing.close()

    def _replace(self, name: str, content: str | dict[str, object]) -> None:
        fresh = self._folder / f".{name}.new"
        fresh.write_text(
            content if isinstance(content, str) else json.dumps(content, indent=2) + "\n", encoding="utf-8"
        )
        fresh.replace(self._folder / name)


def main(argv: list[str] | None = None) -> int:
    """Train and return the exit code."""
    given, stopped = options(argv), []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    rng, worlds, results = np.random.default_rng(given.seed), Worlds(given.seed), Results(given)
    policy = Network(rng, (4, WIDTH, WIDTH, 2), last_scale=0.01)
    critic = Network(rng, (4, WIDTH, WIDTH, 1), last_scale=1.0)
    while not stopped and results.done < 1:
        # The rate falls with the steps, not with the time that is left: a faster machine sees the same rows, only more.
        rate = RATE * max(0.05, 1 - sum(results.steps[-1:]) / DECAY)
        losses = improve(policy, critic, collect(worlds, policy, critic, rng), rng, rate)
        ended, worlds.finished = worlds.finished, []
        results.add(ended, losses)
    status = "interrupted" if stopped else "finished" if results.final >= given.expect else "failed"
    networks = (("policy", policy), ("critic", critic))
    results.finish(status, {f"{name}_{at}": w for name, network in networks for at, w in enumerate(network.weights)})
    print(f"{status}: mean return {results.final:.1f} over the last {LAST} iterations, expected {given.expect:g}")
    return {"finished": 0, "failed": 1, "interrupted": 143}[status]


if __name__ == "__main__":
    sys.exit(main())
