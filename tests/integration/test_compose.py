"""A rendered compose file in the hands of compose itself: it is valid, comes up as it is, and its checks are true."""

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.engines import Engine
from tests.images import add_image, layer
from tests.rootfs import MODES, add_busybox, defaults, files
from wardian.plan.labels import EDITABLE, OURS
from wardian.store.store import Store

Wardian = Callable[..., Any]
FILE = """\
[project]
name = "composed"

[images.train]
from = "bootstrap:debian:bookworm"

[run]
image = "train"

[services.web]
command = "touch /data/mine made-here; exec httpd -f -p $WARDIAN_LISTEN:$WARDIAN_PORT -h /workspace"
ports = ["${WEB_PORT:-28080}"]
ready = { http = "/wardian.toml", timeout = "30s" }
volumes = ["data:/data"]

[services.user]
command = "wget -q -O - $WARDIAN_SERVICE_WEB_URL/wardian.toml >/tmp/got && exec nc -ll -p $WARDIAN_PORT -e true"
ports = { user = 28081 }
ready = { tcp = true }
depends-on = ["web"]
env = { DOLLARS = "a$b $$c", WRITTEN = "${WORD:-none}" }
env-pass = ["THE_KEY"]

[services.own]
command = ["sh", "-c", "cat /data/mine; sleep 1000"]
volumes = ["data:/data", "./here:/here:ro"]
ready = { command = "test -e /here/x" }
user = "root"
shm = "16m"

[services.far]
command = "exit 3"
profiles = ["far"]
gpus = "all"
"""


@pytest.fixture
def project(tmp_path: Path, home: Path, need: Callable[..., None]) -> Path:
    need("busybox")
    add_busybox(Store(home / "store"), "composed/train:latest", WorkingDir="/workspace")
    folder = tmp_path / "a project"
    (folder / "here").mkdir(parents=True)
    (folder / "here/x").touch()
    (folder / "wardian.toml").write_text(FILE)
    return folder


@pytest.fixture
def loaded(project: Path, docker: Engine, wardian: Wardian) -> Iterator[Path]:
    """The project, whose image the engine has; what compose started is ended."""
    wardian("export", "train", "--format", "docker", "-o", str(project / "train.tar"), cwd=project)
    docker.run("load", "-i", str(project / "train.tar"))
    (project / "train.tar").unlink()
    yield project
    compose(project, docker, "down", "--volumes", "--timeout", "1", check=False)


def compose(
    folder: Path, engine: Engine, *words: str, check: bool = True, **more: str
) -> "subprocess.CompletedProcess[str]":
    environ = {**engine.environ, "HOST_UID": "4321", "HOST_GID": "99", **more}
    done = subprocess.run(
        ["docker", "compose", *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def free() -> str:
    with closing(socket.create_server(("", 0))) as server:
        return str(server.getsockname()[1])


def test_compose_reads_the_file_as_it_was_meant(
    project: Path, docker: Engine, wardian: Wardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "a secret of the day")
    said = wardian("render", "compose", "-o", ".", cwd=project)
    assert said.out == "./compose.yaml\n"
    text = (project / "compose.yaml").read_text()
    assert "a secret of the day" not in text
    assert "# Its images must be in that engine (`wardian load IMAGE`) or in their registry" in text
    read = json.loads(compose(project, docker, "config", "--format", "json", THE_KEY="k", WORD="w x").stdout)
    body = read["services"]
    assert body.keys() == {"web", "web-volumes", "user", "own"}
    assert body["user"]["environment"] == {
        "HOME": "/tmp",
        "WARDIAN_LISTEN": "0.0.0.0",
        "WARDIAN_PORT": "28081",
        "WARDIAN_PORT_USER": "28081",
        "WARDIAN_SERVICE_WEB_HOST": "web",
        "WARDIAN_SERVICE_WEB_PORT": "28080",
        "WARDIAN_SERVICE_WEB_URL": "http://web:28080",
        "DOLLARS": "a$$b $$c",  # compose writes a dollar as it must be written: a$b $c
        "WRITTEN": "w x",
        "THE_KEY": "k",
    }
    assert body["web"]["command"][2].endswith("-p $$WARDIAN_LISTEN:$$WARDIAN_PORT -h /workspace")
    assert body["own"]["shm_size"] == str(16 * 1024**2)
    assert [one["host_ip"] for one in body["web"]["ports"]] == ["127.0.0.1"]
    assert body["web"]["user"] == "4321:99"
    every = json.loads(compose(project, docker, "--profile", "*", "config", "--format", "json").stdout)
    assert every["services"]["far"]["deploy"]["resources"]["reservations"]["devices"][0]["count"] == -1
    moved = json.loads(compose(project, docker, "config", "--format", "json", WEB_PORT="7", USER_PORT="8").stdout)
    assert (moved["services"]["web"]["ports"][0]["target"], moved["services"]["web"]["ports"][0]["published"]) == (
        7,
        "7",
    )
    assert moved["services"]["user"]["ports"][0]["published"] == "8"
    assert moved["services"]["user"]["environment"]["WARDIAN_SERVICE_WEB_URL"] == "http://web:7"


def test_it_comes_up_as_it_is_and_is_healthy_only_when_it_is(loaded: Path, docker: Engine, wardian: Wardian) -> None:
    wardian("render", "compose", "-o", "deploy", cwd=loaded)
    file = ("-f", "deploy/compose.yaml")
    web, user = free(), free()
    loaded.chmod(0o777)
    compose(loaded, docker, *file, "up", "--wait", "--quiet-pull", WEB_PORT=web, USER_PORT=user)
    try:
        shown = json.loads(
            f"[{','.join(compose(loaded, docker, *file, 'ps', '--format', 'json').stdout.split(chr(10))[:-1])}]"
        )
        assert {one["Service"]: one["Health"] for one in shown} == dict.fromkeys(("web", "user", "own"), "healthy")
        got = urllib.request.urlopen(f"http://127.0.0.1:{web}/wardian.toml").read()
        assert got == (loaded / "wardian.toml").read_bytes()
        assert (loaded / "made-here").stat().st_uid == 4321
        owner = compose(loaded, docker, *file, "exec", "-T", "web", "stat", "-c", "%u:%g", "/data/mine").stdout
        assert owner == "4321:99\n"
        assert compose(loaded, docker, *file, "exec", "-T", "own", "ls", "/data").stdout == ""  # no other's volume
    finally:
        compose(loaded, docker, *file, "down", "--volumes", "--timeout", "1")


MOUNTS = """
[mounts.rsl]
target = "@site-packages/rsl_rl"
source = "../rsl $dear/rsl_rl"

[mounts.data]
target = "/data"
source = "${DATA_FOLDER}"
read-only = true

[mounts.home]
target = "/dot"
source = "~/.dot"

[mounts.off]
target = "/off"
source = "/no/such/folder"
enabled = false

[mounts.own]
target = "/own"

[mounts.turned-off]
target = "/still"
source = "here"
"""
LOCAL = """
[mounts.own]
source = "/somewhere/of/mine"

[mounts.turned-off]
enabled = false
"""


@pytest.fixture
def mounted(project: Path, home: Path) -> Path:
    """The project, with mounts for all and of one's own, whose image has packages and an editable link."""
    labels = {f"{OURS}python": "3.11", EDITABLE: "/editable"}
    config = {"WorkingDir": "/workspace", "Labels": labels, "Env": ["PATH=/bin", "VIRTUAL_ENV=/opt/env"]}
    add_image(Store(home / "store"), "composed/train:latest", [layer(files(), modes=MODES)], config=defaults(config))
    services = f"{FILE[: FILE.index('[services.web]')]}[services.a]\ncommand = 'exec sleep 1000'\n"
    (project / "wardian.toml").write_text(services.replace("[run]", "[run]\nuser = 'root'") + MOUNTS)
    (project / "wardian.local.toml").write_text(LOCAL)
    (project.parent / "rsl $dear/rsl_rl").mkdir(parents=True)
    return project


@pytest.mark.parametrize("folder", [".", "deploy"])
def test_the_mounts_of_the_file_are_in_it_and_nobodys_own(
    *, folder: str, mounted: Path, docker: Engine, wardian: Wardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compose file is for others: what the local file adds, or turns off, is of one person."""
    monkeypatch.setenv("DATA_FOLDER", "/mine")
    said = wardian("render", "compose", "-o", folder, cwd=mounted)
    assert "mounts.own: what is yours alone is not in the file" in said.err
    words = ("-f", f"{folder}/compose.yaml", "config", "--format", "json")
    read = json.loads(compose(mounted, docker, *words, DATA_FOLDER="/theirs", HOME="/home/them").stdout)
    found = {one["target"]: one["source"].replace("$$", "$") for one in read["services"]["a"]["volumes"]}
    assert found == {
        "/workspace": str(mounted),
        "/editable": str(mounted),
        "/opt/env/lib/python3.11/site-packages/rsl_rl": f"{mounted.parent}/rsl $dear/rsl_rl",
        "/data": "/theirs",
        "/dot": "/home/them/.dot",
        "/still": f"{mounted}/here",
    }
    assert [one["target"] for one in read["services"]["a"]["volumes"] if one.get("read_only")] == ["/data"]
    assert "/mine" not in (mounted / folder / "compose.yaml").read_text()


def test_a_mount_whose_source_is_missing_is_refused_and_not_made(
    mounted: Path, docker: Engine, wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_FOLDER", str(tmp_path / "absent"))
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    wardian("render", "compose", "-o", ".", cwd=mounted)
    wardian("load", "train", "--engine", "docker", cwd=mounted)
    try:
        done = compose(mounted, docker, "up", "--detach", check=False)
        assert done.returncode != 0
        assert "bind source path does not exist" in done.stderr
        assert not (tmp_path / "absent").exists()
    finally:
        compose(mounted, docker, "down", "--volumes", "--timeout", "1", check=False)


def test_a_mount_over_packages_needs_the_image(project: Path, wardian: Wardian, home: Path) -> None:
    (project / "wardian.toml").write_text(FILE + MOUNTS.replace("${DATA_FOLDER}", "x"))
    found = wardian("render", "compose", "--set", 'services.far.image="train"', cwd=project, code=2)
    assert "mounts.rsl the image has no folder of Python packages" in found.err.replace("mounts.rsl:", "mounts.rsl")
    Store(home / "store").untag("composed/train:latest")
    done = wardian("render", "compose", cwd=project, code=1)
    assert "image train is not built" in done.err


def test_two_checkouts_come_up_side_by_side(loaded: Path, docker: Engine, wardian: Wardian, tmp_path: Path) -> None:
    other = shutil.copytree(loaded, tmp_path / "another")
    for folder in (loaded, other):
        wardian("render", "compose", "-o", ".", cwd=folder)
        compose(folder, docker, "up", "--wait", "own")
    compose(other, docker, "down", "--volumes", "--timeout", "1")
    assert compose(loaded, docker, "ps", "--services").stdout == "own\n"


def test_a_check_that_fails_is_unhealthy(loaded: Path, docker: Engine, wardian: Wardian) -> None:
    text = FILE.replace("-h /workspace", "-h /etc").replace('timeout = "30s"', 'timeout = "1s"')
    (loaded / "wardian.toml").write_text(text)
    wardian("render", "compose", "-o", ".", cwd=loaded)
    done = compose(loaded, docker, "up", "--wait", "web", check=False, WEB_PORT=free())
    assert done.returncode == 1
    assert "unhealthy" in done.stderr


def test_nothing_to_render_and_words_too_many(project: Path, wardian: Wardian) -> None:
    assert "takes no image" in wardian("render", "compose", "train", cwd=project, code=2).err
    (project / "wardian.toml").write_text(FILE[: FILE.index("[services.web]")])
    assert "there is no service in the file" in wardian("render", "compose", cwd=project, code=2).err
    assert sorted(path.name for path in project.iterdir()) == ["here", "wardian.toml"]
