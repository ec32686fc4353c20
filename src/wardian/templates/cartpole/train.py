"""Proximal policy optimisation on CartPole in plain numpy: what `wardian demo` trains inside the image.

    python train.py --seconds 30 --seed 0 --out results

Writes into ``--out``: config.json, metrics.jsonl (a line for each iteration, free of clocks: one seed gives the same bytes),
timing.jsonl (the same iterations with the clock), status.json (live), checkpoint.npz and curve.svg.
Ends with 1 when the mean return of the last 20 iterations is below ``--expect``, with 143 after SIGTERM.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices this small are slower on many threads, and one adds up in one order

import gymnasium  # noqa: E402 - after the number of threads is set
import numpy as np  # noqa: E402

ENVS, HORIZON, EPOCHS, BATCH = 16, 128, 6, 256
GAMMA, LAMBDA, CLIP, ENTROPY, RATE, DECAY = 0.99, 0.95, 0.2, 0.01, 1e-3, 400_000
WIDTH, LAST = 64, 20


class Network:
    """Two tanh layers and a linear one, with its gradient by hand and Adam."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, ...], *, last_scale: float) -> None:
        scales = [*(1.0 for _ in sizes[2:]), last_scale]
        self.weights = [scale * rng.standard_normal((a, b)) / np.sqrt(a) for a, b, scale in zip(sizes[:-1], sizes[1:], scales, strict=True)]
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
        for w, g, m, v in zip(self.weights, gradients, self._first, self._second, strict=True):
            g *= min(1.0, 0.5 / (length + 1e-8))
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            w -= rate * (m / (1 - 0.9**self._updates)) / (np.sqrt(v / (1 - 0.999**self._updates)) + 1e-5)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithms of the probabilities, safe for large logits."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def advantages(rewards: np.ndarray, values: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Generalised advantage estimates; ``values`` has one row more than ``rewards``. Source: Schulman et al., 2016, eq. 16."""
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
        """Rewards, which episodes ended, and which steps count (the one after an end only resets and ignores its action)."""
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
        before, value = worlds.observation, critic.forward(worlds.observation)[0][:, 0]
        rewards, ended, counts = worlds.step(actions)
        for name, row in zip(names, (before, actions, logs[np.arange(ENVS), actions], rewards, ended, counts, value), strict=True):
            rows[name].append(row)
    rows["values"].append(critic.forward(worlds.observation)[0][:, 0])
    batch = {name: np.stack(row) for name, row in rows.items()}
    gains = advantages(batch["rewards"], batch["values"], batch["ended"].astype(np.float64))
    batch["gains"], batch["targets"] = gains, gains + batch["values"][:-1]
    keep = batch.pop("counts").ravel()
    del batch["values"]
    return {name: value.reshape(HORIZON * ENVS, *value.shape[2:])[keep] for name, value in batch.items()}


def improve(policy: Network, critic: Network, batch: dict[str, np.ndarray], rng: np.random.Generator, rate: float) -> dict[str, float]:
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
    grid = "".join(
        f'<path d="M{left} {top + down * (1 - at / 500):.1f}h{across}" stroke="#e3e6ea"/>'
        f'<text x="{left - 9}" y="{top + down * (1 - at / 500) + 4:.1f}" text-anchor="end">{at}</text>'
        for at in range(0, 501, 100)
    )
    ticks = "".join(
        f'<text x="{left + across * at / 4:.1f}" y="{height - bottom + 20}" text-anchor="middle">{last * at / 4000:.0f}k</text>' for at in range(5)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12" fill="#59636e"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{left}" y="26" font-size="15" fill="#1f2328">{title}</text>{grid}{ticks}'
        f'<text x="{left + across / 2}" y="{height - 10}" text-anchor="middle">environment steps</text>'
        f'<text transform="translate(17 {top + down / 2}) rotate(-90)" text-anchor="middle">mean episode return</text>'
        f'<polyline points="{fine}" fill="none" stroke="#9dc3ea" stroke-width="1"/>'
        f'<polyline points="{line}" fill="none" stroke="#0b62b8" stroke-width="2.5" stroke-linejoin="round"/></svg>\n'
    )


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never half."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def options(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="stop after this long (default: 30)")
    parser.add_argument("--steps", type=int, help="stop after this many environment steps instead; the same steps and seed give the same metrics")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results (default: results)")
    parser.add_argument("--expect", type=float, default=0.0, help="fail when the mean return of the last 20 iterations is lower")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Train and return the exit code."""
    given = options(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    settings = {"env": "CartPole-v1", "seed": given.seed, "steps": given.steps, "envs": ENVS, "horizon": HORIZON, "epochs": EPOCHS, "batch": BATCH}
    settings |= {"gamma": GAMMA, "lambda": LAMBDA, "clip": CLIP, "entropy": ENTROPY, "rate": RATE, "decay": DECAY, "width": WIDTH, "numpy": np.__version__}
    replace(given.out / "config.json", json.dumps(settings | {"gymnasium": gymnasium.__version__}, indent=2) + "\n")

    rng = np.random.default_rng(given.seed)
    worlds, start = Worlds(given.seed), time.monotonic()
    policy, critic = Network(rng, (4, WIDTH, WIDTH, 2), last_scale=0.01), Network(rng, (4, WIDTH, WIDTH, 1), last_scale=1.0)
    steps, returns, iteration, elapsed = [], [], 0, 0.0
    with (given.out / "metrics.jsonl").open("w") as metrics, (given.out / "timing.jsonl").open("w") as timing:
        while not stopped and (iteration * ENVS * HORIZON < given.steps if given.steps else elapsed < given.seconds):
            batch = collect(worlds, policy, critic, rng)
            # The rate falls with the steps, not with the time that is left: a faster machine sees the same numbers, only more of them.
            losses = improve(policy, critic, batch, rng, RATE * max(0.05, 1 - iteration * ENVS * HORIZON / DECAY))
            iteration, elapsed = iteration + 1, time.monotonic() - start
            ended, worlds.finished = worlds.finished, []
            steps.append(iteration * ENVS * HORIZON)
            returns.append(float(np.mean(ended)) if ended else returns[-1] if returns else 0.0)
            row = {"iteration": iteration, "steps": steps[-1], "mean_return": round(returns[-1], 3), "episodes": len(ended), **losses}
            print(json.dumps(row), file=metrics, flush=True)
            print(json.dumps({"iteration": iteration, "seconds": round(elapsed, 3)}), file=timing, flush=True)
            if iteration % 10 == 1:
                share = min(1.0, steps[-1] / given.steps if given.steps else elapsed / given.seconds)
                replace(given.out / "status.json", json.dumps({"status": "running", "done": round(share, 3), **row}) + "\n")
                print(f"{share:4.0%}  {elapsed:5.1f} s  {steps[-1]:>8,} steps  mean return {np.mean(returns[-LAST:]):6.1f}", flush=True)

    final = float(np.mean(returns[-LAST:])) if returns else 0.0
    good = final >= given.expect
    np.savez(given.out / "checkpoint.npz", **{f"{name}_{at}": w for name, net in (("policy", policy), ("critic", critic)) for at, w in enumerate(net.weights)})
    if steps:
        replace(given.out / "curve.svg", curve(steps, returns, title=f"CartPole-v1, PPO in numpy, seed {given.seed}: {final:.0f} after {elapsed:.0f} s"))
    status = "interrupted" if stopped else "finished" if good else "failed"
    replace(given.out / "status.json", json.dumps({"status": status, "iterations": iteration, "steps": sum(steps[-1:]), "final_return": round(final, 2)}) + "\n")
    print(f"{status}: mean return {final:.1f} over the last {min(LAST, len(returns))} iterations (expected at least {given.expect:g})", flush=True)
    return 143 if stopped else 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
