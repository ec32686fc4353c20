"""A disk that is full or closed, met by each kind of work: one line, nothing lost, and with room the next run works."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.disks import Disk, disk
from tests.indexes import Index, make_wheel, serve
from tests.rootfs import add_busybox
from tests.verbs.test_lock import add_base
from wardian.store.store import Store

FULL = "no space is left on the disk"
CLOSED = "the file system is read-only"
WARDIAN = (sys.executable, "-m", "wardian")
BUSYBOX = "demo/base:latest"
BASE = "example.org/python:3.11"
MEGABYTE = 1 << 20


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """A package index with one wheel of four megabytes, and nothing else."""
    folder = tmp_path / "served"
    folder.mkdir()
    make_wheel(folder, "big", "1.0", files={"big/data": random.Random(1).randbytes(4 * MEGABYTE)})
    make_wheel(folder, "small", "1.0")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with serve(Index(folder)) as served:
        monkeypatch.setenv("UV_DEFAULT_INDEX", served.simple)
        yield served


@pytest.fixture
def small(tmp_path: Path, need: Callable[..., None]) -> Iterator[Disk]:
    """A disk with room for everything, until a test takes it away."""
    need("unshare", "nsenter", "mount")
    if os.getuid():
        pytest.skip("only root can mount a disk, and fill it, where others see it")
    with disk(tmp_path / "disk", "1g") as made:
        yield made


@pytest.fixture
def wheels(home: Path, tmp_path: Path, index: Index, small: Disk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A locked project with the big wheel; its store, which has the base, is on the small disk."""
    add_base(Store(home / "store"), BASE)
    monkeypatch.setenv("WARDIAN_HOME", str(small.at))
    shutil.copytree(home / "store", small.seen, dirs_exist_ok=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "wardian.toml").write_text(toml("big"))
    small.run([*WARDIAN, "lock"], cwd=project)
    return project


def toml(*requirements: str) -> str:
    wanted = ", ".join(f'"{one}"' for one in requirements)
    return f'[project]\nname = "p"\n\n[images.train]\nfrom = "{BASE}"\nrequirements = [{wanted}]\n'


def said(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """One line for the user, with these words in it, and a hint; a program's own words are indented beneath it."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("wardian:     ")]
    assert [line for line in lines if line.startswith("wardian: ")] == lines[-2:-1], done.stderr
    assert all(word in lines[-2] for word in words), done.stderr
    assert lines[-1].startswith("  ")


def nothing_half_done(store: Path) -> None:
    """Nothing but downloads to be continued is left of work that failed."""
    assert [path.name for path in (store / "tmp").iterdir() if path.suffix != ".partial"] == []


def test_a_full_project_keeps_the_lock_it_has(home: Path, index: Index, small: Disk) -> None:
    add_base(Store(home / "store"), BASE)
    (small.seen / "wardian.toml").write_text(toml("big"))
    small.run([*WARDIAN, "lock"], cwd=small.at)
    (small.seen / "wardian.toml").write_text(toml("big", "small"))
    before = {path.name: path.read_bytes() for path in small.seen.iterdir()}
    small.fill()
    said(small.run([*WARDIAN, "lock"], cwd=small.at, code=1), FULL, str(small.at))
    assert {name: (small.seen / name).read_bytes() for name in before} == before
    small.change("size=1m")
    small.run([*WARDIAN, "lock"], cwd=small.at)
    small.run([*WARDIAN, "lock", "--check"], cwd=small.at)
    assert {path.name for path in small.seen.iterdir()} == set(before), "nothing is left of the one that failed"


def test_a_closed_project_keeps_the_lock_it_has(home: Path, index: Index, small: Disk) -> None:
    add_base(Store(home / "store"), BASE)
    (small.seen / "wardian.toml").write_text(toml("big"))
    small.change("ro")
    said(small.run([*WARDIAN, "lock"], cwd=small.at, code=1), CLOSED, str(small.at))
    assert [path.name for path in small.seen.iterdir()] == ["wardian.toml"]
    small.change("rw")
    small.run([*WARDIAN, "lock"], cwd=small.at)


@pytest.mark.parametrize(("room", "came"), [(2 * MEGABYTE, False), (6 * MEGABYTE, True)])
def test_a_full_store_while_a_wheel_comes_and_becomes_a_layer(
    wheels: Path, small: Disk, room: int, *, came: bool
) -> None:
    small.fill(room)
    said(small.run([*WARDIAN, "build"], cwd=wheels, code=1), "image train, big 1.0", FULL, str(small.at))
    assert any(small.seen.glob("downloads/*/big-1.0-*.whl")) is came
    nothing_half_done(small.seen)
    small.change("size=1g")
    small.run([*WARDIAN, "build"], cwd=wheels)
    small.run([*WARDIAN, "store", "verify"], cwd=wheels)


@pytest.fixture
def packages(
    base_store: Path, base_project: Path, tmp_path: Path, small: Disk, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The base project, whose store is on the small disk."""
    monkeypatch.setenv("WARDIAN_HOME", str(small.at))
    subprocess.run(["cp", "-a", f"{base_store}/.", str(small.seen)], check=True)
    return Path(shutil.copytree(base_project, tmp_path / "project"))


def test_a_full_store_while_packages_are_installed(packages: Path, small: Disk) -> None:
    text = (packages / "wardian.toml").read_text()
    (packages / "wardian.toml").write_text(text + '[images.train]\nfrom = "@base"\nrun = ["true"]\n')
    small.run([*WARDIAN, "lock"], cwd=packages)
    small.run([*WARDIAN, "build"], cwd=packages)  # what lies beneath is unpacked now
    (packages / "wardian.toml").write_text(text + '[images.train]\nfrom = "@base"\napt = ["tree"]\n')
    small.run([*WARDIAN, "lock", "--archive", str(packages / "archive")], cwd=packages)  # the package is there
    small.fill(MEGABYTE // 4)
    said(small.run([*WARDIAN, "build"], cwd=packages, code=1), "image train, apt", FULL)
    nothing_half_done(small.seen)
    small.change("size=1g")
    small.run([*WARDIAN, "build"], cwd=packages)


def test_a_full_store_while_a_base_is_made(packages: Path, small: Disk) -> None:
    small.fill(MEGABYTE)
    said(small.run([*WARDIAN, "build", "--no-cache"], cwd=packages, code=1), "image base, base bootstrap", FULL)
    nothing_half_done(small.seen)
    small.run([*WARDIAN, "build"], cwd=packages)


def test_a_closed_home_is_named_by_every_verb_that_writes(
    home: Path, tmp_path: Path, index: Index, small: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store lies in HOME; what is there already can be looked at."""
    monkeypatch.delenv("WARDIAN_HOME")
    monkeypatch.setenv("HOME", str(small.at))
    store = Path(".local/share/wardian")
    add_busybox(Store(home / "store"), BUSYBOX)
    shutil.copytree(home / "store", small.seen / store)
    project = tmp_path / "project"
    project.mkdir()
    (project / "wardian.toml").write_text(f'[project]\nname = "demo"\n\n[images.train]\nfrom = "{BUSYBOX}"\n')
    small.run([*WARDIAN, "lock"], cwd=project)
    (project / "wardian.local.toml").write_text("[images.train]\nenv = { A = '1' }\n")
    small.change("ro")
    for argv in (["build"], ["store", "prune", "--yes"], ["lock", "--upgrade"]):
        said(small.run([*WARDIAN, *argv], cwd=project, code=1), CLOSED, str(small.at / store))
    said(small.run([*WARDIAN, "run", "--image", BUSYBOX, "true"], cwd=project, code=125), CLOSED, str(small.at / store))
    assert BUSYBOX in small.run([*WARDIAN, "images"], cwd=project).stdout
    small.change("rw")
    small.run([*WARDIAN, "build"], cwd=project)
    small.run([*WARDIAN, "run", "true"], cwd=project)
