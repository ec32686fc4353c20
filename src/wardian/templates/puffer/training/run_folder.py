"""The folder of one training run: what was asked, what happened, and what came of it. The standard library is enough.

config.json      everything that decides the result
metadata.json    live status (running, finished, failed, interrupted), times, versions, the image's digest
metrics.jsonl    one line for each update, without clocks: the same config gives the same bytes
timing.jsonl     the same updates with the clock
checkpoints/     update-000010.pt …, and the name of the last in ``latest``
"""

import json
import os
import platform
import signal
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("pufferlib-core", "torch", "gymnasium", "numpy")
SEALED = {"image": "WARDIAN_IMAGE"}  # what Wardian tells a program about itself


class RunFolderError(Exception):
    """The folder cannot be used as asked; the message says what to type instead."""


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions that a result depends on; ``absent`` for a package that is not there."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never half, also after a power cut."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def recent(values: Sequence[float], count: int) -> float:
    """The mean of the last ``count`` values, 0 when there are none."""
    last = values[-count:]
    return sum(last) / len(last) if last else 0.0


class RunFolder:
    """One run on disk. ``resume`` goes on with a run, ``fresh`` deletes one; else there may be none."""

    budget = "timesteps"  # the one setting that may change on --resume
    option = "--run-dir"  # how this folder was named
    packages: Sequence[str] = PACKAGES

    def __init__(self, path: Path, config: Mapping[str, Any], *, resume: bool = False, fresh: bool = False) -> None:
        self.path = path
        self.config = dict(config)
        self.checkpoints = path / "checkpoints"
        self._clock = time.monotonic()
        written = path / "config.json"
        if written.exists() and not resume and not fresh:
            raise RunFolderError(
                f"{path} holds a run; --resume goes on with it, --overwrite begins again, {self.option} names another"
            )
        if resume:
            self._same(written)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        if not resume:
            for old in (
                *self.checkpoints.glob("update-*.pt"),
                self.checkpoints / "latest",
                path / "metrics.jsonl",
                path / "timing.jsonl",
            ):
                old.unlink(missing_ok=True)
        replace(written, json.dumps(self.config, indent=2, sort_keys=True) + "\n")
        self._metadata: dict[str, Any] = {"started": now(), "versions": versions(self.packages)}
        self._metadata |= {name: os.environ[variable] for name, variable in SEALED.items() if variable in os.environ}
        self.status("running", updates=0)

    def _same(self, written: Path) -> None:
        if not written.exists():
            raise RunFolderError(f"{self.path} holds no run to resume")
        before = json.loads(written.read_text(encoding="utf-8"))
        changed = sorted(
            name for name in {*before, *self.config} - {self.budget} if before.get(name) != self.config.get(name)
        )
        if changed:
            only = f"only --{self.budget.replace('_', '-')} may change on --resume"
            raise RunFolderError(f"{self.path} was started with another {', '.join(changed)}; {only}")

    def status(self, status: str, **facts: Any) -> None:
        """Replace the live status. Every status but ``running`` also notes the time."""
        self._metadata |= {"status": status, "seconds": round(time.monotonic() - self._clock, 3), **facts}
        if status != "running":
            self._metadata["ended"] = now()
        replace(self.path / "metadata.json", json.dumps(self._metadata, indent=2) + "\n")

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one update to the metrics, and its time beside them."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        with (self.path / "timing.jsonl").open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({"update": row["update"], "seconds": round(time.monotonic() - self._clock, 3)}) + "\n"
            )

    def rows(self, *, until: int) -> list[dict[str, Any]]:
        """The metrics up to an update; later lines, of a run killed after its last checkpoint, are dropped."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        rows = [(line, json.loads(line)) for line in lines if line.endswith("\n")]
        kept = [(line, row) for line, row in rows if row["update"] <= until]
        if lines:
            replace(path, "".join(line for line, _ in kept))
        return [row for _, row in kept]

    def returns(self, *, until: int) -> list[float]:
        """The mean returns of ``rows``."""
        return [row["mean_return"] for row in self.rows(until=until)]

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        pointer = self.checkpoints / "latest"
        named = self.checkpoints / pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None
        return named if named and named.exists() else None

    def checkpoint(self, update: int, save: Any) -> Path:
        """Let ``save`` write a checkpoint; it becomes visible, and the latest, only when it is whole."""
        path = self.checkpoints / f"update-{update:06d}.pt"
        fresh = path.with_name(f".{path.name}.new")
        save(fresh)
        fresh.replace(path)
        replace(self.checkpoints / "latest", path.name + "\n")
        return path


class Stopper:
    """Remembers the first signal; the loop looks between two updates, so that a checkpoint is always whole."""

    def __init__(self) -> None:
        self.number = 0
        self.listen()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT (again)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _: object) -> None:
        self.number = self.number or number


def tracker(project: str | None, run: RunFolder) -> Any:
    """A Weights & Biases run, or None when none was asked for. Raises ``RunFolderError`` when it cannot be had."""
    if not project:
        return None
    if "WANDB_API_KEY" not in os.environ and os.environ.get("WANDB_MODE") != "offline":
        raise RunFolderError("WANDB_API_KEY did not reach this program; export it before: wardian run")
    try:
        import wandb
    except ImportError:
        raise RunFolderError("wandb is not in this image; add it to requirements.txt, lock and build") from None
    return wandb.init(project=project, dir=str(run.path), config=run.config, name=run.path.name)


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
