"""What one waits for every time: the help, a build that has nothing to do, the start of a program in an image.

    python bench/startup.py [--quick] [--json FILE]

The peer of ``wardian run`` is bubblewrap alone over the same unpacked root file system: what a sandbox costs without
anything that Wardian adds (configuration, overlay, scratch, record; bytecode of the 1,500 modules of sympy).
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from measure import Row, environment, run, spread, table, write

PROJECT = """\
[project]
name = "startup"

[images.base]
from = "bootstrap:debian:bookworm"
python = "3.11"
requirements = ["sympy==1.14.0"]

[run]
gpus = "none"
image = "base"
"""
GOALS = {"wardian --help": 0.150, "wardian build, nothing to do": 0.4}


def times(action: Callable[[], object], repetitions: int) -> list[float]:
    """Seconds of each call, after one that does not count."""
    import time

    action()
    taken = []
    for _ in range(repetitions):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 repetitions")
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args()
    repetitions = 3 if given.quick else 15
    with tempfile.TemporaryDirectory(prefix="wardian-bench-") as folder:
        samples = measure(Path(folder), repetitions)
    rows = [Row(work, "time", median(ours), median(peer) if peer else None, name) for work, ours, peer, name in samples]
    lines = [
        [work, spread(ours), spread(peer) if peer else "–", name or "–", f"{GOALS[work]:g}" if work in GOALS else "–"]
        for work, ours, peer, name in samples
    ]
    print(table(["work (seconds)", "wardian", "peer", "peer's name", "goal"], lines))
    write(rows, given.json)


Sample = tuple[str, list[float], list[float] | None, str | None]


def measure(folder: Path, repetitions: int) -> list[Sample]:
    """Every work, with what the peer needed where there is one."""
    env = environment(WARDIAN_HOME=str(folder / "home"))
    project = folder / "project"
    project.mkdir()
    (project / "wardian.toml").write_text(PROJECT)

    def wardian(*argv: str) -> Callable[[], object]:
        return lambda: run([Path(sys.executable).with_name("wardian"), *argv], env=env, cwd=project)

    samples: list[Sample] = [("wardian --help", times(wardian("--help"), repetitions), None, None)]
    wardian("lock")()
    wardian("build")()
    samples.append(("wardian build, nothing to do", times(wardian("build"), repetitions), None, None))
    samples.append(("wardian lock, nothing to do", times(wardian("lock"), repetitions), None, None))
    wardian("export", "base", "--format", "dir", "-o", str(folder / "root"))()
    bwrap = ["bwrap", "--ro-bind", str(folder / "root"), "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid"]
    for work in (["true"], ["/opt/env/bin/python", "-c", "import sympy"]):
        argv = [*bwrap, *work]
        alone = times(partial(run, argv, env=env), repetitions) if shutil.which("bwrap") else None
        ours = times(wardian("run", "--", *work), repetitions)
        samples.append((f"wardian run -- {' '.join(work)}", ours, alone, "bwrap alone"))
    return samples


if __name__ == "__main__":
    main()
