"""Detached runs: `run -d`, `ps`, `logs`, `exec`, `stop`, `runs`."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.rootfs import run_folders
from tests.verbs.running import make_project, make_store, records
from wardian.runs.processes import program
from wardian.runs.record import Record
from wardian.verbs.logs import start as start_of_tail

Wardian = Callable[..., Any]


@pytest.fixture(scope="module")
def busybox_store(tmp_path_factory: pytest.TempPathFactory, need: Callable[..., None]) -> Path:
    need("bwrap", "unshare", "busybox")
    return make_store(tmp_path_factory.mktemp("busybox") / "store")


@pytest.fixture
def project(busybox_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wardian: Wardian) -> Iterator[Path]:
    monkeypatch.setenv("WARDIAN_HOME", str(busybox_store))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = make_project(tmp_path / "project")
    yield folder
    for record in records(folder):
        if record.state == "running" or (record.init and record.init.alive()):
            wardian("stop", "--time", "0", record.id, cwd=folder)


def until(question: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(project: Path) -> Record:
    """The latest record, once its run has ended."""
    until(lambda: records(project)[-1].state != "running")
    return records(project)[-1]


def detach(wardian: Wardian, project: Path, script: str, *words: str) -> str:
    out: str = wardian("run", "-d", *words, "--", "sh", "-c", script, cwd=project).out
    return out.strip()


def test_a_detached_run_prints_its_id_and_writes_its_log(wardian: Wardian, project: Path) -> None:
    run = detach(wardian, project, 'echo out; echo err >&2; printf "\\377\\000é"; exit 4')
    record = ended(project)
    assert (record.id, record.detached, record.state, record.exit_code) == (run, True, "finished", 4)
    assert (project / ".wardian/runs" / run / "log").read_bytes() == b"out\nerr\n\xff\0\xc3\xa9"


def test_json_names_the_folder(wardian: Wardian, project: Path) -> None:
    data = wardian("run", "--json", "-d", "--", "true", cwd=project).json()
    assert Path(data["folder"]).name == data["run"]
    ended(project)


def test_its_input_is_empty_and_it_has_no_terminal(wardian: Wardian, project: Path) -> None:
    run = detach(wardian, project, "cat; test -t 1 || echo none")
    ended(project)
    assert wardian("logs", run, cwd=project).out == "none\n"


def test_what_fails_before_the_program_fails_here(wardian: Wardian, project: Path) -> None:
    done = wardian("run", "-d", "--", "no-such-thing", cwd=project, code=127)
    assert (done.out, done.err) == ("", "wardian: no-such-thing: command not found in the image\n")
    done = wardian("run", "-d", "--workdir", "/etc/plain", "--", "true", cwd=project, code=125)
    assert done.out == ""
    assert [record.state for record in records(project)] == ["failed", "failed"]


def test_ps_asks_the_kernel(wardian: Wardian, project: Path) -> None:
    assert wardian("ps", "--json", cwd=project).json() == []
    run = detach(wardian, project, "exec sleep 100", "--name", "long")
    shown = wardian("ps", cwd=project).out
    assert run in shown
    assert "long" in shown
    assert "running" in shown
    assert [one["id"] for one in wardian("ps", "--json", cwd=project).json()] == [run]
    init = records(project)[-1].init
    assert init is not None
    target = program(init.pid)
    assert target is not None
    os.kill(target, 9)
    assert ended(project).exit_code == 137
    assert wardian("ps", "--json", cwd=project).json() == []
    assert "SIGKILL" in wardian("ps", "--all", cwd=project).out


def test_stop_asks_first(wardian: Wardian, project: Path) -> None:
    run = detach(wardian, project, 'trap "echo saved; exit 9" TERM; echo ready; while :; do sleep 0.05; done')
    until(lambda: b"ready" in (project / ".wardian/runs" / run / "log").read_bytes())
    assert wardian("stop", run[:18], cwd=project).out == f"{run}\n"
    assert (records(project)[-1].state, records(project)[-1].exit_code) == ("finished", 9)
    assert wardian("logs", "@last", cwd=project).out == "ready\nsaved\n"


def test_stop_then_kills_everything_in_it(wardian: Wardian, project: Path) -> None:
    mark = f"6{time.time_ns() % 10**6}"
    script = f'trap "" TERM; setsid sleep {mark} & sleep {mark} & echo ready; while :; do sleep 0.05; done'
    run = detach(wardian, project, script, "--name", "deaf")
    until(lambda: b"ready" in (project / ".wardian/runs" / run / "log").read_bytes())
    begun = time.monotonic()
    wardian("stop", "--time", "0.3", "deaf", cwd=project)
    assert time.monotonic() - begun < 10
    assert (records(project)[-1].exit_code, records(project)[-1].signal) == (137, 9)
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True, check=False).stdout == b""


def test_stop_of_a_run_whose_sandbox_is_being_made(project: Path, wardian: Wardian, busybox_store: Path) -> None:
    tools = project / "bin"
    tools.mkdir()
    (tools / "bwrap").write_text("#!/bin/sh\n")
    (tools / "unshare").write_text("#!/bin/sh\ntouch waiting\nexec sleep 100\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    words = [sys.executable, "-m", "wardian", "run", "--", "true"]
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    child = subprocess.Popen(words, cwd=project, env=environ, stderr=subprocess.PIPE)
    until((project / "waiting").exists)
    assert "is only starting" in wardian("exec", "@last", "true", cwd=project, code=125).err
    wardian("stop", "@last", cwd=project)
    assert (child.wait(), child.communicate()[1]) == (143, b"")
    assert (records(project)[-1].state, records(project)[-1].exit_code) == ("failed", 143)
    assert list((busybox_store / "tmp").iterdir()) == []


@pytest.fixture
def slow(project: Path, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A ``run -d`` whose sandbox takes its time, and the file that lets it go on."""
    tools = tmp_path / "bin"
    tools.mkdir()
    real = shutil.which("bwrap")
    (tools / "bwrap").write_text(
        f'#!/bin/sh\ntouch {tools}/waiting\nwhile [ ! -e {tools}/go ]; do sleep 0.02; done\nexec {real} "$@"\n'
    )
    (tools / "bwrap").chmod(0o755)
    words = [sys.executable, "-m", "wardian", "run", "-d", "--", "sh", "-c", "sleep 1; exit 9"]
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    with subprocess.Popen(words, cwd=project, env=environ, stderr=subprocess.PIPE) as child:
        until((tools / "waiting").exists)
        yield child, tools / "go"


def test_an_interrupted_start_starts_nothing(slow: tuple["subprocess.Popen[bytes]", Path], project: Path) -> None:
    child, go = slow
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130
    go.touch()
    record = ended(project)
    assert (record.exit_code, record.signal) == (143, signal.SIGTERM)
    assert (project / ".wardian/runs" / record.id / "log").read_bytes() == b""


def test_a_run_survives_whoever_waited_for_its_start(
    slow: tuple["subprocess.Popen[bytes]", Path], project: Path
) -> None:
    child, go = slow
    child.kill()
    child.wait(20)
    go.touch()
    assert ended(project).exit_code == 9


def test_a_bug_of_the_supervisor_is_told(wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("wardian.verbs._attempt.attend", broken)
    said = wardian("run", "-d", "--", "true", cwd=project, code=125).err
    assert "ZeroDivisionError: of all things; the rest is in" in said
    record = records(project)[-1]
    assert (record.state, record.exit_code) == ("failed", 125)
    assert b"Traceback" in (project / ".wardian/runs" / record.id / "log").read_bytes()


def test_stop_several_and_one_that_has_ended(wardian: Wardian, project: Path) -> None:
    runs = [detach(wardian, project, "exec sleep 100") for _ in range(2)]
    done = wardian("stop", *runs, runs[0], cwd=project)
    assert done.out.split() == runs
    done = wardian("stop", *runs, cwd=project)
    assert "is not running" in done.err
    assert done.out == ""
    assert wardian("stop", "--json", *runs, cwd=project).json() == []
    assert "there is no run" in wardian("stop", "nothing", cwd=project, code=1).err


def test_nothing_of_a_run_is_left(wardian: Wardian, project: Path, busybox_store: Path) -> None:
    detach(wardian, project, "exec sleep 100")
    assert len(run_folders(busybox_store)) == 1
    wardian("stop", "--time", "0", "@last", cwd=project)
    until(lambda: run_folders(busybox_store) == [])
    until(lambda: list((busybox_store / "tmp").iterdir()) == [])


# ── exec ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def running(wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("THE_KEY", "s3cr3t")
    return detach(
        wardian, project, "touch /tmp/mine; sleep 100", "--env", "A=1", "--env-pass", "THE_KEY", "--name", "r"
    )


def test_exec_joins_what_runs(wardian: Wardian, project: Path, running: str) -> None:
    script = "echo $A $THE_KEY $FROM_IMAGE [$HOST_ONLY]; pwd; ls /tmp; id -u; ps | grep -c 'sleep 100'; exit 6"
    done = wardian("exec", "r", "--", "sh", "-c", script, cwd=project, code=6)
    assert done.out.splitlines()[:4] == ["1 s3cr3t yes []", "/workspace", "mine", str(os.getuid())]
    assert int(done.out.splitlines()[4]) >= 1
    assert done.err == ""


def test_exec_has_exact_words_streams_and_codes(project: Path, running: str) -> None:
    def enter(*words: str, stdin: bytes = b"", options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[bytes]":
        argv = [sys.executable, "-m", "wardian", "exec", *options, "r", *words]
        return subprocess.run(argv, cwd=project, input=stdin, capture_output=True, check=False)

    words = ["", "a b", "$x", "--", "-v", "é\n"]
    done = enter("--", "sh", "-c", 'cat; for w; do printf "%s|" "$w"; done; exit 125', "sh", *words, stdin=b"\0\xffin")
    assert done.returncode == 125
    assert done.stdout == b"\0\xffin" + "".join(f"{word}|" for word in words).encode()
    assert enter("no-such").returncode == 127
    assert enter("/etc/plain").returncode == 126
    assert enter("--", "sh", "-c", "kill -9 $$").returncode == 137
    done = enter("true", options=("--workdir", "/no/where"))
    assert done.returncode == 125
    assert b"/no/where" in done.stderr


def test_exec_sets_variables_over_those_of_the_run(wardian: Wardian, project: Path, running: str) -> None:
    words = ("exec", "-v", "--env", "A=2=\n3", "-e", "NEW_TOKEN=hunter2", "-e", "EMPTY=", "r", "--", "sh", "-c")
    done = wardian(*words, 'echo "$A$EMPTY"; test ${#NEW_TOKEN} -eq 7 && echo $FROM_IMAGE; env', cwd=project)
    assert done.out.startswith("2=\n3\nyes\n")
    assert "WARDIAN_SANDBOX" not in done.out
    assert "hunter2" not in done.err
    assert "NEW_TOKEN=***" in done.err
    assert "--env: 'A' is not NAME=VALUE" in wardian("exec", "-e", "A", "r", "true", cwd=project, code=2).err


def test_exec_forwards_signals(project: Path, running: str) -> None:
    words = [sys.executable, "-m", "wardian", "exec", "r", "--", "sh", "-c"]
    script = 'trap "echo got; exit 8" TERM; echo ready; while :; do sleep 0.05; done'
    child = subprocess.Popen([*words, script], cwd=project, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    child.terminate()
    assert child.communicate(timeout=20)[0] == b"got\n"
    assert child.returncode == 8


def test_exec_has_no_more_rights_than_the_program(wardian: Wardian, project: Path, running: str) -> None:
    show = "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status"
    inside = wardian("exec", "r", "--", "sh", "-c", show, cwd=project).out.split()
    ours = wardian("run", "--", "sh", "-c", show, cwd=project).out.split()
    assert inside[1] == ours[1]
    assert inside[5] == "1"
    assert wardian("exec", "r", "--", "mount", "-t", "tmpfs", "x", "/mnt", cwd=project, code=None).code != 0


def test_exec_of_a_run_that_has_ended(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "true", cwd=project)
    done = wardian("exec", "@last", "--", "true", cwd=project, code=125)
    assert "is not running: it is finished\n  type: wardian ps\n" in done.err
    assert "there is no run" in wardian("exec", "nothing", "true", cwd=project, code=125).err


def test_exec_of_nothing_is_asked_about(wardian: Wardian, project: Path) -> None:
    for words in (["x"], ["x", "--"]):
        assert "type: wardian exec x -- PROGRAM" in wardian("exec", *words, cwd=project, code=2).err


def test_exec_into_another_users_container(wardian: Wardian, project: Path) -> None:
    if os.getuid():
        pytest.skip("only root can run as another uid")
    detach(wardian, project, "exec sleep 100", "--user", "4321:99", "--no-project")
    assert wardian("exec", "@last", "--", "sh", "-c", "id -u; id -g; echo ~; touch ~/x", cwd=project).out.split() == [
        *("4321", "99", "/home/u4321")
    ]


# ── logs and runs ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_logs_can_be_followed(project: Path, wardian: Wardian) -> None:
    run = detach(wardian, project, "for i in 1 2 3; do echo line $i; sleep 0.3; done")
    words = [sys.executable, "-m", "wardian", "logs", "-f", run]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "line 1\nline 2\nline 3\n"
    assert wardian("logs", "--tail", "1", run, cwd=project).out == "line 3\n"
    assert wardian("logs", "--tail", "0", run, cwd=project).out == ""


def test_a_reader_that_leaves_is_no_error(project: Path, wardian: Wardian) -> None:
    run = detach(wardian, project, "yes | head -n 200000")
    ended(project)
    line = f"{shlex.quote(sys.executable)} -m wardian logs {run} | head -n 1"
    done = subprocess.run(["bash", "-c", line], cwd=project, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("y\n", "")


def test_a_foreground_run_has_no_log(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "true", cwd=project)
    assert "was in the foreground" in wardian("logs", "@last", cwd=project, code=1).err


@pytest.mark.parametrize(
    "content", ["", "a", "a\n", "a\nb\nc\n", "a\nb\nc", "\n\n\n", "x" * 200000 + "\n" + "y\n" * 50000]
)
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 50001])
def test_the_tail_is_tails(tmp_path: Path, content: str, lines: int) -> None:
    path = tmp_path / "log"
    path.write_text(content)
    oracle = subprocess.run(["tail", "-n", str(lines), str(path)], capture_output=True, text=True, check=True).stdout
    assert content[start_of_tail(path, lines) :] == oracle


def test_runs_lists_and_shows(wardian: Wardian, project: Path) -> None:
    for code in (0, 3):
        wardian(
            "run", "--env", "SEED=1", "--env", "A_TOKEN=x", "--", "sh", "-c", f"exit {code}", cwd=project, code=code
        )
    assert len(wardian("runs", cwd=project).out.splitlines()) == 3
    assert len(wardian("runs", "--last", "1", cwd=project).out.splitlines()) == 2
    data = wardian("runs", "--json", cwd=project).json()
    assert [one["exit_code"] for one in data] == [0, 3]
    shown = wardian("runs", "show", "@last", cwd=project).out
    for words in ("exit 3", "sh -c 'exit 3'", "/workspace as host", "SEED=1", "A_TOKEN=(hidden)", data[1]["digest"]):
        assert words in shown
    assert wardian("runs", "show", "--json", data[0]["id"], cwd=project).json()["id"] == data[0]["id"]
    assert "which run?" in wardian("runs", "show", cwd=project, code=2).err
    assert "type: wardian runs show x" in wardian("runs", "list", "x", cwd=project, code=2).err


def test_following_a_run_whose_record_is_removed(wardian: Wardian, project: Path) -> None:
    run = detach(wardian, project, "exec sleep 100")
    child = subprocess.Popen(
        [sys.executable, "-m", "wardian", "logs", "-f", run], cwd=project, stderr=subprocess.PIPE, text=True
    )
    log = (project / ".wardian/runs" / run / "log").resolve()
    until(lambda: any(entry.resolve() == log for entry in Path(f"/proc/{child.pid}/fd").iterdir()))
    aside = (project / ".wardian").rename(project / ".aside")
    assert f"the record of run {run} is gone" in child.communicate(timeout=20)[1]
    assert child.returncode == 1
    aside.rename(project / ".wardian")


def test_no_runs_at_all(wardian: Wardian, project: Path) -> None:
    for verb in ("runs", "ps"):
        said = wardian(verb, "--json", cwd=project)
        assert (said.json(), said.err) == ([], f"nothing was run in {project}\n")
    assert "there is no run '@last'" in wardian("runs", "show", "@last", cwd=project, code=1).err


def test_many_runs_at_once_keep_apart(wardian: Wardian, project: Path) -> None:
    words = [sys.executable, "-m", "wardian", "run", "--"]
    outs: dict[int, str] = {}

    def one(number: int) -> None:
        script = f"echo {number} >/tmp/own; sleep 0.2; cat /tmp/own; exit {number}"
        done = subprocess.run([*words, "sh", "-c", script], cwd=project, capture_output=True, text=True, check=False)
        outs[done.returncode] = done.stdout

    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outs == {number: f"{number}\n" for number in range(1, 5)}
    assert sorted(record.exit_code or 0 for record in records(project)) == [1, 2, 3, 4]
    assert json.loads(wardian("ps", "--json", cwd=project).out) == []


def open_at(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_two_checkouts_run_side_by_side(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    """The same name and the same port in both: neither is the machine's."""
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    table = f'gpus = "none"\nports = {{ board = {port} }}'
    folders = make_project(project, table), make_project(tmp_path / "other", table)
    script = 'echo "$WARDIAN_PORT_BOARD"; exec httpd -f -p "$WARDIAN_PORT_BOARD" -h /workspace'
    runs, given = [], []
    for folder in folders:
        (folder / "which").write_text(folder.name)
        runs.append(detach(wardian, folder, script, "--name", "board"))
        log = folder / ".wardian/runs" / runs[-1] / "log"
        until(log.read_text)
        given.append(int(log.read_text()))
        until(partial(open_at, given[-1]))
    assert given[0] == port != given[1]
    served = [urllib.request.urlopen(f"http://127.0.0.1:{number}/which").read().decode() for number in given]
    assert served == ["project", "other"]
    wardian("stop", "board", cwd=folders[0])
    assert [one["id"] for one in wardian("ps", "--json", cwd=folders[1]).json()] == [runs[1]]
    wardian("stop", "board", cwd=folders[1])
