"""Verbs over an engine that is not there, or answers badly: who fails says so, with its code. No engine is needed.

The fake is a program that knows the few questions it is asked, and fails at any other.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.verbs.running import make_project
from wardian.runtimes.dockerlike import SHELL

Wardian = Callable[..., Any]
SERVICE = """
[services.web]
command = "true"
"""
FAKE = """#!/bin/sh
case "$1" in
ps) echo 0123456789ab ;;
inspect) cat "$(dirname "$0")/answer.json" ;;
exec) shift; for word; do printf '%s|' "$word"; done; printf '%s\n' "$A_TOKEN"; exit 7 ;;
logs) shift; echo "asked: $*"; echo "the log driver is none" >&2; exit 3 ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose service was once started in docker, as the marker says."""
    folder = make_project(tmp_path / "project")
    with (folder / "wardian.toml").open("a") as file:
        file.write(SERVICE)
    (folder / ".wardian").mkdir()
    (folder / ".wardian/services.docker").touch()
    return folder


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker of this test alone, first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(FAKE)
    (folder / "docker").chmod(0o755)
    state = {"Status": "running", "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z"}
    labels = {"dev.wardian.service": "web", "dev.wardian.ports": ""}
    (folder / "answer.json").write_text(
        json.dumps([{"Id": "0123456789ab", "Config": {"Labels": labels}, "State": state}])
    )
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.mark.parametrize("words", [("status",), ("down",), ("up",), ("logs",), ("logs", "web")])
def test_an_engine_that_is_gone_is_the_commands_own_failure(
    wardian: Wardian, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """125 is for verbs whose exit code is a program's."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = wardian(*words, cwd=project, code=1)
    assert done.err.startswith("wardian: docker is not on this machine\n  type: sudo apt-get install docker.io")
    assert done.out == ""


def test_a_log_that_cannot_be_read_is_no_success(wardian: Wardian, project: Path, fake: Path) -> None:
    assert wardian("logs", "--tail", "5", "web", cwd=project, code=3)
    done = wardian("logs", cwd=project, code=1)
    assert "docker exited with 3: " in done.err
    assert "the log driver is none" in done.out + done.err


def test_what_runs_is_said_by_the_engine(wardian: Wardian, project: Path, fake: Path) -> None:
    [row] = wardian("status", "--json", cwd=project).json()
    assert (row["service"], row["state"], row["engine"], row["run"]) == ("web", "ready", "docker", "0123456789ab"[:12])


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("exec", "-e", "A_TOKEN=s3", "-w", "/w", "web", "--", "a b", ""), "--workdir|/w|--env|A_TOKEN|ID|a b||s3"),
        (("attach", "-e", "B=1", "web"), f"--env|B=1|ID|{'|'.join(SHELL)}|"),
    ],
)
def test_a_service_is_entered_in_the_engine_that_has_it(
    project: Path, fake: Path, words: tuple[str, ...], asked: str
) -> None:
    argv = [sys.executable, "-m", "wardian", *words]
    done = subprocess.run(argv, cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"--interactive|{asked.replace('ID', '0123456789ab')}\n"


def test_a_service_that_has_ended_cannot_be_entered(wardian: Wardian, project: Path, fake: Path) -> None:
    (fake / "answer.json").write_text((fake / "answer.json").read_text().replace('"running"', '"exited"'))
    for words in (("exec", "web", "true"), ("attach", "web")):
        done = wardian(*words, cwd=project, code=125)
        assert done.err == "wardian: service web is not running\n  type: wardian up web\n"


def test_an_answer_that_is_none_is_named(wardian: Wardian, project: Path, fake: Path) -> None:
    (fake / "docker").write_text("#!/bin/sh\necho 'Error response from daemon: it is tired' >&2\nexit 1\n")
    done = wardian("status", cwd=project, code=1)
    assert done.err == "wardian: docker: it is tired\n"
