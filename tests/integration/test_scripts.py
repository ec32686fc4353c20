"""The set-up script: what it refuses, what it says, and that it leaves alone what is not its own."""

import os
import shutil
import subprocess
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
