"""kill -9 at random points of a build: the next one succeeds, with the right digest, and nothing is half-visible."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.indexes import make_wheel
from tests.integration.builds import Place, on_busybox, write
from tests.rootfs import run_folders
from tests.verbs.test_lock import add_base
from wardian.builders.assembler import APART

TIMES = 50
LINES = ["echo 1 >/one; mkdir /data; echo 2 >/data/two", "rm -r /data; sleep 0.2; echo 3 >/three"]


@pytest.fixture
def place(tmp_path: Path, need: Callable[..., None]) -> Place:
    """A small project with every kind of layer but packages."""
    need("bwrap", "unshare", "busybox")
    made = Place(tmp_path)
    on_busybox(made, LINES, 'copy = [{ source = "configs", target = "/configs" }]')
    (made.project / "configs").mkdir()
    (made.project / "configs" / "a").write_text("x" * 100_000)
    return made


def test_fifty_kills_leave_nothing_wrong(place: Place) -> None:
    started = time.monotonic()
    right = place.build()["train"]["digest"]
    whole = time.monotonic() - started
    chance = random.Random(17)  # the same points in every run
    ended = []
    for number in range(TIMES):
        forget(place, number)
        child = subprocess.Popen(
            place.words("build"),
            cwd=place.project,
            env=place.env(),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        started, pause = time.monotonic(), chance.uniform(0.1, whole)
        with suppress(subprocess.TimeoutExpired):
            child.wait(pause)
            whole = min(whole, time.monotonic() - started)  # some layers were there: this one took less
        child.send_signal(signal.SIGKILL)
        ended.append(child.wait())
        tagged = place.store.resolve("demo/train:latest")
        if tagged is not None:
            assert tagged.digest == right
            assert all(place.store.has(layer.digest, layer.size) for layer in place.store.manifest(right).layers)
        assert survivors(place) == {}
    assert ended.count(-signal.SIGKILL) > TIMES // 4, "the builds were too quick to be killed"
    place.store.untag("demo/train:latest")
    assert place.build("--no-cache")["train"]["digest"] == right
    assert list(place.store.scratch.iterdir()) == []
    assert place.run("store", "verify")


def forget(place: Place, number: int) -> None:
    """Make the store forget what it built: the names always, now and then some of the layers."""
    place.store.untag("demo/train:latest")
    for at, path in enumerate(sorted((place.folder / "store" / "layers").iterdir())):
        if (at + number) % 3:
            path.unlink()


def test_what_dead_builds_leave_is_removed(place: Place) -> None:
    child = subprocess.Popen(place.words("build"), cwd=place.project, env=place.env(), stderr=subprocess.DEVNULL)
    while not any(place.store.scratch.glob("*/upper")) and child.poll() is None:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert any(place.store.scratch.iterdir())
    place.run("store", "prune", "--yes")
    assert not any(place.store.scratch.iterdir())


def test_half_a_bwrap_ends_too(place: Place) -> None:
    """One that is killed just after it began leaves a process that waits for it for ever: bubblewrap's issue 633."""
    halves = place.folder / "halves"
    halves.mkdir()
    (halves / "bwrap").write_text(f"#!/bin/sh\nsleep 1000 &\n: >{halves}/begun\nwait\n")
    (halves / "bwrap").chmod(0o755)
    env = {**place.env(), "PATH": f"{halves}:{os.environ['PATH']}"}
    child = subprocess.Popen(place.words("build"), cwd=place.project, env=env, stderr=subprocess.DEVNULL)
    while not (halves / "begun").exists():
        assert child.poll() is None
        time.sleep(0.02)
    assert any("sleep 1000" in line for line in using(place.store.root).values())
    child.kill()
    child.wait()
    assert survivors(place) == {}


BOOTSTRAP = '[project]\nname = "demo"\n\n[images.train]\nfrom = "bootstrap:debian:bookworm"\n'
APT = """
[project]
name = "demo"

[images.base]
from = "bootstrap:debian:bookworm"
python = "3.11"

[images.train]
from = "@base"
apt = ["tree", "less"]
"""


@pytest.fixture
def packages(base_store: Path, base_project: Path, tmp_path: Path) -> Place:
    """A place whose store has the base, every package of it, and their lock."""
    subprocess.run(["cp", "-a", str(base_store), str(tmp_path / "store")], check=True)
    made = Place(tmp_path)
    write(made, APT, {"wardian.lock": (base_project / "wardian.lock").read_text()})
    return made


@pytest.mark.parametrize(("text", "times"), [(BOOTSTRAP, 3), (APT, 8)], ids=["mmdebstrap", "apt"])
def test_packages_may_be_killed_at_any_moment(packages: Place, text: str, times: int) -> None:
    """Nothing that was started outlives the build, and the next one makes the right image and leaves nothing else."""
    (packages.project / "wardian.toml").write_text(text)
    packages.run("lock")
    if text is APT:
        packages.build("base")
    started = time.monotonic()
    right = packages.build("train")["train"]["digest"]
    whole = time.monotonic() - started
    chance = random.Random(5)
    codes = []
    for _ in range(times):
        child = subprocess.Popen(
            packages.words("build", "train", "--no-cache"),
            cwd=packages.project,
            env=packages.env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.1, 0.9) * whole)
        child.kill()
        codes.append(child.wait())
        assert survivors(packages) == {}
    assert -signal.SIGKILL in codes
    packages.store.untag("demo/train:latest")
    assert packages.build("train", "--no-cache")["train"]["digest"] == right
    assert list(packages.store.scratch.iterdir()) == []
    assert run_folders(packages.store.root) == []
    packages.run("store", "verify")


def survivors(place: Place) -> dict[str, str]:
    """The processes that still use a store two seconds after they should have ended.

    They end within 0.1 s; those that nobody ends fail by themselves after some seconds, when they write to nobody.
    """
    deadline = time.monotonic() + 2
    while (found := using(place.store.root)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def using(store: Path) -> dict[str, str]:
    """The processes, by number, whose environment or mounts name the store."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "mountinfo").read_bytes()
            if str(store).encode() in told and int(process.name) != os.getpid():
                found[process.name] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended, or is another user's
            continue
    return found


def test_of_two_builds_in_one_store_one_is_killed(place: Place) -> None:
    """The other finishes what both were making; neither its image nor its work is touched by the death."""
    right = place.build()["train"]["digest"]
    chance = random.Random(6)
    for number in range(5):
        forget(place, number)
        pair = [
            subprocess.Popen(
                place.words("build", "--json"), cwd=place.project, env=place.env(), stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        time.sleep(chance.uniform(0.3, 1.5))
        victim, other = pair if number % 2 else reversed(pair)
        victim.kill()
        victim.communicate()
        said, _ = other.communicate(timeout=120)
        assert other.returncode == 0
        assert json.loads(said)["train"]["digest"] == right
        assert survivors(place) == {}
        place.run("store", "verify")
    place.store.untag("demo/train:latest")
    place.build("--no-cache")
    assert list(place.store.scratch.iterdir()) == []


@pytest.fixture
def big(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A project with a wheel that is large enough for a process of its own; its lock, and no layer yet."""
    wheels = place.folder / "wheels"
    wheels.mkdir()
    make_wheel(wheels, "big", "1.0", files={"big/data": random.Random(3).randbytes(APART + 1)})
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    add_base(place.store, "example.org/python:3.11")
    text = '[project]\nname = "demo"\n\n[images.train]\nfrom = "example.org/python:3.11"\nrequirements = ["big"]\n'
    write(place, text)
    place.run("lock")
    return place


def caught_writing(place: Place) -> "tuple[subprocess.Popen[str], int]":
    """A build, and the process that writes the wheel's layer, stopped in the middle of it."""
    build = subprocess.Popen(
        place.words("build"),
        cwd=place.project,
        env=place.env(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while build.poll() is None:
        begun = any(place.store.scratch.iterdir())
        for number, words in using(place.store.root).items():
            if "wardian.builders.wheels" in words and begun:
                os.kill(int(number), signal.SIGSTOP)
                return build, int(number)
    raise AssertionError(f"no process was seen writing the layer: {build.stderr and build.stderr.read()}")


@pytest.mark.parametrize(
    ("victim", "number", "code"),
    [("the writer", signal.SIGKILL, 1), ("the build", signal.SIGINT, 130), ("the build", signal.SIGKILL, -9)],
)
def test_neither_a_build_nor_the_writer_of_its_layer_outlives_the_other(
    big: Place, victim: str, number: int, code: int
) -> None:
    build, writer = caught_writing(big)
    os.kill(writer if victim == "the writer" else build.pid, number)
    _, said = build.communicate(timeout=60)
    assert build.returncode == code
    assert survivors(big) == {}
    if victim == "the writer":
        assert "wardian: image train, big 1.0: signal 9 ended the process that wrote it\n  was memory short?" in said
    assert big.store.resolve("demo/train:latest") is None
    if number != signal.SIGKILL or victim == "the writer":
        assert list(big.store.scratch.iterdir()) == []
    digest = big.build()["train"]["digest"]
    assert list(big.store.scratch.iterdir()) == []
    big.run("store", "verify")
    assert big.build("--no-cache")["train"]["digest"] == digest
