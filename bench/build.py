"""Build an RL image cold, again, after a code change and after one more dependency: Wardian beside Docker.

    python bench/build.py [--quick] [--json FILE] [--peers uv,pip] [--repeat 5] [--scratch DIR]

``time`` is build and push: from a lock to the image in a registry on loopback. ``lock time`` is what resolving, with
hashes, took where requirements changed, and ``time with lock`` both. ``bytes`` is what the registry had to store.
``peak memory`` is that of one more round that is not timed, because looking at it costs time. Package caches are warm,
all read the same indexes over HTTP, and the base is in the registry, for everybody. Without Docker (made by
scripts/lab/docker.sh, as root) the peer's columns are empty, and the reason is said.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from contestants import Contestant, Docker, Needed, Wardian
from growth import growth_rows, sharing_rows
from indexes import Served
from measure import UNITS, Row, spread, table, write
from wardian.hosts.machine import read_machine

ROOT = Path(__file__).parent.parent
RL = ("torch==2.13.0", "gymnasium", "pettingzoo", "tensorboard", "stable-baselines3", "pandas")
SMALL = ("tqdm", "tabulate", "humanize", "toolz", "more-itertools", "sortedcontainers", "termcolor")
WORKS = ("cold", "no-op", "code change", "one dependency")
Samples = dict[tuple[str, str], list[Needed]]  # (contestant, work) → one for each repetition


def cycle(contestant: Contestant, repetition: int, *, watch: bool = False) -> Iterator[tuple[str, Needed]]:
    """The four works in their order, from nothing."""
    contestant.forget()
    first, extra = f"print('code {repetition}')\n", SMALL[repetition % len(SMALL)]
    yield "cold", contestant.build(RL, first, watch=watch)
    yield "no-op", contestant.build(RL, first, watch=watch)
    yield "code change", contestant.build(RL, first + "print('changed')\n", watch=watch)
    yield "one dependency", contestant.build((*RL, extra), first + "print('changed')\n", watch=watch)


def measure(contestants: list[Contestant], repetitions: int) -> Samples:
    """Every contestant's works, interleaved, so that the machine's moods meet all alike; memory in a last round."""
    samples: Samples = {}
    for contestant in contestants:
        say(f"{contestant.name}: filling the package caches")
        contestant.warm((*RL, *SMALL[:repetitions]))
    for repetition in range(repetitions):
        for contestant in contestants:
            for work, needed in cycle(contestant, repetition):
                samples.setdefault((contestant.name, work), []).append(needed)
                figures = f"{needed.seconds:.2f} s, {needed.sent / 1e6:.2f} MB"
                say(f"{repetition + 1}/{repetitions} {contestant.name}, {work}: {figures}")
    for contestant in contestants:
        for work, needed in cycle(contestant, 0, watch=True):
            timed = samples[(contestant.name, work)]
            samples[(contestant.name, work)] = [replace(one, mebibytes=needed.mebibytes) for one in timed]
            say(f"{contestant.name}, {work}: {needed.mebibytes:.0f} MiB")
    return samples


def values(samples: Samples, name: str, work: str) -> dict[str, list[float]]:
    """The measures of one contestant's work, in the units of the table."""
    all_ = samples[(name, work)]
    return {
        "time": [needed.build + needed.push for needed in all_],
        "lock time": [needed.lock for needed in all_],
        "time with lock": [needed.seconds for needed in all_],
        "bytes": [needed.sent / 1e6 for needed in all_],
        "peak memory": [all_[0].mebibytes],
    }


def report(samples: Samples, peers: list[str]) -> tuple[list[Row], str]:
    """The rows for JSON, and the table for people."""
    rows: list[Row] = []
    lines: list[list[str]] = []
    for work in WORKS:
        ours = values(samples, "wardian", work)
        others = [(peer, values(samples, peer, work)) for peer in peers]
        for name, mine in ours.items():
            known = [(peer, theirs[name]) for peer, theirs in others]
            rows += [Row(work, name, median(mine), median(theirs), peer) for peer, theirs in known]
            rows += [] if known else [Row(work, name, median(mine))]
            cells = [work, f"{name}, {UNITS[name]}", spread(mine)]
            lines += [[*cells, spread(theirs), fraction(median(mine), median(theirs)), peer] for peer, theirs in known]
            lines += [] if known else [[*cells, "–", "–", "no peer"]]
    return rows, table(["work", "measure", "wardian", "peer", "ratio", "peer's name"], lines)


def fraction(ours: float, peer: float) -> str:
    """A ratio as people say it: 1/27 when we need less, 1.2 when we need more."""
    return "–" if not peer or not ours else f"1/{peer / ours:.1f}" if ours < peer else f"{ours / peer:.2f}"


@contextmanager
def docker(scratch: Path, name: str = "docker") -> Iterator[dict[str, str] | None]:
    """The environment of a Docker daemon of our own; None, and why, where none can be had."""
    script, data = ROOT / "scripts" / "lab" / "docker.sh", scratch / name
    lab = {**os.environ, "DATA": str(data), "RUN": str(data / "run"), "WATCH": str(os.getpid())}
    if os.getuid() or not shutil.which("apt-get"):
        say("no peer: a Docker daemon of our own needs root and Debian's apt")
        yield None
        return
    for verb in ("install", "up"):
        done = subprocess.run([script, verb], env=lab, check=False, capture_output=True, text=True)
        if done.returncode:
            say(f"no peer: scripts/lab/docker.sh {verb} failed: {done.stderr.strip()[-300:]}")
            yield None
            return
    said = subprocess.run([script, "env"], env=lab, check=True, capture_output=True, text=True).stdout
    found = dict(re.findall(r"(\w+)='([^']*)'", said))
    try:
        yield {**found, "PATH": f"{found['PATH']}:{os.environ['PATH']}"}
    finally:
        subprocess.run([script, "down"], env=lab, check=False)


def say(text: str) -> None:
    """Say one line on stderr."""
    print(text, file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repetition, docker+uv only, small growth")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    parser.add_argument("--peers", default="uv,pip", help="uv, pip, both, or an empty word")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--scratch", type=Path, help="where to work (default: a folder on /dev/shm, or the temporary one)"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the JSON."""
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended and removed
    repetitions = 1 if given.quick else given.repeat
    installers = [name for name in given.peers.split(",") if name][: 1 if given.quick else None]
    memory = Path("/dev/shm")
    place = given.scratch or (memory if memory.is_dir() and shutil.disk_usage(memory).free > 12e9 else None)
    with tempfile.TemporaryDirectory(prefix="wardian-bench-", dir=place) as folder, ExitStack() as stack:
        scratch = Path(folder)
        served = Served(read_machine(os.environ).folders)
        stack.callback(served.stop)
        ours = Wardian(scratch / "wardian", served)
        contestants: list[Contestant] = [ours]
        stack.callback(ours.close)
        ours.make_base()
        if installers and (environ := stack.enter_context(docker(scratch))):
            base = scratch / "base.tar"
            ours.export_base(base)
            for name in installers:
                contestants.append(Docker(scratch / name, name, base, environ, served))
                stack.callback(contestants[-1].close)
        rows, text = report(measure(contestants, repetitions), [contestant.name for contestant in contestants[1:]])
        counts = (10, 30, 50) if given.quick else (50, 100, 200, 300, 400)
        growth, growth_text = growth_rows(ours, scratch, counts=counts, repetitions=1 if given.quick else 3)
        sharing, sharing_text = sharing_rows(ours, scratch, images=3 if given.quick else 20)
    print(text, growth_text, sharing_text, sep="\n\n")
    write([*rows, *growth, *sharing], given.json)


if __name__ == "__main__":
    main()
