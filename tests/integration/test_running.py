"""A real Debian image with a real Python, run, checked, entered and interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.people import hear_signals

Wardian = Callable[..., Any]
TRAINER = """\
import json, os, sys, time
from pathlib import Path

try:
    print("ready", flush=True)
    time.sleep(60 if len(sys.argv) > 1 else 0)
except KeyboardInterrupt:
    Path("checkpoint.json").write_text(json.dumps({"step": 7}))
    sys.exit(17)
Path("metrics.json").write_text(json.dumps({"seed": os.environ["SEED"], "argv": sys.argv}))
"""


@pytest.fixture
def project(base_project: Path, with_base: Path, tmp_path: Path, need: Callable[..., None]) -> Iterator[Path]:
    need("bwrap", "unshare")
    folder = tmp_path / "project"
    folder.mkdir()
    for path in base_project.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "wardian.toml").open("a") as file:
        file.write('\n[run]\ngpus = "none"\nenv = { SEED = "3" }\n')
    (folder / "train.py").write_text(TRAINER)
    yield folder
    inside = ("unshare", "--mount") if os.getuid() == 0 else ("unshare", "--map-auto", "--map-root-user", "--mount")
    subprocess.run([*inside, "rm", "-rf", str(with_base / "unpacked")], check=False)


def test_training_in_a_real_image(wardian: Wardian, project: Path) -> None:
    done = wardian("run", "--", "python3", "train.py", cwd=project)
    assert done.out == "ready\n"
    assert (project / "metrics.json").read_text() == '{"seed": "3", "argv": ["train.py"]}'
    assert (project / "metrics.json").stat().st_uid == os.getuid()
    script = "import sys, os; print(sys.version_info[:2], os.access(os.path.expanduser('~'), os.W_OK))"
    said = wardian("run", "--", "python3", "-c", script, cwd=project).out
    assert said.startswith("(3, 11)")
    assert said.rstrip().endswith("True")
    script = (
        "id -un && getent passwd www-data && getent hosts localhost && dpkg -s python3 | grep -q ^Version && perl -e1"
    )
    wardian("run", "--", "bash", "-c", script, cwd=project)

    words = [sys.executable, "-m", "wardian", "run", "--", "python3", "train.py", "long"]
    child = subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, preexec_fn=hear_signals)  # noqa: PLW1509
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    os.kill(child.pid, signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 17
    assert (project / "checkpoint.json").read_text() == '{"step": 7}'

    run = wardian("run", "-d", "--", "python3", "train.py", "long", cwd=project).out.strip()
    deadline = time.monotonic() + 30
    while wardian("logs", run, cwd=project).out != "ready\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert wardian("exec", run, "--", "python3", "-c", "import os; print(os.environ['SEED'])", cwd=project).out == "3\n"
    wardian("stop", "--time", "5", run, cwd=project)
    states = [one["state"] for one in wardian("runs", "--json", cwd=project).json()]
    assert set(states) == {"finished"}


def test_checks_of_a_real_image(wardian: Wardian, project: Path) -> None:
    text = (
        (project / "wardian.toml")
        .read_text()
        .replace(
            "\n[run]",
            '\n[images.base.tests]\n"python is 3.11" = { run = "python3 --version", expect = "3.11" }\n'
            '"not 3.12" = { run = "python3 --version", expect = "3.12" }\n\n[run]',
        )
    )
    (project / "wardian.toml").write_text(text)
    done = wardian("test", "--json", cwd=project, code=1)
    assert {one["check"]: one["state"] for one in done.json()["checks"]} == {
        "python is 3.11": "passed",
        "not 3.12": "failed",
    }
