"""`wardian test`. The faults of the system it replaces are regression cases: see `systems.md`, torchrl-ci."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.people import hear_signals
from tests.verbs.running import make_project, make_store

Wardian = Callable[..., Any]


@pytest.fixture(scope="module")
def busybox_store(tmp_path_factory: pytest.TempPathFactory, need: Callable[..., None]) -> Path:
    need("bwrap", "unshare", "busybox")
    return make_store(tmp_path_factory.mktemp("busybox") / "store")


@pytest.fixture
def project(busybox_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARDIAN_HOME", str(busybox_store))
    return tmp_path / "project"


def checks(project: Path, *lines: str, run: str = 'gpus = "none"') -> Path:
    return make_project(project, run, "[images.train.tests]\n" + "\n".join(lines) + "\n")


def results(data: Any) -> dict[str, tuple[str, str]]:
    return {one["check"]: (one["state"], one["reason"]) for one in data["checks"]}


def test_all_that_pass(wardian: Wardian, project: Path) -> None:
    checks(project, 'shell = "true"', '"says it" = { run = "echo version 3.0.17", expect = "3.0.17" }')
    done = wardian("test", cwd=project)
    assert [line.split()[-2] for line in done.out.splitlines()[1:]] == ["passed", "passed"]


def test_a_command_that_is_shown_shows_no_secret(wardian: Wardian, project: Path) -> None:
    checks(project, 'shell = "test $A_TOKEN = hunter2"', run='gpus = "none"\nenv = { A_TOKEN = "hunter2" }')
    done = wardian("test", "--verbose", cwd=project)
    assert "bwrap" in done.err
    assert "hunter2" not in done.err.replace("test $A_TOKEN = hunter2", "")


def test_a_deliberately_broken_image_fails_exactly_one_check(wardian: Wardian, project: Path) -> None:
    checks(project, 'first = "test -e /etc/passwd"', 'broken = "test -e /opt/venv"', 'last = "command -v sh"')
    done = wardian("test", "--json", cwd=project, code=1)
    assert results(done.json()) == {
        "first": ("passed", ""),
        "broken": ("failed", "exit code 1"),
        "last": ("passed", ""),
    }
    assert "1 of 3 checks failed: train: broken" in done.err


def test_checks_do_not_stop_at_the_first_failure(wardian: Wardian, project: Path) -> None:
    checks(project, *(f'c{at} = "exit {at}"' for at in range(5)))
    done = wardian("test", "--jobs", "1", cwd=project, code=1)
    assert [line.split()[2] for line in done.out.splitlines()[1:]] == ["passed", *["failed"] * 4]
    assert "4 of 5 checks failed" in done.err
    assert all(f"train: c{at}" in done.err for at in range(1, 5))


def test_variables_expand_inside_never_on_the_host(
    wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "host")
    monkeypatch.setenv("FROM_IMAGE", "host")
    checks(
        project,
        """image = 'test "$FROM_IMAGE" = yes'""",
        """host = 'test -z "$MUJOCO_GL"'""",
        """number = 'test $$ -lt 10'""",
        """substitution = 'test "$(cat /etc/plain)" = "not a program"'""",
        """quotes = '''printf %s "a'b" | grep -q "a'b"'''""",
    )
    wardian("test", cwd=project)


def test_a_local_image_is_never_pulled(
    wardian: Wardian, project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDIAN_HOME", str(home / "empty"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # whoever tries to pull says so
    checks(project, 'a = "true"', 'b = "true"')
    done = wardian("test", "--json", cwd=project, code=1)
    assert results(done.json()) == dict.fromkeys("ab", ("error", "image train is not built; type: wardian build train"))


def test_expectations(wardian: Wardian, project: Path) -> None:
    checks(
        project,
        'absent = { run = "echo 3.0.3", expect = "3.0.17" }',
        'other-stream = { run = "echo 3.0.17 >&2", expect = "3.0.17" }',
        'spread = { run = "printf 3.0; sleep 0.2; printf .17", expect = "3.0.17" }',
        'late = { run = "yes | head -c 3000000; echo; echo needle", expect = "needle" }',
        'failing = { run = "echo 3.0.17; exit 1", expect = "3.0.17" }',
    )
    found = results(wardian("test", "--json", cwd=project, code=1).json())
    assert found == {
        "absent": ("failed", "'3.0.17' is not in its output"),
        "other-stream": ("failed", "'3.0.17' is not in its output"),
        "spread": ("passed", ""),
        "late": ("passed", ""),
        "failing": ("failed", "exit code 1"),
    }


def test_a_timeout_ends_everything_in_the_check(wardian: Wardian, project: Path) -> None:
    mark = f"8{time.time_ns() % 10**6}"
    line = f'trap "" TERM; setsid sleep {mark} & sleep {mark} & echo before; sleep {mark}; true'
    checks(project, f"slow = {{ run = '''{line}''', timeout = 1 }}", 'quick = "true"')
    begun = time.monotonic()
    data = wardian("test", "--json", cwd=project, code=1).json()
    assert time.monotonic() - begun < 20
    assert results(data) == {"slow": ("failed", "did not end within 1 s"), "quick": ("passed", "")}
    assert data["checks"][0]["stdout"] == "before\n"
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True, check=False).stdout == b""


def test_checks_run_beside_each_other(wardian: Wardian, project: Path) -> None:
    checks(project, *(f'c{at} = "cat /proc/uptime; sleep 2; cat /proc/uptime"' for at in range(4)))
    data = wardian("test", "--jobs", "4", "--json", cwd=project).json()
    spans = sorted([float(line.split()[0]) for line in one["stdout"].splitlines()] for one in data["checks"])
    assert any(second[0] < first[1] for first, second in itertools.pairwise(spans))


def test_each_check_has_an_image_of_its_own(wardian: Wardian, project: Path) -> None:
    checks(project, 'one = "rm /etc/plain; touch /mark"', 'two = "test -e /etc/plain && test ! -e /mark"')
    wardian("test", "--jobs", "1", cwd=project)


def test_the_projects_folder_is_not_there(wardian: Wardian, project: Path) -> None:
    checks(project, 'empty = "test -z \\"$(ls -A)\\" && pwd | grep -qx /workspace"')
    wardian("test", cwd=project)
    assert not (project / ".wardian").exists(), "a check is no run"


def test_a_check_cannot_be_fooled_by_a_missing_shell_word(wardian: Wardian, project: Path) -> None:
    checks(project, 'typo = "no-such-command --version"')
    assert results(wardian("test", "--json", cwd=project, code=1).json()) == {"typo": ("failed", "exit code 127")}


def test_some_checks_by_name(wardian: Wardian, project: Path) -> None:
    checks(project, '"torch imports" = "true"', '"tools" = "false"')
    assert len(wardian("test", "-k", "TORCH", cwd=project).out.splitlines()) == 2
    done = wardian("test", "-k", "jax", cwd=project, code=2)
    assert "no check matches 'jax'" in done.err
    assert "torch imports" in done.err


def test_some_images_by_name(wardian: Wardian, project: Path) -> None:
    checks(project, 'a = "true"')
    wardian("test", "train", cwd=project)
    assert "there is no image 'trian'" in wardian("test", "trian", cwd=project, code=2).err


def test_no_checks_at_all(wardian: Wardian, project: Path) -> None:
    make_project(project)
    assert wardian("test", cwd=project).out == "no image has a check\n"


def test_output_of_what_failed_is_shown(wardian: Wardian, project: Path) -> None:
    checks(project, 'bad = "echo on stdout; echo on stderr >&2; exit 1"', 'good = "echo quiet"')
    done = wardian("test", cwd=project, code=1)
    assert "── train: bad\non stdout\non stderr\n" in done.err
    assert "quiet" not in done.err


def test_hostile_output_gives_a_report_that_can_be_read(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    checks(
        project,
        """'<&"> name' = 'printf "\\000\\033[31m]]>&<\\377\\001"; exit 1'""",
        'flood = "yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx | head -c 20000000"',
    )
    report = tmp_path / "checks.xml"
    wardian("test", "--junit", str(report), cwd=project, code=1)
    root = ET.parse(report).getroot()
    assert [case.get("name") for case in root.iter("testcase")] == ['<&"> name', "flood"]
    assert root.get("failures") == "1"
    assert report.stat().st_size < 200_000
    assert str(root.find("testsuite/properties/property").get("value")).startswith("sha256:")  # type: ignore[union-attr]


def test_a_report_that_cannot_be_written_is_said(wardian: Wardian, project: Path) -> None:
    checks(project, 'a = "true"')
    assert "cannot be written" in wardian("test", "--junit", "/no/such/x.xml", cwd=project, code=1).err


def test_ctrl_c_ends_all_checks(project: Path) -> None:
    mark = f"9{time.time_ns() % 10**6}"
    checks(project, *(f'c{at} = "sleep {mark}"' for at in range(3)))
    words = [sys.executable, "-m", "wardian", "test", "-j", "2"]
    child = subprocess.Popen(words, cwd=project, stderr=subprocess.PIPE, preexec_fn=hear_signals)  # noqa: PLW1509 - no thread runs
    deadline = time.monotonic() + 20
    while len(subprocess.run(["pgrep", "-xf", f"sleep {mark}"], capture_output=True, check=False).stdout.split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True, check=False).stdout == b""


def test_a_gpu_that_is_not_there_is_said_once(wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.verbs._choose.FOLDERS", ("/no/such/folder",))
    checks(project, 'a = "true"', 'b = "true"', run="")
    assert wardian("test", cwd=project).err.count("no GPU") == 1
