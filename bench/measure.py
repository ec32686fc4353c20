"""How the benches measure: wall time, the memory of a tree of processes, medians, and one table for all."""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

UNITS = {
    "time": "s",
    "lock time": "s",
    "time with lock": "s",
    "bytes": "MB",
    "peak memory": "MiB",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: medians of what we and the peer needed for the same work; no peer: None."""

    work: str
    measure: str
    ours: float
    peer: float | None = None
    peer_name: str | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's; below 1 we are better."""
        return self.ours / self.peer if self.peer else None


class Peak:
    """The most memory that some processes and all their descendants held at once, in MiB, while the block ran.

    Proportional set size (a page shared by n processes counts 1/n in each), sampled every 50 ms.
    """

    def __init__(self, roots: Callable[[], Iterable[int]]) -> None:
        self._roots = roots
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mebibytes = 0.0

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            held = sum(_proportional(process) for process in _descendants(self._roots()))
            self.mebibytes = max(self.mebibytes, held / 1024)


def _descendants(roots: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            children[int(fields[1])].append(int(entry.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        process = waiting.pop()
        if process not in found:
            found.add(process)
            waiting += children[process]
    return found


def _proportional(process: int) -> int:
    """Kibibytes; 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def environment(**more: str) -> dict[str, str]:
    """This process's environment, and more. Modules may be kept compiled, as those of an installed program are."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}, **more}


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command needed, and what it said."""

    seconds: float
    mebibytes: float
    output: str


def run(
    argv: Sequence[str | Path],
    *,
    env: dict[str, str],
    cwd: Path | None = None,
    also: Sequence[int] = (),
    check: bool = True,
    watch: bool = False,
) -> Ran:
    """Run a command to its end, and with ``watch`` look at its memory, which takes time from it.

    ``also`` are processes (a daemon) whose memory counts with it.
    """
    started = time.perf_counter()
    child = subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with Peak(lambda: (child.pid, *also)) if watch else nullcontext(None) as peak:
        output, _ = child.communicate()
        seconds = time.perf_counter() - started
    if check and child.returncode:
        sys.exit(f"bench: {' '.join(map(str, argv))} exited with {child.returncode}\n{output[-3000:]}")
    return Ran(seconds, peak.mebibytes if peak else 0.0, output)


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            seen[(status.st_dev, status.st_ino)] = status.st_size
    return sum(seen.values())


def spread(values: Sequence[float]) -> str:
    """The median, and from where to where the values went."""
    middle = f"{statistics.median(values):.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g}–{max(values):.3g})"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under headings, all but the first two columns set to the right."""
    widths = [max(len(row[at]) for row in [headings, *rows]) for at in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [headings, *rows]
    )


def write(rows: Sequence[Row], path: str | None) -> None:
    """Write the rows as JSON when a file was asked for."""
    if path:
        Path(path).write_text(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2) + "\n")
