"""What services do, the same in every engine: the sandbox, docker and podman (rootful, rootless) through compose."""

import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, PlainUser
from tests.engines import Engine
from tests.people import Person
from tests.rootfs import add_busybox
from tests.verbs.running import LOCKED
from tests.verbs.test_services import free_port, states, url
from wardian.hosts.session import hindered
from wardian.lock.file import write
from wardian.lock.model import Lock
from wardian.plan.labels import OURS, lock_digest
from wardian.store.store import Store

Wardian = Callable[..., Any]
Up = Callable[..., Any]
PROJECT = """\
[project]
name = "beside.it"

[images.train]
from = "bootstrap:debian:bookworm"

[run]
image = "train"
"""
WEB = """
[services.web]
command = "echo serving; touch made-here /data/mine; exec httpd -f -p $WARDIAN_LISTEN:$WARDIAN_PORT -h /workspace"
ports = ["${WEB_PORT}"]
ready = { http = "/wardian.toml" }
volumes = ["data:/data"]
"""
SLEEP = "exec sleep 1000"


class Place:
    """A project whose services run in one engine."""

    def __init__(self, name: str, folder: Path, wardian: Wardian, user: PlainUser | None = None) -> None:
        self.name, self.folder, self.wardian, self.user = name, folder, wardian, user
        self.uid = user.uid if user else os.getuid()

    def write(self, services: str) -> "Place":
        """The file, with these services."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "wardian.toml").write_text(PROJECT + services)
        (self.folder / "wardian.lock").write_text(write(Lock(images={"train": LOCKED})))
        return self.owned()

    def owned(self) -> "Place":
        """With all its files in the hands of whoever runs it."""
        if self.user:
            self.user.own(self.folder)
        return self

    def beside(self, name: str) -> "Place":
        """Another checkout."""
        copy = Path(shutil.copytree(self.folder, self.folder.parent / name))
        return Place(self.name, copy, self.wardian, self.user).owned()

    def __call__(self, *argv: str, code: int = 0) -> Any:
        more = ("--engine", self.name) if argv[0] == "up" else ()
        return self.wardian(*argv, *more, cwd=self.folder, code=code)

    def states(self) -> dict[str, str]:
        """Service → state."""
        return states(self.wardian, self.folder)


def stored(home: Path) -> None:
    """The project's image in this test's store, built from the project's lock."""
    labels = {f"{OURS}lock": lock_digest(LOCKED), f"{OURS}image": "train"}
    add_busybox(Store(home / "store"), "beside.it/train:latest", WorkingDir="/workspace", Labels=labels)


def as_another(person: Person) -> Wardian:
    """The command line in a process of this user, with the environment that this test has by then."""
    python = person.python()

    def run(*argv: str, cwd: Path, code: int = 0) -> Answer:
        words = [*python, "-m", "wardian", *argv]
        done = subprocess.run(words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"wardian {argv} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


PLACES = ["sandbox", "docker", "podman", "podman_rootless"]


@pytest.fixture(params=PLACES if os.getuid() == 0 else [one for one in PLACES if one != "podman"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    home: Path,
    wardian: Wardian,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    need = request.getfixturevalue("need")
    need("busybox", *(["bwrap", "unshare"] if request.param == "sandbox" else []))
    if request.param != "sandbox":
        request.getfixturevalue(request.param)
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("WEB_PORT", str(free_port()))
    stored(home)
    user: PlainUser | None = None
    if request.param == "podman_rootless" and os.getuid() == 0:
        user = request.getfixturevalue("plain_user")
        who = Person("subids", user.uid, user.gid, user.prefix)
        for name, value in request.getfixturevalue("podman_rootless").env.items():
            monkeypatch.setenv(name, f"{home}:{value}" if name == "PATH" else value)
        *_, libraries, _, python = who.python()  # ours may be closed to them, and with it our podman-compose
        (home / "podman-compose").write_text(f'#!/bin/sh\nexec env "{libraries}" {python} -m podman_compose "$@"\n')
        (home / "podman-compose").chmod(0o755)
        user.own(home)
        user.own(tmp_path)
        wardian = as_another(who)
    made = Place(request.param.partition("_")[0], tmp_path / "a project", wardian, user)
    yield made
    for folder in tmp_path.iterdir():
        if (folder / "wardian.toml").exists():
            wardian("down", "--volumes", cwd=folder)


def test_up_waits_a_second_one_does_nothing_and_down_ends(place: Place) -> None:
    place.write(WEB)
    address = url(place("up").out)
    assert urllib.request.urlopen(f"{address}/wardian.toml").read() == (place.folder / "wardian.toml").read_bytes()
    assert (place.folder / "made-here").stat().st_uid == place.uid
    first = place("status", "--json").json()
    assert [(one["service"], one["state"], one["engine"], one["url"]) for one in first] == [
        ("web", "ready", place.name, address)
    ]
    again = place("up")
    assert url(again.out) == address
    assert place("status", "--json").json()[0]["run"] == first[0]["run"]
    assert place("down").out == "web: ended\n"
    assert place.states()["web"] in ("exit 143", "not started")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address)


def test_what_is_written_otherwise_is_started_anew_and_nothing_else(place: Place) -> None:
    ready = "ready = { log = '^up' }\n"
    text = f"[services.a]\ncommand = 'echo up $X; {SLEEP}'\n{ready}[services.b]\ncommand = 'echo up; {SLEEP}'\n{ready}"
    place.write(text)("up")
    before = {one["service"]: one["run"] for one in place("status", "--json").json()}
    place.write(text.replace("[services.b]", "env = { X = 'anew' }\n[services.b]"))
    assert "a: restart" in place("up", "--dry-run").out
    place("up")
    after = {one["service"]: one["run"] for one in place("status", "--json").json()}
    assert (after["a"] != before["a"], after["b"] == before["b"]) == (True, True)
    assert place("logs", "a").out == "up anew\n"


def test_a_taken_port_gives_way_and_those_who_depend_are_told(place: Place) -> None:
    taken = int(os.environ["WEB_PORT"])
    asks = "wget -q -O /tmp/got $WARDIAN_SERVICE_WEB_URL/wardian.toml && echo reached it"
    place.write(
        f"{WEB}\n[services.user]\ncommand = '{asks}; {SLEEP}'\ndepends-on = ['web']\nready = {{ log = 'reached it' }}\n"
    )
    with closing(socket.create_server(("", taken))):
        said = place("up")
        found = re.search(rf"web: port {taken} is taken, (\d+) stands in for it", said.err)
        assert found
        assert url(said.out) == f"http://127.0.0.1:{found[1]}"
        assert urllib.request.urlopen(f"{url(said.out)}/wardian.toml").status == 200
    assert url(place("up").out) == f"http://127.0.0.1:{found[1]}"


def test_two_checkouts_run_side_by_side(place: Place) -> None:
    place.write(WEB)
    other = place.beside("another")
    first, second = url(place("up").out), url(other("up").out)
    assert first != second
    place("down", "--volumes")
    assert other.states() == {"web": "ready"}


def test_one_that_dies_fails_up_with_its_last_words(place: Place) -> None:
    place.write(
        f"[services.first]\ncommand = '{SLEEP}'\nready = {{ command = 'true' }}\n"
        "[services.dies]\ncommand = 'echo one; echo two >&2; exit 3'\ndepends-on = ['first']\n"
        "ready = { log = 'never' }\n"
    )
    said = place("up", code=1)
    first, *rest = said.err[said.err.index("wardian: service dies") :].splitlines()  # an image may be sent first
    assert first == "wardian: service dies exited with 3; its last lines:"
    assert sorted(rest[:2]) == ["wardian: one", "wardian: two"]
    assert place.states() == {"first": "exit 143", "dies": "exit 3"}
    assert "one" in place("logs", "dies").out


@pytest.mark.parametrize("way", ['log = "never"', 'command = "test -e /never"', 'http = "/never"', "tcp = 28099"])
def test_one_that_is_never_ready_is_named_at_its_time(place: Place, way: str) -> None:
    ready = f'ready = {{ {way}, timeout = "1s" }}\nports = ["${{WEB_PORT}}", 28099]\n'
    place.write(f"[services.slow]\ncommand = 'echo hm; {SLEEP}'\n{ready}")
    done = place("up", code=1)
    assert done.err.replace("slow: port 28099", "").count("service slow is not ready after 1 s (") == 1
    assert "wardian: hm\n  type: wardian logs slow" in done.err
    assert place.states()["slow"].startswith("exit 1")


def test_ready_by_each_way(place: Place) -> None:
    place.write(
        "[services.tcp]\ncommand = 'sleep 1; exec httpd -f -p $WARDIAN_LISTEN:$WARDIAN_PORT'\n"
        "ports = ['${WEB_PORT}']\nready = { tcp = true }\n"
        f"[services.command]\ncommand = 'sleep 1; touch /tmp/there; {SLEEP}'\n"
        "ready = { command = 'test -e /tmp/there' }\n"
        f"[services.log]\ncommand = 'sleep 1; echo so; {SLEEP}'\nready = {{ log = '^so$' }}\n"
        f"[services.plain]\ncommand = '{SLEEP}'\n"
    )
    place("up")
    assert set(place.states().values()) == {"ready"}


def test_volumes_are_a_services_own_and_stay_until_they_are_removed(place: Place) -> None:
    body = f"command = 'cat /d/x; echo line >>/d/x; echo up; {SLEEP}'\nready = {{ log = '^up$' }}\n"
    place.write(
        f"[services.a]\n{body}volumes = ['d:/d']\n[services.b]\n{body}volumes = ['d:/d']\n"
        f"[services.c]\n{body}volumes = ['s:/d:shared']\n[services.e]\n{body}volumes = ['s:/d:shared']\n"
        "depends-on = ['c']\n"
    )
    place("up")
    lines = {name: place("logs", name).out.count("line") for name in "abce"}
    assert lines == {"a": 0, "b": 0, "c": 0, "e": 1}
    place("down")
    place("up", "a")
    assert place("logs", "a").out.count("line") == 1
    done = place("down", "--volumes", "--json").json()
    assert done == {"ended": ["a"], "removed": ["a-d", "b-d", "s"]}
    place("up", "a")
    assert "line" not in place("logs", "a").out


MOUNTS = """
[mounts.shared]
target = "/shared"
source = "of all"

[mounts.own]
target = "/own"

[mounts.off]
target = "/off"
source = "of all"
enabled = false
"""
LOOK = "cat /shared/x /own/x; touch /shared/made 2>/dev/null || echo closed; touch /own/made; ls /; echo up; "


def test_the_mounts_that_are_on_are_in_every_service(place: Place, tmp_path: Path) -> None:
    """Those of the file, relative to it, and those of the local file; with names that are hard to say."""
    strange = tmp_path / 'one\'s "own" é $HOME #1'
    strange.mkdir()
    (strange / "x").write_text("mine\n")
    ready = "ready = { log = '^up' }\n"
    text = MOUNTS.replace('source = "of all"', 'source = "of all"\nread-only = true', 1)
    place.write(
        f"[services.a]\ncommand = '{LOOK}{SLEEP}'\n{ready}[services.b]\ncommand = '{LOOK}{SLEEP}'\n{ready}{text}"
    )
    (place.folder / "of all").mkdir()
    (place.folder / "of all/x").write_text("ours\n")
    place.owned()
    if place.user:
        place.user.own(strange)
    place("mount", "set", "own", str(strange))
    place("up")
    for name in ("a", "b"):
        lines = place("logs", name).out.splitlines()
        assert lines[:3] == ["ours", "mine", "closed"]
        assert "off" not in lines
    assert (strange / "made").stat().st_uid == place.uid
    assert not (place.folder / "of all/made").exists()
    place("mount", "disable", "own")
    assert "a: restart" in place("up", "--dry-run").out
    place("up")
    assert "mine" not in place("logs", "a").out


def test_a_mount_whose_source_has_vanished_is_one_line_and_starts_nothing(place: Place, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    place.write(f"[services.a]\ncommand = '{SLEEP}'\n[mounts.g]\ntarget = '/g'\nsource = '{gone}'\n")
    gone.rmdir()
    said = place("up", code=2)
    assert f"{gone} does not exist" in said.err
    assert not gone.exists()
    assert place.states() == {"a": "not started"}


def test_a_port_below_1024_is_roots_and_gives_way_for_others(place: Place) -> None:
    port = next(one for one in range(900, 1000) if hindered(one) is None) if os.getuid() == 0 else 900
    place.write(WEB.replace("${WEB_PORT}", str(port)))
    said = place("up")
    if place.uid == 0:
        assert url(said.out) == f"http://127.0.0.1:{port}"
    else:
        assert f"web: port {port} is open to root alone, " in said.err
        assert int(url(said.out).rpartition(":")[2]) >= 1024
    assert urllib.request.urlopen(f"{url(said.out)}/wardian.toml").status == 200


def test_a_secret_is_in_no_word_and_no_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "hunter$2")
    place.write(
        f"[services.a]\ncommand = 'test $${{#THE_KEY}} -eq 8 && echo has it; {SLEEP}'\n"
        "env-pass = ['THE_KEY', 'UNSET']\nready = { log = 'has it' }\n"
    )
    said = place("up", "-v")
    assert "UNSET is not set" in said.err
    assert "hunter" not in said.out + said.err
    assert not [path for path in place.folder.rglob("*") if path.is_file() and b"hunter" in path.read_bytes()]


def test_words_reach_the_program_as_they_are(place: Place) -> None:
    words = ["", "a b", "$HOME", "é\n", "${x", "'\"", "#x: y", "- z", "null", "0x1f"]
    listed = ", ".join(
        '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"' for word in words
    )
    listed = listed.replace("${", "$${")
    script = "for w; do printf '%s|' \\\"$w\\\"; done; echo; exec sleep 1000"
    place.write(f'[services.a]\ncommand = ["sh", "-c", "{script}", "sh", {listed}]\nready = {{ log = "x1f" }}\n')
    place("up")
    assert place("logs", "a").out == "".join(f"{word}|" for word in words) + "\n"


def test_exec_and_logs_reach_a_service(place: Place) -> None:
    place.write(WEB + f"[services.b]\ncommand = 'echo b; {SLEEP}'\nready = {{ log = 'b' }}\n")
    place("up")
    assert place("exec", "web", "--", "sh", "-c", "pwd; exit 6", code=6).out == "/workspace\n"
    assert place("exec", "-e", "A=1 2", "-w", "/tmp", "web", "--", "sh", "-c", "echo $A; pwd").out == "1 2\n/tmp\n"
    assert place("logs", "web").out == "serving\n"
    assert sorted(place("logs").out.splitlines()) == ["b   | b", "web | serving"]


def test_a_run_is_told_of_them(place: Place, need: Callable[..., None]) -> None:
    need("bwrap", "unshare")
    place.write(WEB)
    address = url(place("up").out)
    show = (
        "run",
        "--engine",
        "sandbox",
        "--",
        "sh",
        "-c",
        "wget -q -O - $WARDIAN_SERVICE_WEB_URL/wardian.toml | head -n 1",
    )
    assert place(*show).out == "[project]\n"
    assert address
    place("down")
    assert place("run", "--engine", "sandbox", "--", "sh", "-c", "echo [$WARDIAN_SERVICE_WEB_URL]").out == "[]\n"


def test_gpus_that_are_not_there_are_not_asked_for(place: Place) -> None:
    place.write(f"[services.a]\ncommand = 'echo up; {SLEEP}'\ngpus = 'auto'\nready = {{ log = 'up' }}\n")
    assert "no GPU" in place("up").err


def test_services_run_in_one_engine_at_a_time(place: Place) -> None:
    place.write(f"[services.a]\ncommand = '{SLEEP}'\n")
    place("up")
    other = "podman" if place.name == "sandbox" else "sandbox"
    said = place.wardian("up", "--engine", other, cwd=place.folder, code=2)
    assert f"services of this project run in {place.name}" in said.err


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_missing_compose_is_named_as_missing(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine: Engine = request.getfixturevalue(name)
    wardian: Wardian = request.getfixturevalue("wardian")
    stored(home)
    if name == "docker":
        (Path(os.environ["DOCKER_CONFIG"]) / "config.json").write_text("{}")
    else:
        folders = os.environ["PATH"].split(":")
        monkeypatch.setenv("PATH", ":".join(one for one in folders if not (Path(one) / "podman-compose").exists()))
    place = Place(name, tmp_path / "project", wardian).write(f"[services.a]\ncommand = '{SLEEP}'\n")
    said = place("up", code=1)
    assert said.err.startswith(f"wardian: {name} has no compose here\n  type: ")
    assert engine.program == name


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_engine_that_is_not_there_is_named(
    name: str, tmp_path: Path, home: Path, wardian: Wardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(home)
    monkeypatch.setenv("PATH", str(tmp_path))
    place = Place(name, tmp_path / "project", wardian).write(f"[services.a]\ncommand = '{SLEEP}'\n")
    said = place("up", code=1)
    assert f"{name} is not on this machine" in said.err


def test_an_engine_that_went_away_does_not_keep_a_run_from_running(
    tmp_path: Path, home: Path, wardian: Wardian, need: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("bwrap", "unshare", "busybox")
    stored(home)
    place = Place("docker", tmp_path / "project", wardian).write(f"[services.a]\ncommand = '{SLEEP}'\n")
    (place.folder / ".wardian").mkdir()
    (place.folder / ".wardian/services.docker").touch()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    said = place("run", "--engine", "sandbox", "--", "echo", "ran")
    assert said.out == "ran\n"
    assert "services in docker are not looked at: " in said.err
