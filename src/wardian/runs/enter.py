"""Run a program inside a sandbox that runs: ``python -m wardian.runs.enter INIT WORKDIR ARGV…``.

It joins the namespaces of the sandbox's first process as nsenter(1) would, takes the environment of the sandbox's
program, which is written down nowhere, and drops the rights that the program does not have. Exit codes: the program's;
126 and 127 as a shell has them; 125 when joining failed.
"""

import ctypes
import fcntl
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from wardian.hosts.sandbox import CAPABILITIES
from wardian.runs.processes import program
from wardian.runs.supervise import fork_and_wait

CLONE = {"user": 0x10000000, "mnt": 0x00020000, "ipc": 0x08000000, "net": 0x40000000, "pid": 0x20000000}
NS_GET_USERNS = 0xB701
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
LAST = 63


class Failed(Exception):
    """Joining failed."""


def main(argv: Sequence[str]) -> int:
    """Join, fork, become the program; the exit code."""
    init, workdir, *words = argv
    try:
        target = _program(int(init))
        env, ids = _environment(target) | _given(), _ids(target)
        # A plain user is itself inside, under whatever number; only the real root has to become someone.
        become = ids if ids != (os.getuid(), os.getgid()) else None
        _join(int(init))
    except (Failed, OSError) as error:
        _say(f"cannot enter the sandbox: {error}")
        return 125
    # Only a child is inside the pid namespace.
    return fork_and_wait(lambda: _become(words, workdir, env, become))


def _program(init: int) -> int:
    found = program(init)
    if found is None:
        raise Failed("the program in it has ended")
    return found


def _say(text: str) -> None:
    sys.stderr.write(f"wardian: {text}\n")
    sys.stderr.flush()


def _environment(pid: int) -> dict[bytes, bytes]:
    """The environment that a process was started with."""
    return _variables(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))


def _given() -> dict[bytes, bytes]:
    """What the call adds; see ``hosts.sandbox.carried``."""
    return _variables(line for name, line in os.environb.items() if name.startswith(b"WARDIAN_SANDBOX_"))


def _variables(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    return {name: value for name, equals, value in (line.partition(b"=") for line in lines) if equals}


def _ids(pid: int) -> tuple[int, int]:
    """The uid and gid of a process as this process sees them."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_bytes().splitlines())
    found = {words[0]: int(words[1]) for words in lines if words and words[0] in (b"Uid:", b"Gid:")}
    return found[b"Uid:"], found[b"Gid:"]


def _join(pid: int) -> None:
    """Enter every namespace that is not already ours.

    First the user namespace that owns the others, which gives the right to enter them; at last the process's own, which
    may be one deeper (bwrap makes a second one to mount devpts). Source: ioctl_ns(2), setns(2).
    """
    opened = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in CLONE}
    ours = {name: Path(f"/proc/self/ns/{name}").stat().st_ino for name in CLONE}  # mnt hides this process's own /proc
    owner = fcntl.ioctl(opened["mnt"], NS_GET_USERNS)
    libc = ctypes.CDLL(None, use_errno=True)
    order = ("ipc", "net", "pid", "mnt", "user")
    for name, descriptor in (("user", owner), *((name, opened[name]) for name in order)):
        there = os.fstat(descriptor).st_ino
        if there != ours[name] and libc.setns(descriptor, CLONE[name]):
            raise Failed(f"the {name} namespace: {os.strerror(ctypes.get_errno())}")
        ours[name] = there


def _become(words: Sequence[str], workdir: str, env: dict[bytes, bytes], ids: tuple[int, int] | None) -> NoReturn:
    code = 125
    try:
        _drop(ids)
        os.chdir(workdir)
        code = _execute(words, env)
    except OSError as error:
        _say(f"cannot enter the sandbox: {error}")
    finally:
        os._exit(code)


def _execute(words: Sequence[str], env: dict[bytes, bytes]) -> int:
    """Become the program; the exit code that a shell would give when that is not possible."""
    try:
        os.execvpe(os.fsencode(words[0]), [os.fsencode(word) for word in words], env)  # noqa: S606 - that is the point
    except (FileNotFoundError, NotADirectoryError):
        _say(f"{words[0]}: command not found in the container")
        return 127
    except OSError as error:
        _say(f"{words[0]}: {error.strerror}")
        return 126


def _drop(ids: tuple[int, int] | None) -> None:
    """Become the program's user with no more rights than it has."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(LAST + 1):
        if number not in CAPABILITIES.values():
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    if ids:
        uid, gid = ids
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
