"""doctor on this very machine, as it is."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.indexes import Index, serve
from tests.people import Person
from wardian.plan import debian

Wardian = Callable[..., Any]
Need = Callable[..., None]


@pytest.mark.engine
def test_a_machine_that_can_run_says_so(wardian: Wardian, need: Need, home: Path) -> None:
    need("bwrap", "unshare", "setpriv")
    data = wardian("doctor", "--json").json()
    assert data["works"] is True
    states = {finding["name"]: finding["state"] for finding in data["findings"]}
    for name in ("python", "uv", "bwrap", "util-linux", "namespaces", "overlay", "sandbox", "store"):
        assert states[name] == "ok", name
    assert not (home / "store").exists()  # looking changes nothing


@pytest.mark.engine
def test_people_get_a_line_for_each_and_a_verdict(wardian: Wardian, need: Need) -> None:
    need("bwrap", "unshare", "setpriv")
    lines = wardian("doctor").out.splitlines()
    assert lines[0].startswith("✓ python")
    assert lines[-1].startswith("images can be run here, and built")


def test_a_machine_without_anything_says_what_to_type(
    wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("sh", "id"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    said = wardian("doctor", code=1)
    assert "apt-get install bubblewrap" in said.out
    assert "✗ bwrap" in said.out
    assert said.out.splitlines()[-1] == "images cannot be built and run here yet"


def test_the_network_is_tried_and_each_place_named(
    wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(Index(tmp_path, auth=True)) as asks, serve(Index(tmp_path)) as mirror:
        monkeypatch.setattr(debian, "RELEASE", f"{mirror.url}/files/absent/InRelease")
        monkeypatch.setenv("UV_DEFAULT_INDEX", asks.simple)
        monkeypatch.setenv("UV_INDEX", "http://127.0.0.1:1/simple")
        found = wardian("doctor", "--network", "--json", code=None).json()["findings"]

    reached = {finding["said"]: finding for finding in found if finding["name"] == "reach"}
    states = {said: finding["state"] for said, finding in reached.items()}
    assert states.pop(f"{asks.simple}/ answers 401") == "ok"  # a server that asks who we are is there
    assert states.pop(f"{mirror.url}/files/absent/InRelease answers 404") == "ok"
    ((refused, state),) = states.items()
    assert "127.0.0.1" in refused
    assert state == "missing"
    assert reached[refused]["needed_for"] == "lock: http://127.0.0.1:1/simple/"


@pytest.mark.engine
def test_a_plain_user_gets_the_same(need: Need, plain_user: Any, tmp_path: Path) -> None:
    need("bwrap", "unshare", "setpriv")
    person = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    environ = {**os.environ, "WARDIAN_HOME": f"{plain_user.home}/.wardian-doctor"}
    argv = [*person.python(), "-m", "wardian", "doctor"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", env=environ)
    assert "namespaces" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as a plain user" in done.stdout
