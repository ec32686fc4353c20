"""From a changed requirement to a running container in Docker and in Podman: Wardian beside a Dockerfile with uv.

    python bench/engines.py [--quick] [--json FILE] [--repeat 5] [--scratch DIR] [--engines docker] [--no-pull]

``one dependency to running container`` is build, hand over and the first ``python -c``, ``time with lock`` with the
resolving before it; the previous image is there, package caches are warm. ``push`` sends that change to a registry
which has the previous image, ``pull`` takes it into another daemon which has it. ``load`` is `wardian load` after a
code change, ``start`` `wardian run` beside `docker run`, ``family`` eight images in one `wardian build` beside `docker
buildx bake` of what `wardian render bake` wrote. All registries are on loopback.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from build import RL, ROOT, SMALL, docker, fraction, say
from contestants import Contestant, Docker, Needed, Wardian
from family import family
from indexes import Served
from measure import UNITS, Row, run, spread, table, write
from wardian.hosts.machine import read_machine

Samples = dict[tuple[str, str, str], list[float]]  # (work, measure, who) → one for each repetition
ENGINE = {"docker": "wardian→docker", "podman": "wardian→podman"}


@contextmanager
def podman(scratch: Path) -> Iterator[dict[str, str] | None]:
    """The environment of a Podman with storage of our own; None, and why, where none can be had."""
    script = ROOT / "scripts" / "lab" / "podman.sh"
    lab = {**os.environ, "DATA": str(scratch / "podman"), "WATCH": str(os.getpid())}
    if os.getuid() or not shutil.which("apt-get"):
        say("no podman: it needs root and Debian's apt here")
        yield None
        return
    for verb in ("install", "up"):
        done = subprocess.run([script, verb], env=lab, check=False, capture_output=True, text=True)
        if done.returncode:
            say(f"no podman: scripts/lab/podman.sh {verb} failed: {done.stderr.strip()[-300:]}")
            yield None
            return
    said = subprocess.run([script, "env"], env=lab, check=True, capture_output=True, text=True).stdout
    try:
        yield dict(re.findall(r"(\w+)='([^']*)'", said))
    finally:
        subprocess.run([script, "down"], env=lab, check=False)


def one_dependency(
    ours: Wardian,
    peers: Mapping[str, Docker],
    second: Mapping[str, str] | None,
    common: tuple[str, ...],
    *,
    at: int,
) -> Samples:
    """One repetition: everybody has the previous image everywhere; then one requirement more."""
    samples: Samples = {}
    extra = SMALL[at % len(SMALL)]
    module = extra.replace("-", "_")
    code = f"print('before {at}')\n"
    built: dict[str, Needed] = {}
    prepare(ours, peers, second, common, code=code)
    os.sync()  # what the preparation wrote is not waited for in what comes now

    built["wardian"] = ours.build((*common, extra), code)
    for program, peer in peers.items():
        loaded = ours.wardian("load", "train", "--engine", program).seconds
        started = first(program, ours.pushed, module)
        os.sync()
        built[program] = peer.build((*common, extra), code)
        theirs = first(program, peer.image, module)
        for who, needed, handed in (
            (ENGINE[program], built["wardian"], (loaded, started)),
            (peer.name, built[program], (0.0, theirs)),
        ):
            parts = (needed.lock, needed.build, *handed)
            say("{}: lock {:.2f}, build {:.2f}, load {:.2f}, run {:.2f} s".format(who, *parts))
            note(samples, "one dependency to running container", "time", who, sum(parts[1:]))
            note(samples, "one dependency to running container", "time with lock", who, sum(parts))
    for who, needed in built.items():
        name = peers[who].name if who in peers else "wardian"
        note(samples, "push", "time", name, needed.push)
        note(samples, "push", "bytes", name, needed.sent / 1e6)
    if second and "docker" in peers:
        note(samples, "pull", "time", "wardian", pull(second, ours.pushed))
        note(samples, "pull", "time", peers["docker"].name, pull(second, peers["docker"].image))
    for program in peers:
        ours.build((*common, extra), code + "print('changed')\n")
        note(samples, "load", "time", ENGINE[program], ours.wardian("load", "train", "--engine", program).seconds)
        code += "#\n"
    return samples


def prepare(
    ours: Wardian,
    peers: Mapping[str, Docker],
    second: Mapping[str, str] | None,
    common: tuple[str, ...],
    *,
    code: str,
) -> None:
    """The previous image: built, pushed, in every engine, run once."""
    ours.build(common, code)
    for program, peer in peers.items():
        peer.forget()
        ours.wardian("load", "train", "--engine", program)
        first(program, ours.pushed, "sys")
        peer.build(common, code)
        first(program, peer.image, "sys")
    if second and "docker" in peers:
        pull(second, ours.pushed)
        pull(second, peers["docker"].image)


def first(program: str, image: str, module: str) -> float:
    """Seconds of a container that imports a module."""
    return run(
        [program, "run", "--rm", image, "python", "-c", f"import {module}"], env=dict(os.environ), watch=False
    ).seconds


def pull(second: Mapping[str, str], image: str) -> float:
    """Seconds of a pull into the other daemon."""
    return run(["docker", "pull", "-q", image], env={**os.environ, **second}, watch=False).seconds


def starts(ours: Wardian, repetitions: int) -> Samples:
    """A container that does nothing, through us and without us."""
    samples: Samples = {}
    for _ in range(repetitions):
        through = ours.wardian("run", "--engine", "docker", "--", "true").seconds
        plain = run(["docker", "run", "--rm", ours.pushed, "true"], env=dict(os.environ), watch=False).seconds
        note(samples, "start", "time", ENGINE["docker"], through)
        note(samples, "start", "time", "docker run", plain)
    return samples


def note(samples: Samples, work: str, measure: str, who: str, value: float) -> None:
    """Keep a value, and say it."""
    samples.setdefault((work, measure, who), []).append(value)
    say(f"{work}, {who}: {value:.2f} {UNITS[measure]}")


def report(samples: Samples) -> tuple[list[Row], str]:
    """The rows for JSON, and the table for people."""
    rows: list[Row] = []
    lines: list[list[str]] = []
    for (work, measure, who), ours in samples.items():
        if not who.startswith("wardian"):
            continue
        program = who.partition("→")[2]
        others = [other for *of, other in samples if of == [work, measure] and not other.startswith("wardian")]
        peers: list[str | None] = [other for other in others if not program or other.startswith(program)]
        peers += [] if peers else [None]
        for peer in peers:
            theirs = samples[work, measure, peer] if peer else None
            rows.append(Row(work, measure, median(ours), median(theirs) if theirs else None, peer))
            ratio = fraction(median(ours), median(theirs)) if theirs else "–"
            cells = [work, f"{measure}, {UNITS[measure]}", who, spread(ours), spread(theirs) if theirs else "–"]
            lines.append([*cells, ratio, peer or "no peer"])
    return rows, table(["work", "measure", "ours", "wardian", "peer", "ratio", "peer's name"], lines)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repetition")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--requirements", default=",".join(RL), help="of the previous image, with commas between them")
    parser.add_argument("--engines", default="docker,podman", help="with a comma between them")
    parser.add_argument("--no-pull", action="store_true", help="no second daemon: for images that fill the disk")
    parser.add_argument(
        "--scratch", type=Path, help="where to work (default: a folder on /dev/shm, or the temporary one)"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the JSON."""
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended and removed
    repetitions = 1 if given.quick else given.repeat
    common = tuple(given.requirements.split(","))
    memory = Path("/dev/shm")
    place = given.scratch or (memory if memory.is_dir() and shutil.disk_usage(memory).free > 30e9 else None)
    samples: Samples = {}
    with tempfile.TemporaryDirectory(prefix="wardian-bench-", dir=place) as folder, ExitStack() as stack:
        scratch = Path(folder)
        made = {"docker": docker, "podman": podman}
        engines = {name: stack.enter_context(made[name](scratch)) for name in given.engines.split(",")}
        second = stack.enter_context(docker(scratch, "second")) if engines.get("docker") and not given.no_pull else None
        for found in engines.values():
            os.environ.update(found or {})
        served = Served(read_machine(os.environ).folders)
        stack.callback(served.stop)
        ours = Wardian(scratch / "wardian", served, at_once=False)
        stack.callback(ours.close)
        ours.make_base()
        base = scratch / "base.tar"
        ours.export_base(base)
        peers = {}
        for program, environ in engines.items():
            if environ is not None:
                peers[program] = Docker(scratch / f"uv-{program}", "uv", base, environ, served, program=program)
                stack.callback(peers[program].close)
        contestants: list[Contestant] = [ours, *peers.values()]
        for contestant in contestants:
            say(f"{contestant.name}: filling the package caches")
            contestant.warm((*common, *SMALL))  # more than is measured: podman would have that layer already
        ours.forget()
        for at in range(repetitions):
            merge(samples, one_dependency(ours, peers, second, common, at=at))
        if "docker" in peers:
            merge(samples, starts(ours, 3 if given.quick else 10))
            merge(samples, family(ours, served, scratch, repetitions=repetitions, common=common, small=SMALL))
    rows, text = report(samples)
    print(text)
    write(rows, given.json)


def merge(samples: Samples, more: Samples) -> None:
    """Put the values of a repetition to the others."""
    for key, values in more.items():
        samples.setdefault(key, []).extend(values)


if __name__ == "__main__":
    main()
