"""Services in the sandbox: up, down, status, logs, and what a run is told of them."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.verbs.running import make_project, make_store, records
from tests.verbs.test_detached import until
from wardian.runs.processes import program

Wardian = Callable[..., Any]
WEB = """
[services.web]
command = "echo serving $WARDIAN_PORT; exec httpd -f -p $WARDIAN_LISTEN:$WARDIAN_PORT -h /workspace"
ports = ["${WEB_PORT}"]
ready = { http = "/wardian.toml" }
"""
SLEEP = "exec sleep 1000"


@pytest.fixture(scope="module")
def busybox_store(tmp_path_factory: pytest.TempPathFactory, need: Callable[..., None]) -> Path:
    need("bwrap", "unshare", "busybox")
    return make_store(tmp_path_factory.mktemp("busybox") / "store")


Project = Callable[..., Path]


@pytest.fixture
def project(
    busybox_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wardian: Wardian
) -> Iterator[Project]:
    """A function that makes a project with these services; all of them are ended afterwards."""
    monkeypatch.setenv("WARDIAN_HOME", str(busybox_store))
    monkeypatch.setenv("WEB_PORT", str(free_port()))
    made: list[Path] = []

    def make(services: str, name: str = "project") -> Path:
        folder = make_project(tmp_path / name)
        with (folder / "wardian.toml").open("a") as file:
            file.write(services)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        wardian("down", "--volumes", cwd=folder)
        assert wardian("ps", "--json", cwd=folder).json() == []


# Each is given again only after all others, and two workers begin far apart.
FIRST = 20000 + os.getpid() % 100 * 120
PORTS: Iterator[int] = itertools.cycle((*range(FIRST, 32000), *range(20000, FIRST)))


def free_port() -> int:
    """A port that nobody listens on, and no program is given by chance."""
    with closing(socket.socket()) as probe:
        for port in itertools.islice(PORTS, 12000):
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def states(wardian: Wardian, folder: Path) -> dict[str, str]:
    return {one["service"]: one["state"] for one in wardian("status", "--json", cwd=folder).json()}


def url(said: str) -> str:
    found = re.search(r"http://\S+", said)
    assert found
    return found[0]


def test_up_waits_until_it_is_ready_and_down_ends_it(wardian: Wardian, project: Project) -> None:
    folder = project(WEB)
    assert states(wardian, folder) == {"web": "not started"}
    address = url(wardian("up", cwd=folder).out)
    assert urllib.request.urlopen(f"{address}/wardian.toml").read() == (folder / "wardian.toml").read_bytes()
    assert states(wardian, folder) == {"web": "ready"}
    assert wardian("logs", "web", cwd=folder).out == f"serving {address.rpartition(':')[2]}\n"
    assert wardian("exec", "web", "--", "sh", "-c", "echo $WARDIAN_PORT", cwd=folder).out in f"{address}\n"
    assert wardian("down", "--dry-run", cwd=folder).out == "web: would be ended\n"
    assert states(wardian, folder) == {"web": "ready"}
    assert wardian("down", cwd=folder).out == "web: ended\n"
    assert states(wardian, folder) == {"web": "exit 143"}
    assert wardian("down", cwd=folder).out == "no service runs\n"


@pytest.mark.parametrize("verb", ["up", "down"])
def test_where_there_is_no_project_nothing_is_made(wardian: Wardian, tmp_path: Path, verb: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert wardian(verb, cwd=folder, code=2).err == (
        "wardian: there is no wardian.toml here, nor in a folder above\n  type: wardian init\n"
    )
    assert list(folder.iterdir()) == []


def test_a_second_up_does_nothing_and_a_changed_service_is_started_anew(wardian: Wardian, project: Project) -> None:
    folder = project(WEB + f"[services.other]\ncommand = '{SLEEP}'\nready = {{ command = 'true' }}\n")
    wardian("up", cwd=folder)
    runs = [record.id for record in records(folder)]
    assert wardian("up", cwd=folder).err == ""
    assert [record.id for record in records(folder)] == runs
    text = (folder / "wardian.toml").read_text()
    (folder / "wardian.toml").write_text(text.replace("serving", "serving anew"))
    assert wardian("up", "--dry-run", cwd=folder).out == "web: restart in sandbox\nother: keep in sandbox\n"
    assert [record.id for record in records(folder)] == runs
    said = wardian("up", cwd=folder)
    assert said.err == ""  # it takes the port that it had
    assert url(said.out).endswith(os.environ["WEB_PORT"])
    assert [record.state for record in records(folder)] == ["finished", "running", "running"]
    assert "serving anew" in wardian("logs", "web", cwd=folder).out


def test_a_busy_port_gives_way_to_the_next_and_others_are_told(wardian: Wardian, project: Project) -> None:
    taken = int(os.environ["WEB_PORT"])
    text = WEB.replace("$WARDIAN_PORT -h", "${WEB_PORT} -h")  # a program that is told its port by the file alone
    folder = project(
        f"{text}\n[services.user]\ncommand = 'env; echo up; {SLEEP}'\ndepends-on = ['web']\n"
        "ready = { log = '^up$' }\n"
    )
    with closing(socket.create_server(("", taken))):
        said = wardian("up", cwd=folder)
        found = re.search(rf"web: port {taken} is taken, (\d+) stands in for it", said.err)
        assert found
        port = found[1]
        assert url(said.out) == f"http://127.0.0.1:{port}"
        assert f"WARDIAN_SERVICE_WEB_URL=http://127.0.0.1:{port}\n" in wardian("logs", "user", cwd=folder).out
        inside = wardian("run", "--", "sh", "-c", "echo $WARDIAN_SERVICE_WEB_URL", cwd=folder).out
        assert inside == f"http://127.0.0.1:{port}\n"
    again = wardian("up", cwd=folder)
    assert (again.err, url(again.out)) == ("", f"http://127.0.0.1:{port}")  # nothing moves back under who uses it
    wardian("down", cwd=folder)
    assert wardian("run", "--", "sh", "-c", "echo $WARDIAN_SERVICE_WEB_URL", cwd=folder).out == "\n"


def test_two_checkouts_run_side_by_side(wardian: Wardian, project: Project) -> None:
    one, other = project(WEB, "one"), project(WEB, "other")
    first, second = (url(wardian("up", cwd=folder).out) for folder in (one, other))
    assert first != second
    wardian("down", cwd=one)
    assert states(wardian, other) == {"web": "ready"}


def test_two_services_that_want_one_port(wardian: Wardian, project: Project) -> None:
    ready = "ports = ['${WEB_PORT}']\nready = { tcp = true }\ncommand = 'exec httpd -f -p $WARDIAN_PORT'\n"
    folder = project(f"[services.a]\n{ready}[services.b]\n{ready}")
    said = wardian("up", "--json", cwd=folder)
    ports = [one["ports"][os.environ["WEB_PORT"]]["outside"] for one in said.json()]
    assert ports[0] != ports[1]
    assert f"b: port {ports[0]} is taken, {ports[1]} stands in for it" in said.err


def test_a_service_that_dies_fails_up_with_its_last_words(wardian: Wardian, project: Project) -> None:
    folder = project(
        f"[services.first]\ncommand = '{SLEEP}'\n"
        "[services.dies]\ncommand = 'echo one; echo two >&2; exit 3'\ndepends-on = ['first']\nready = {log = 'never'}\n"
    )
    said = wardian("up", cwd=folder, code=1)
    assert said.err.startswith("wardian: service dies exited with 3; its last lines:\nwardian: one\nwardian: two\n")
    assert said.out == ""
    assert states(wardian, folder) == {"first": "exit 143", "dies": "exit 3"}  # what this up started has ended


def test_one_without_a_probe_that_dies_at_once_fails_up(wardian: Wardian, project: Project) -> None:
    folder = project("[services.dies]\ncommand = 'exit 4'\n")
    assert "service dies exited with 4, and wrote nothing" in wardian("up", cwd=folder, code=1).err


def test_what_ran_before_a_failed_up_goes_on(wardian: Wardian, project: Project) -> None:
    folder = project(f"[services.old]\ncommand = '{SLEEP}'\n[services.bad]\ncommand = 'exit 3'\nprofiles = ['p']\n")
    wardian("up", cwd=folder)
    wardian("up", "--profile", "p", cwd=folder, code=1)
    assert states(wardian, folder) == {"old": "ready", "bad": "exit 3"}


def test_one_that_is_never_ready_is_named_at_its_time(wardian: Wardian, project: Project) -> None:
    for way, said in (
        ('log = "never"', "'never' in its log"),
        ('command = "test -e /never"', "its command"),
        ('http = "/never"', "GET http://127.0.0.1:"),
        ("tcp = true", "port "),
    ):
        ready = f'ready = {{ {way}, timeout = "0.5s", interval = 0.1 }}\nports = ["${{WEB_PORT}}"]\n'
        folder = project(f"[services.slow]\ncommand = 'echo hm; {SLEEP}'\n{ready}", way[:3])
        done = wardian("up", cwd=folder, code=1)
        assert "wardian: service slow is not ready after 0.5 s (" in done.err
        assert said in done.err
        assert "wardian: hm\n  type: wardian logs slow" in done.err


def test_a_program_that_is_not_there(wardian: Wardian, project: Project) -> None:
    folder = project("[services.a]\ncommand = ['no-such-thing']\n")
    done = wardian("up", cwd=folder, code=1)
    assert "service a cannot be started: no-such-thing: command not found in the image" in done.err


def test_a_ready_made_service_whose_package_is_missing(wardian: Wardian, project: Project) -> None:
    folder = project("[services.board]\nuse = 'tensorboard'\n[services.book]\nuse = 'jupyter'\n")
    done = wardian("up", "board", cwd=folder, code=1)
    assert 'is it in image train? add "tensorboard" to its requirements' in done.err
    assert 'add "jupyterlab"' in wardian("up", "book", cwd=folder, code=1).err


def test_a_dependency_is_ready_before_who_needs_it_starts(wardian: Wardian, project: Project) -> None:
    folder = project(
        "[services.late]\ncommand = 'sleep 1; touch /workspace/there; exec sleep 1000'\n"
        "ready = { command = 'test -e /workspace/there' }\nprofiles = ['never']\n"
        f"[services.user]\ncommand = 'test -e /workspace/there && echo in time && {SLEEP}'\ndepends-on = ['late']\n"
    )
    wardian("up", "--no-wait", cwd=folder)
    until(lambda: wardian("logs", "user", cwd=folder).out == "in time\n")


def test_no_wait_returns_before_it_is_ready(wardian: Wardian, project: Project) -> None:
    folder = project(f"[services.slow]\ncommand = 'sleep 1; echo up; {SLEEP}'\nready = {{ log = '^up$' }}\n")
    assert wardian("up", "--no-wait", cwd=folder).out == "slow: started\n"
    assert wardian("up", "--wait", cwd=folder).out == "slow: ready\n"
    assert len(records(folder)) == 1


def test_a_killed_supervisor_is_told_and_nothing_of_it_is_left(wardian: Wardian, project: Project) -> None:
    folder = project(f"[services.a]\ncommand = '{SLEEP}'\n")
    wardian("up", cwd=folder)
    record = records(folder)[-1]
    assert record.supervisor is not None
    assert record.init is not None
    os.kill(record.supervisor.pid, signal.SIGKILL)
    until(lambda: states(wardian, folder) == {"a": "lost"})
    assert record.init.alive()
    assert wardian("up", cwd=folder).out == "a: ready\n"
    assert not record.init.alive()
    assert states(wardian, folder) == {"a": "ready"}
    second = records(folder)[-1]
    assert second.supervisor is not None
    os.kill(second.supervisor.pid, signal.SIGKILL)
    until(lambda: states(wardian, folder) == {"a": "lost"})
    assert wardian("down", cwd=folder).out == "a: ended\n"
    assert second.init is not None
    assert not second.init.alive()


def test_a_service_killed_from_outside_is_started_again(wardian: Wardian, project: Project) -> None:
    folder = project(f"[services.a]\ncommand = '{SLEEP}'\n")
    wardian("up", cwd=folder)
    init = records(folder)[-1].init
    assert init is not None
    target = program(init.pid)
    assert target is not None
    os.kill(target, signal.SIGKILL)
    until(lambda: states(wardian, folder) == {"a": "exit 137"})
    wardian("up", cwd=folder)
    assert states(wardian, folder) == {"a": "ready"}


def test_volumes_are_a_services_own_and_stay_until_they_are_removed(wardian: Wardian, project: Project) -> None:
    body = f"command = 'cat /d/x; echo $WARDIAN_LISTEN >>/d/x; {SLEEP}'\nready = {{ command = 'test -s /d/x' }}\n"
    folder = project(
        f"[services.a]\n{body}volumes = ['d:/d']\n[services.b]\n{body}volumes = ['d:/d']\n"
        f"[services.c]\n{body}volumes = ['s:/d:shared']\n[services.e]\n{body}volumes = ['s:/d:shared']\n"
        "depends-on = ['c']\n"
    )
    wardian("up", cwd=folder)
    kept = {path.parent.name: path.read_text().count("\n") for path in folder.glob(".wardian/volumes/*/x")}
    assert kept == {"a-d": 1, "b-d": 1, "s": 2}
    assert {path.stat().st_uid for path in folder.glob(".wardian/volumes/*/x")} == {os.getuid()}
    wardian("down", cwd=folder)
    wardian("up", "a", cwd=folder)
    assert (folder / ".wardian/volumes/a-d/x").read_text().count("\n") == 2
    assert wardian("down", "--volumes", "--dry-run", cwd=folder).out.count("would be removed") == 3
    done = wardian("down", "--volumes", "--json", cwd=folder).json()
    assert done == {"ended": ["a"], "removed": ["a-d", "b-d", "s"]}
    assert not (folder / ".wardian/volumes").exists()


def test_a_folder_of_ones_own_must_be_there(wardian: Wardian, project: Project) -> None:
    folder = project(
        f"[services.a]\ncommand = 'cat /d/x; {SLEEP}'\nvolumes = ['./mine:/d:ro']\nready = {{ log = 'hi' }}\n"
    )
    assert "does not exist on this machine" in wardian("up", cwd=folder, code=2).err
    (folder / "mine").mkdir()
    (folder / "mine/x").write_text("hi\n")
    assert wardian("up", cwd=folder).out == "a: ready\n"


def test_a_secret_goes_by_name_alone(wardian: Wardian, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(
        f"[services.a]\ncommand = 'test $${{#THE_KEY}} -eq 7 && echo has it; {SLEEP}'\nenv-pass = ['THE_KEY']\n"
        "ready = { log = 'has it' }\n"
    )
    monkeypatch.setenv("THE_KEY", "hunter2")
    said = wardian("up", "-v", cwd=folder)
    assert "hunter2" not in said.out + said.err
    every = [path for path in (folder / ".wardian").rglob("*") if path.is_file()]
    assert every
    assert not [path for path in every if b"hunter2" in path.read_bytes()]


def test_jupyters_token_is_told_once_and_kept_nowhere(
    wardian: Wardian, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    own = "command = 'echo it has $${#JUPYTER_TOKEN} letters; exec sleep 1000'\nready = { log = 'has' }\n"
    folder = project(f"[services.book]\nuse = 'jupyter'\nports = ['${{WEB_PORT}}']\n{own}")
    found = re.search(r"\?token=([\w-]{32})\n", wardian("up", "-v", cwd=folder).out)
    assert found
    assert wardian("logs", "book", cwd=folder).out.endswith("it has 32 letters\n")  # what -v shows stands before it
    assert not [one for one in folder.rglob("*") if one.is_file() and found[1].encode() in one.read_bytes()]
    assert "token" not in wardian("up", cwd=folder).out  # it runs as it is
    wardian("down", cwd=folder)
    monkeypatch.setenv("JUPYTER_TOKEN", "my own")
    assert "token" not in wardian("up", cwd=folder).out
    assert wardian("logs", "book", cwd=folder).out == "it has 6 letters\n"


def test_logs_of_all_services_are_told_apart(wardian: Wardian, project: Project) -> None:
    folder = project("")
    assert "type: wardian up" in wardian("logs", cwd=folder, code=1).err
    folder = project(
        f"[services.a]\ncommand = 'echo 1; echo 2; {SLEEP}'\nready = {{ log = '2' }}\n"
        f"[services.long]\ncommand = 'echo 3; {SLEEP}'\nready = {{ log = '3' }}\n",
        "x",
    )
    wardian("up", cwd=folder)
    assert wardian("logs", cwd=folder).out == "a    | 1\na    | 2\nlong | 3\n"
    assert wardian("logs", "--tail", "1", cwd=folder).out == "a    | 2\nlong | 3\n"
    words = [sys.executable, "-m", "wardian", "logs", "-f"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "a    | 1\n"
        wardian("down", cwd=folder)
        assert child.stdout.read() == "a    | 2\nlong | 3\n"
    assert child.returncode == 0


def test_an_interrupted_up_ends_what_it_started(project: Project, wardian: Wardian) -> None:
    folder = project(f"[services.a]\ncommand = 'echo up; {SLEEP}'\nready = {{ log = 'never' }}\n")
    child = subprocess.Popen([sys.executable, "-m", "wardian", "up"], cwd=folder, stderr=subprocess.PIPE)
    until(lambda: [path for path in folder.glob(".wardian/runs/*/log") if path.read_bytes()])
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130
    assert states(wardian, folder) == {"a": "exit 143"}


def test_two_ups_at_once_start_one_service(project: Project, wardian: Wardian) -> None:
    folder = project(f"[services.a]\ncommand = '{SLEEP}'\n")
    words = [sys.executable, "-m", "wardian", "up"]
    children = [subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE) for _ in range(3)]
    assert [(child.communicate()[0], child.returncode) for child in children] == [(b"a: ready\n", 0)] * 3
    assert len(records(folder)) == 1


def test_names_engines_and_images_that_are_not_there(wardian: Wardian, project: Project) -> None:
    folder = project("[services.a]\nprofiles = ['p']\n")
    assert "there is no service 'b'" in wardian("up", "b", cwd=folder, code=2).err
    assert "type: wardian up --profile p" in wardian("up", cwd=folder, code=2).err
    assert "did you mean sandbox?" in wardian("up", "a", "--engine", "sandbx", cwd=folder, code=2).err
    folder = project("[images.other]\nfrom = '@train'\n[services.a]\nimage = 'other'\n", "other")
    assert "type: wardian build other" in wardian("up", cwd=folder, code=1).err
