"""Engines that fail, for real: closed to us, not there, at a dead address, killed while they pull. One line each."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.conftest import PlainUser, Wardian
from tests.engines import LAB, Engine
from tests.images import add_image, layer
from tests.people import Person
from tests.rootfs import MODES, defaults, files
from tests.verbs.running import make_project, make_store
from wardian.runs.processes import identify, parent
from wardian.store.store import Store

BIG = 96 * 1024**2  # bytes of the layer in whose pull the daemon dies


@pytest.fixture
def project(tmp_path: Path, home: Path, need: Callable[..., None]) -> Path:
    need("busybox")
    make_store(home / "store")
    return make_project(tmp_path / "a project")


def refused(wardian: Wardian, project: Path, *words: str) -> list[str]:
    """The lines of a call that is the engine's failure."""
    done = wardian(*words, cwd=project, code=125)
    assert done.out == ""
    return done.err.splitlines()


# ── reaching it ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.getuid() != 0, reason="only root can close a socket to another user")
@pytest.mark.parametrize("verb", [("run", "--engine", "docker", "--", "true"), ("load", "--engine", "docker", "train")])
def test_a_socket_of_roots_alone(
    *, verb: tuple[str, ...], project: Path, home: Path, tmp_path: Path, plain_user: PlainUser, docker: Engine
) -> None:
    """The kernel refuses a plain user, whoever listens there."""
    who = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    who.own(home)
    who.own(project)
    address = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        address.chmod(0o600)
        words = [*who.python(), "-m", "wardian", *verb]
        environ = {**docker.environ, "DOCKER_HOST": f"unix://{address}", "DOCKER_CONFIG": "/nonexistent"}
        done = subprocess.run(words, cwd=project, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (125, ""), done.stderr
    assert done.stderr.splitlines()[-2:] == [
        f"wardian: this user may not use Docker at unix://{address}",
        '  type: sudo usermod -aG docker "$USER" and log in again, or dockerd-rootless-setuptool.sh install',
    ]
    assert len(done.stderr.splitlines()) == 2


def test_a_socket_where_nobody_listens(
    project: Path, wardian: Wardian, tmp_path: Path, docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a daemon that was killed leaves it."""
    address = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
    assert refused(wardian, project, "run", "--engine", "docker", "--", "true") == [
        f"wardian: the Docker daemon at unix://{address} does not answer",
        "  type: sudo systemctl start docker, or use --engine sandbox",
    ]
    assert docker.program == "docker"


@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1", "ssh://nobody@127.0.0.1"])
def test_an_address_where_nobody_is(
    *,
    scheme: str,
    project: Path,
    wardian: Wardian,
    docker: Engine,
    need: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need("ssh")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("DOCKER_HOST", f"{scheme}:{port}")
    for words in (("run", "--engine", "docker", "--no-project", "--", "true"), ("load", "--engine", "docker", "train")):
        assert refused(wardian, project, *words) == [
            f"wardian: the Docker daemon at {scheme}:{port} does not answer",
            "  is that the right address? It is DOCKER_HOST, or of `docker context show`; or use --engine sandbox",
        ]
    assert docker.program == "docker"


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_program_that_is_absent(
    name: str, project: Path, wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    package = "docker.io" if name == "docker" else name
    for words in (("run", "--engine", name, "--", "true"), ("load", "--engine", name, "train")):
        assert refused(wardian, project, *words) == [
            f"wardian: {name} is not on this machine",
            f"  type: sudo apt-get install {package}, or use --engine sandbox",
        ]


# ── a daemon that dies ─────────────────────────────────────────────────────────────────────────────────────────────


class Daemon:
    """A Docker daemon of one test, which may be killed."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.variables = {**os.environ, "DATA": str(base), "RUN": str(base / "run"), "WATCH": str(os.getpid())}
        self.env: dict[str, str] = {}

    def up(self) -> None:
        """Start it, or start it again."""
        begin: list[str | Path] = [LAB / "docker.sh", "up"]
        done = subprocess.run(begin, env=self.variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = subprocess.run(
            [LAB / "docker.sh", "env"], env=self.variables, check=True, capture_output=True, text=True
        )
        for word in said.stdout.removeprefix("export ").split():
            name, _, value = word.partition("=")
            self.env[name] = value.replace("'", "").replace("$PATH", os.environ["PATH"])

    def kill(self) -> None:
        """SIGKILL, as when memory runs out; its containerd, which would keep the next one from starting, too."""
        daemon = int((self.base / "run/docker.pid").read_text())
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        every = [daemon, *(number for number in numbers if parent(number) == daemon)]
        for number in every:
            os.kill(number, signal.SIGKILL)
        while any(identify(number) for number in every):
            time.sleep(0.02)

    def pulling(self) -> int:
        """How many bytes lie in layers that are not whole yet."""
        total = 0
        for path in self.base.glob("docker-*/tmp/GetImageBlob*"):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def down(self) -> None:
        """End it."""
        subprocess.run([LAB / "docker.sh", "down"], env=self.variables, check=True, capture_output=True)


@pytest.fixture
def daemon(tmp_path: Path, docker: Engine) -> Iterator[Daemon]:
    """``docker``: where none can be had, this test says so."""
    assert docker.program == "docker"
    made = Daemon(tmp_path / "daemon")
    made.base.mkdir()
    made.up()
    yield made
    made.down()
    # One that is killed leaves its folder mounted over itself, and what is mounted is not removed.
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in (one for one in places if one.startswith(str(made.base))):
        subprocess.run(["umount", place], check=True)


def test_a_daemon_that_is_killed_while_it_pulls(
    daemon: Daemon, project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = layer({"large": random.Random(3).randbytes(BIG)})
    add_image(Store(home / "store"), "demo/train:latest", [layer(files(), modes=MODES), content], config=defaults({}))
    for name, value in daemon.env.items():
        monkeypatch.setenv(name, value)
    words = [sys.executable, "-m", "wardian", "load", "--engine", "docker", "demo/train:latest"]
    child = subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while daemon.pulling() < BIG // 20:
        assert child.poll() is None, "it was over before anybody could disturb it"
        time.sleep(0.001)
    daemon.kill()
    out, said = child.communicate(timeout=60)
    address = daemon.env["DOCKER_HOST"]
    assert (child.returncode, out) == (125, ""), said
    lines = said.splitlines()
    assert lines[0] in (
        f"wardian: the connection to the Docker daemon at {address} broke",
        f"wardian: the Docker daemon at {address} does not answer",
    )
    assert lines[1:] == ["  type: sudo systemctl start docker, or use --engine sandbox"]
    daemon.up()
    here = Engine("docker", daemon.env)
    assert here.run("image", "ls", "--all", "--quiet").stdout == "", "nothing of it is visible"
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    asked = here.run("run", "--rm", "--network", "none", "demo/train:latest", "wc", "-c", "/large")
    assert asked.stdout == f"{BIG} /large\n"
    assert [one for one in here.json("image", "inspect", "demo/train:latest")[0]["RepoTags"] if "127.0" in one] == []
