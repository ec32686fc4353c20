"""Where the docker client would go, without starting it."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from wardian.runtimes.endpoint import DEFAULT, elsewhere, endpoint, rootless


def context(folder: Path, name: str, host: str) -> None:
    place = folder / "contexts" / "meta" / sha256(name.encode()).hexdigest()
    place.mkdir(parents=True)
    place.joinpath("meta.json").write_text(
        json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}})
    )


def test_the_environment_wins_over_the_context(tmp_path: Path) -> None:
    context(tmp_path, "far", "ssh://far")
    context(tmp_path, "near", "unix:///near.sock")
    (tmp_path / "config.json").write_text('{"currentContext": "near"}')
    own = {"DOCKER_CONFIG": str(tmp_path)}
    assert endpoint(own) == "unix:///near.sock"
    assert endpoint({**own, "DOCKER_CONTEXT": "far"}) == "ssh://far"
    assert endpoint({**own, "DOCKER_CONTEXT": "far", "DOCKER_HOST": "tcp://x:1"}) == "tcp://x:1"
    assert endpoint({**own, "DOCKER_CONTEXT": "default"}) == DEFAULT


def test_without_anything_it_is_the_system_socket(tmp_path: Path) -> None:
    assert endpoint({"HOME": str(tmp_path)}) == DEFAULT
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text("not json")
    assert endpoint({"HOME": str(tmp_path)}) == DEFAULT
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "absent"}')
    assert endpoint({"HOME": str(tmp_path)}) == DEFAULT


def test_the_client_itself_says_the_same(tmp_path: Path, need: Callable[..., None]) -> None:
    need("docker")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "config")}
    create = ["docker", "context", "create", "far", "--docker", "host=ssh://far"]
    subprocess.run(create, env=environ, check=True, capture_output=True)
    subprocess.run(["docker", "context", "use", "far"], env=environ, check=True, capture_output=True)
    show = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    said = subprocess.run(show, env=environ, check=True, capture_output=True, text=True).stdout.strip()
    assert endpoint(environ) == said == "ssh://far"


@pytest.mark.parametrize(("address", "far"), [("unix:///x", False), ("ssh://a", True), ("tcp://1.2.3.4:5", True)])
def test_what_may_be_on_another_machine(address: str, far: bool) -> None:
    assert elsewhere(address) is far


def test_a_socket_of_a_plain_users_own_is_rootless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        if os.getuid() == 0:
            assert not rootless(f"unix://{path}")
            os.chown(path, 1234, 1234)
        monkeypatch.setattr("os.getuid", lambda: path.stat().st_uid)
        assert rootless(f"unix://{path}")
    assert not rootless(f"unix://{tmp_path}/absent")
    assert not rootless("ssh://far")
