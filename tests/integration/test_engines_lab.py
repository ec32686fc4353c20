"""The engines that the tests themselves use: they run containers, are one for all workers, and end with the run."""

import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines import Engine
from tests.rootfs import files

ENGINES = ("docker", "docker_containerd", "podman", "podman_rootless")
ROOT = Path(__file__).parents[2]


def busybox() -> bytes:
    """A root file system of busybox as a tar stream."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files().items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if content is None:
                entry.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


@pytest.mark.parametrize("name", ENGINES)
def test_a_container_runs_and_reaches_the_world(
    name: str, engine: Callable[[str], Engine], need: Callable[..., None]
) -> None:
    need("busybox")
    found = engine(name)
    found.run("import", "--change", "ENV PATH=/bin", "-", "lab-test:latest", stdin=busybox())

    said = found.run("run", "--rm", "lab-test:latest", "sh", "-c", "id -u && ip route")

    assert said.stdout.split("\n")[0] == "0"
    assert "default via" in said.stdout


@pytest.mark.parametrize("name", ["podman", "podman_rootless"])
def test_containers_get_the_limits_that_the_machine_has(
    name: str, engine: Callable[[str], Engine], need: Callable[..., None]
) -> None:
    need("busybox")
    found = engine(name)
    found.run("import", "--change", "ENV PATH=/bin", "-", "lab-test:latest", stdin=busybox())

    said = found.run("run", "--rm", "lab-test:latest", "sh", "-c", "ulimit -H -n")

    hard = subprocess.run(["bash", "-c", "ulimit -H -n"], capture_output=True, text=True, check=True).stdout
    assert said.stdout == hard


def test_docker_has_compose_and_buildx(docker: Engine) -> None:
    assert docker.run("compose", "version", "--short").stdout[0] == "2"
    assert "buildx" in docker.run("buildx", "version").stdout


def test_a_login_of_one_test_is_its_own(docker: Engine, home: Path) -> None:
    assert Path(docker.env["DOCKER_CONFIG"]).is_relative_to(home)
    assert os.environ["DOCKER_HOST"] == docker.env["DOCKER_HOST"]


ENDS = """
import os, sys
from pathlib import Path
from tests import engines
os.environ[engines.CONTROLLER] = str(os.getpid())
found = getattr(engines, sys.argv[2])(Path(sys.argv[1]))
found.run("import", "--change", "ENV PATH=/bin", "-", "lab-ends:latest", stdin=sys.stdin.buffer.read())
found.run("run", "--detach", "lab-ends:latest", "sleep", "1000")
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_engine_ends_with_a_run_that_is_killed(
    name: str, engine: Callable[[str], Engine], need: Callable[..., None], tmp_path: Path
) -> None:
    need("busybox")
    engine(name)  # absent: said there
    base = tmp_path / "base"
    base.mkdir()
    program = [sys.executable, "-c", ENDS, str(base), name]

    killed = subprocess.run(program, input=busybox(), capture_output=True, cwd=ROOT, check=False)

    assert killed.returncode == -9, killed.stderr.decode()
    while running := started_for(base):  # a hang is cut by whoever runs the tests
        time.sleep(0.1)
    assert not running
    assert not (base / "podman").exists()
    assert not (base / "docker-graph" / "docker.pid").exists()


def started_for(base: Path) -> list[int]:
    """The processes whose command line or environment names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if bytes(base) in said and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found
