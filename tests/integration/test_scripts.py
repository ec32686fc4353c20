"""The set-up script: what it refuses, what it says, and that it leaves alone what is not its own."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "scripts").rglob("*.sh"), ROOT / ".ci" / "run"])
TOOLS = (
    "bash",
    "sh",
    "env",
    "dirname",
    "id",
    "getent",
    "cut",
    "grep",
    "sha256sum",
    "head",
    "cat",
    "rm",
    "mv",
    "python3",
)


@pytest.fixture
def setup(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a copy of the script where only TOOLS and the ``more`` are on PATH: no apt, no sudo."""
    project = tmp_path / "project ü"
    (project / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", project / "scripts")
    shutil.copy(ROOT / "pyproject.toml", project)

    def run(*argv: str, more: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        for name in (*TOOLS, *more):
            found = shutil.which(name, path=f"/usr/bin:/bin:{os.environ['PATH']}")
            if found and not (programs / name).exists():
                (programs / name).symlink_to(found)
        return subprocess.run(
            [project / "scripts" / "setup.sh", *argv],
            env={"PATH": str(programs), "HOME": str(tmp_path), **env},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


Setup = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path, need: Callable[..., None]) -> None:
    need("shellcheck")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("argv", [(), ("lunch",)])
def test_an_unknown_target_is_an_error(setup: Setup, argv: tuple[str, ...]) -> None:
    done = setup(*argv)

    assert done.returncode != 0
    assert "demo" in done.stderr


def test_what_only_root_can_install_is_named_and_stops_the_demo(setup: Setup) -> None:
    done = setup("demo")

    assert done.returncode == 1
    assert "only root can install them: bubblewrap mmdebstrap uidmap" in done.stderr
    assert "sudo apt-get install --no-install-recommends bubblewrap" in done.stderr
    assert "'make demo' cannot do without: bubblewrap mmdebstrap uidmap" in done.stderr


def test_a_folder_that_is_no_environment_is_left_alone(setup: Setup, tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.tex").write_text("words")

    done = setup("lint", VENV=str(mine))

    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (mine / "chapter.tex").read_text() == "words"


@pytest.mark.parametrize("place", ["elsewhere", "here"])
def test_an_environment_that_was_moved_is_made_anew(setup: Setup, tmp_path: Path, place: str) -> None:
    venv = tmp_path / "thesis env"
    venv.mkdir()
    (venv / "pyvenv.cfg").touch()
    recorded = venv if place == "here" else tmp_path / "before"
    (venv / ".wardian-setup").write_text(f"another pyproject\nin {recorded}\ntest\n")
    python = tmp_path / "python"  # good enough to be chosen; what it is asked to make is what we look at
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || { echo "asked: $*" >&2; exit 9; }\n')
    python.chmod(0o755)
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(python)

    done = setup("lint", VENV=str(venv), PYTHON=str(python))

    assert done.returncode == 9
    assert ("was moved here" in done.stderr) == (place == "elsewhere")
    assert f"asked: -m {'venv ' if place == 'elsewhere' else 'pip install'}" in done.stderr
    assert venv.exists() == (place == "here")


def test_the_makefile_takes_an_environment_whose_name_has_spaces(need: Callable[..., None]) -> None:
    need("make")
    for target in ("demo", "test", "lint", "bench"):
        argv = ["make", "-n", "-C", str(ROOT), target, "VENV=/my venv"]
        lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        words = [shlex.split(line) for line in lines if "/my venv" in line]
        assert words, target
        assert all(word[0].startswith("/my venv/bin/") for word in words), words


def test_ruff_reads_the_project_and_not_what_lies_beside_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ours = ["bench/a.py", "scripts/a.py", "src/wardian/a.py", "tests/unit/a.py"]
    for name in (*ours, "wardian-demo/train.py", "trainer/train.py", "my-venv/lib/site.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    argv = [str(Path(sys.executable).with_name("ruff")), "check", "--show-files", "."]

    shown = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    assert sorted(str(Path(name).relative_to(tmp_path)) for name in shown) == [*ours[:1], "pyproject.toml", *ours[1:]]
