"""kill -9 at random points of a build: the next one succeeds, with the right digest, and nothing is half-visible."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.builds import Place, on_busybox

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
        time.sleep(chance.uniform(0.1, whole))
        child.send_signal(signal.SIGKILL)
        ended.append(child.wait())
        tagged = place.store.resolve("demo/train:latest")
        if tagged is not None:
            assert tagged.digest == right
            assert all(place.store.has(layer.digest, layer.size) for layer in place.store.manifest(right).layers)
    assert place.build()["train"]["digest"] == right
    assert -signal.SIGKILL in ended, "the builds were too quick to be killed"
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


def test_a_full_disk_is_told_and_the_next_build_goes_on(
    place: Place, tmp_path: Path, need: Callable[..., None]
) -> None:
    if os.getuid():
        pytest.skip("only root can mount a small disk")
    need("mount", "umount")
    small = tmp_path / "small"
    small.mkdir()
    inside = 'mount -t tmpfs -o size=3m tmpfs "$1" && cp -r "$2/." "$1" && shift 2 && exec "$@"'
    (place.project / "configs" / "big").write_bytes(random.Random(1).randbytes(4_000_000))
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        inside,
        "sh",
        str(small),
        str(place.folder / "store"),
        *place.words("build"),
    ]
    env = {**place.env(), "WARDIAN_HOME": str(small)}
    done = subprocess.run(words, cwd=place.project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no space is left on the disk" in done.stderr
    assert "wardian store prune" in done.stderr
    place.build()
