"""Commands on this machine: what is missing is said, nothing is left running."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wardian.command import Ask, Command
from wardian.errors import CommandFailed, Unavailable
from wardian.hosts.base import ask
from wardian.hosts.local import LocalHost

HOST = LocalHost()


def shell(script: str, **settings: object) -> Command:
    return Command(("sh", "-c", script), **settings)  # type: ignore[arg-type]


def test_output_and_code_are_kept() -> None:
    done = HOST.run(shell("cat; echo said >&2; exit 3", stdin=b"in"))
    assert (done.code, done.stdout, done.stderr) == (3, b"in", b"said\n")
    assert HOST.run(shell("kill -9 $$")).code == 137


def test_the_environment_is_ours_with_the_command_s_over_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEPT", "1")
    done = HOST.run(shell('echo "$KEPT $NEW"; pwd', env={"NEW": "2"}, cwd=str(tmp_path)))
    assert done.stdout.decode().split("\n")[:2] == ["1 2", str(tmp_path.resolve())]


def test_lines_are_handed_on_as_they_come_and_the_last_are_kept() -> None:
    lines: list[str] = []
    done = HOST.stream(shell("seq 300; printf 'no newline\\377' >&2"), line=lines.append)
    assert len(lines) == 301
    assert lines[-1] == "no newline�"
    assert done.stdout.decode().split("\n") == lines[-200:]
    big = b"x" * 1_000_000
    counted: list[str] = []
    HOST.stream(shell("wc -c", stdin=big), line=counted.append)
    assert counted == ["1000000"]
    assert HOST.stream(shell("exec true", stdin=big), line=counted.append).code == 0, "who does not read, need not"


def test_a_pipe_goes_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        assert HOST.pipe(shell("cat; echo no >&2; exit 2", stdin=b"in"), stdout=out).stderr == b"no\n"
    assert (tmp_path / "out").read_bytes() == b"in"


@pytest.mark.parametrize("way", ["run", "stream"])
def test_a_command_that_takes_too_long_is_killed_with_all_it_started(way: str, tmp_path: Path) -> None:
    script = shell(f"sleep 60 & echo $! >{tmp_path}/pid; wait")
    start = time.monotonic()
    if way == "run":
        with pytest.raises(CommandFailed, match=r"sh did not finish within 0\.3 s") as caught:
            HOST.run(script, timeout=0.3)
        assert caught.value.code == 124
    else:
        assert HOST.stream(script, line=lambda _: None, timeout=0.3).code == 137
    assert time.monotonic() - start < 30
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("way", ["run", "stream", "pipe"])
def test_an_interruption_leaves_nothing_running(way: str, tmp_path: Path) -> None:
    script = shell(f"echo $$ >{tmp_path}/pid; sleep 0.3; kill -INT {os.getpid()}; sleep 60")
    with (tmp_path / "out").open("wb") as out:
        ways: dict[str, Callable[[], object]] = {
            "run": lambda: HOST.run(script),
            "stream": lambda: HOST.stream(script, line=lambda _: None),
            "pipe": lambda: HOST.pipe(script, stdout=out),
        }
        with pytest.raises(KeyboardInterrupt):
            ways[way]()
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_what_is_being_started_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has started a child and has not yet noted it: ^C came just then, and the build went on."""
    host, started = LocalHost(), threading.Event()
    popen = subprocess.Popen

    def slow(*words: Any, **options: Any) -> Any:
        child = popen(*words, **options)
        started.set()
        time.sleep(0.3)
        return child

    monkeypatch.setattr(subprocess, "Popen", slow)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(host.run(shell("sleep 60")).code), daemon=True)
    thread.start()
    assert started.wait(10)
    host.stop()
    thread.join(10)
    assert codes == [137]


def test_everything_that_threads_wait_for_can_be_stopped() -> None:
    host = LocalHost()
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(host.run(shell("sleep 60")).code)) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(host.__dict__["_children"]) < 3:
        time.sleep(0.01)
    host.stop()
    for thread in threads:
        thread.join(20)
    assert codes == [128 + signal.SIGKILL] * 3


@pytest.mark.parametrize("way", ["run", "stream"])
def test_a_program_that_is_not_here_or_none_is_named(way: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    for argv in (("no-such-program",), (str(plain),), (str(tmp_path),)):
        with pytest.raises(Unavailable, match=r"on this machine|cannot be started"):
            HOST.run(Command(argv)) if way == "run" else HOST.stream(Command(argv), line=lambda _: None)


def test_a_question_is_asked_checked_and_read() -> None:
    size = Ask(shell("echo 42"), lambda result: int(result.stdout))
    assert ask(HOST, size) == 42
    with pytest.raises(CommandFailed, match="sh exited with 3: why"):
        ask(HOST, Ask(shell("echo why >&2; exit 3"), lambda result: int(result.stdout)))


def test_each_command_is_shown_before_it_runs() -> None:
    shown: list[Command] = []
    command = shell("true")
    LocalHost(shown.append).run(command)
    assert shown == [command]


def is_gone(pid: int) -> bool:
    """Whether a process has ended, soon; a zombie that its parent has not waited for has."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_nothing_is_written_to_our_own_streams(capfd: pytest.CaptureFixture[str]) -> None:
    HOST.run(shell("echo out; echo err >&2"))
    HOST.stream(shell("echo out; echo err >&2"), line=lambda _: None)
    assert capfd.readouterr() == ("", "")
