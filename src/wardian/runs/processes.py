"""Processes by number and start time, and the ones inside a sandbox. Source: proc(5)."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process and no other: numbers are used again, start times (in ticks since boot) with a boot id are not."""

    pid: int
    started: int
    boot: str

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return identify(self.pid) == self


def identify(pid: int) -> Process | None:
    """The process with this number; None when there is none, or only its exit code is left."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Process(pid, int(fields[19]), boot_id())


def boot_id() -> str:
    """What tells one boot of this machine from the next."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def parent(pid: int) -> int | None:
    """The number of a process's parent."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def children(pid: int) -> list[int]:
    """The children of a process, the oldest first."""
    try:
        return [int(word) for word in (PROC / f"{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        pass
    except OSError:
        return []
    every = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())  # a kernel without PROC_CHILDREN
    return sorted(one for one in every if parent(one) == pid)


def inner(pid: int) -> tuple[int, ...]:
    """The numbers of a process in each pid namespace it is in, ours first."""
    try:
        lines = (PROC / f"{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return ()
    return next((tuple(map(int, line.split()[1:])) for line in lines if line.startswith("NSpid:")), ())


def program(init: int) -> int | None:
    """The program of a sandbox whose first process (bwrap's reaper) is ``init``; None before it starts and after."""
    return next((one for one in children(init) if inner(one)[-1:] == (2,)), None)


def begun(init: int) -> bool:
    """Whether the program is itself by now: before that it is a copy of bwrap, with the environment of the host."""
    found = program(init)
    try:
        return found is not None and not (PROC / f"{found}/exe").samefile(PROC / f"{init}/exe")
    except OSError:  # it has ended, or is closed to us as only a program can be
        return True


def end_all(init: int) -> None:
    """Kill everything in a sandbox: the kernel does it when the first process of a pid namespace dies."""
    try:
        os.kill(init, signal.SIGKILL)
    except ProcessLookupError:
        return


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; the name before them may hold anything, also ')'."""
    try:
        return (PROC / f"{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
