"""Processes by number and start time."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wardian.runs import processes
from wardian.runs.processes import children, identify, inner, parent


def test_a_process_is_itself_until_it_ends() -> None:
    child = subprocess.Popen(["sleep", "60"])
    found = identify(child.pid)
    assert found is not None
    assert found.alive()
    assert found == identify(child.pid)
    assert parent(child.pid) == os.getpid()
    assert child.pid in children(os.getpid())
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not found.alive(), "a zombie is gone"
    child.wait()
    assert identify(child.pid) is None
    assert not found.alive()


def test_a_program_begins_when_it_is_no_copy_of_its_parent() -> None:
    """What a run's environment is read from must not be bwrap, which has the host's."""
    script = "exec 3<&0; (read line; exec sleep 60) <&3 & wait"
    words = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    child = subprocess.Popen(words, stdin=subprocess.PIPE)
    assert child.stdin

    def until(question: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not question():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    until(lambda: children(child.pid) and processes.program(children(child.pid)[0]))
    (init,) = children(child.pid)
    assert not processes.begun(init)
    child.stdin.write(b"go\n")
    child.stdin.close()
    until(lambda: processes.begun(init))
    child.kill()
    child.wait()


def test_a_number_that_is_used_again_is_another_process() -> None:
    us = identify(os.getpid())
    assert us is not None
    assert processes.Process(us.pid, us.started + 1, us.boot) != us
    assert not processes.Process(us.pid, us.started + 1, us.boot).alive()


def test_what_is_not_there() -> None:
    nobody = 2**22 + 1  # above the largest pid_max
    assert identify(nobody) is None
    assert parent(nobody) is None
    assert children(nobody) == []
    assert inner(nobody) == ()
    processes.end_all(nobody)


def test_a_name_with_brackets_is_read_right(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "60"])
    try:
        time.sleep(0.05)
        assert parent(child.pid) == os.getpid()
    finally:
        child.kill()
        child.wait()


def test_children_without_the_kernels_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel without CONFIG_PROC_CHILDREN has no such file: every process is asked for its parent."""
    for pid, of in ((1, 0), (5, 1), (7, 1), (9, 5)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (x) S {of} " + "0 " * 40)
    (tmp_path / "self").mkdir()
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert children(1) == [5, 7]
    assert children(9) == []
