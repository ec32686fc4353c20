"""Start a program in the foreground and wait for it as a shell would: signals go to it, its exit code comes back.

bwrap's outer process dies of SIGINT and SIGTERM. So this process is a *subreaper* (prctl(2)): when bwrap is gone, the
sandbox's first process becomes our child and still yields the program's exit code. Signals are read from a
signalfd(2), which tells who sent them: what a terminal sent to its whole foreground group has reached the program
already and is not sent again. (Python's ``sigtimedwait`` tells of signals that nobody sent, in a process that was
stopped for longer than its timeout.)
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import NoReturn

from wardian.command import Command
from wardian.hosts.local import kill
from wardian.hosts.sandbox import DIES
from wardian.runs.processes import begun, children, end_all, parent, program
from wardian.runs.terminal import Streams

PR_SET_CHILD_SUBREAPER = 36
SI_KERNEL = 0x80
FORWARDED = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
)
WAITED = FORWARDED | {signal.SIGCHLD}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. ``started`` is False when the engine failed before the program's first instruction."""

    code: int
    started: bool = True

    @property
    def signal(self) -> int | None:
        """The signal that ended the program, as far as an exit code tells (128 + n)."""
        number = self.code - 128
        return number if number in signal.valid_signals() else None


@dataclass
class Status:
    """What bwrap reports on a pipe: the number of the sandbox's first process, and the program's exit code."""

    reading: int
    fd: int  # the writing end, for the child
    _text: bytes = b""
    _said: dict[str, int] = field(default_factory=dict)

    def get(self, key: str) -> int | None:
        """The last value of ``child-pid`` or ``exit-code``, if it was reported."""
        try:
            while chunk := os.read(self.reading, 65536):
                self._text += chunk
        except BlockingIOError:
            pass
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            self._said |= json.loads(line)
        return self._said.get(key)


@contextmanager
def status_pipe() -> Iterator[Status]:
    """A pipe for bwrap's reports; its writing end is inherited by the command that is started."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    status = Status(reading, fcntl.fcntl(writing, fcntl.F_DUPFD_CLOEXEC, 10))  # the sandbox's script uses 7, 8 and 9
    os.close(writing)
    try:
        yield status
    finally:
        os.close(reading)
        if status.fd >= 0:
            os.close(status.fd)


def attend(
    command: Command,
    status: Status | None,
    streams: Streams,
    *,
    environ: Mapping[str, str] = os.environ,
    started: Callable[[int | None], None] = lambda _: None,
    watch: Command | None = None,
    send: Callable[[int], None] | None = None,
) -> Outcome:
    """Run a command to its end and return the program's exit code. Call it from the main thread.

    With ``status``, the command is a sandbox: signals go to the program in it, and ``started`` is called with the
    number of the sandbox's first process once the program is there (never, when it ends before anyone looks). Without,
    signals go to the command itself. The command's environment is added to ``environ``.

    With ``watch`` too, the command is an engine's client, which hands signals on, and ``watch`` is a command that
    prints ``{"start": 1}`` once the engine has started the program; signals wait until then. ``send`` signals the
    program without the client, where that hands signals on badly.
    """
    _subreaper(on=True)
    try:
        with _signals() as (taken, before), _watching(watch, status, environ) as told:
            whole = replace(command, env={**environ, **command.env})
            child = _start(whole, None if watch else status, streams, before)
            with streams.copying():
                outcome = _Watch(child.pid, status, taken, streams, started=started, told=told, send=send).wait()
                child.returncode = outcome.code  # it is reaped: Popen must not wait for the number again
            return outcome
    finally:
        _subreaper(on=False)


def unread(descriptor: int) -> bool:
    """Whether the other end of a pipe is closed for good. Source: poll(2), POLLERR."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def fork_and_wait(become: Callable[[], NoReturn]) -> int:
    """Fork, let the child become another program, hand signals on to it; its exit code (128 + n after signal n)."""
    with _signals() as (taken, before):
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            become()
        return _Watch(child, None, taken, Streams(own_group=False)).wait().code


@contextmanager
def _signals() -> Iterator[tuple[int, set[int]]]:
    """A descriptor that the signals we wait for are read from while the block lasts, and the mask that was before."""
    mask = struct.pack("16Q", sum(1 << (number - 1) for number in WAITED), *[0] * 15)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
    taken = ctypes.CDLL(None).signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield taken, before
    finally:
        while signal.sigtimedwait(WAITED, 0):
            pass
        os.close(taken)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _subreaper(*, on: bool) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


@contextmanager
def _watching(
    watch: Command | None, status: Status | None, environ: Mapping[str, str]
) -> "Iterator[subprocess.Popen[bytes] | None]":
    """The command that tells of an engine's start, while the block runs and no longer than this process lives."""
    if watch is None or status is None:
        yield None
        return
    child = subprocess.Popen(
        (*DIES, *watch.argv),
        stdin=subprocess.DEVNULL,
        stdout=status.fd,
        stderr=subprocess.DEVNULL,
        env={**environ, **watch.env},
        start_new_session=True,
    )
    os.close(status.fd)
    status.fd = -1
    try:
        yield child
    finally:
        kill(child)


def _start(command: Command, status: Status | None, streams: Streams, mask: Iterable[int]) -> "subprocess.Popen[bytes]":
    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        streams.in_child()

    child = subprocess.Popen(
        command.argv,
        stdin=streams.stdin,
        stdout=streams.stdout,
        stderr=streams.stderr,
        cwd=command.cwd,
        env=dict(command.env),
        pass_fds=(status.fd,) if status else (),
        preexec_fn=prepare,  # noqa: PLW1509 - no other thread runs yet
    )
    streams.close_child_ends()
    if status:
        os.close(status.fd)
        status.fd = -1
    return child


class _Watch:
    """The wait for one child and, through it, for the program."""

    def __init__(
        self,
        pid: int,
        status: Status | None,
        taken: int,
        streams: Streams,
        *,
        started: Callable[[int | None], None] | None = None,
        told: "subprocess.Popen[bytes] | None" = None,
        send: Callable[[int], None] | None = None,
    ) -> None:
        self._pid = pid
        self._status = status
        self._taken = taken
        self._streams = streams
        self._started = started if status else None
        self._told = told
        self._send = send
        self._pending: list[int] = []

    def wait(self) -> Outcome:
        """The end of the child; when a signal ended bwrap alone, the end of what it left."""
        ended = self._until_exit(self._pid)
        if self._told:
            self._announce()
            return Outcome(os.waitstatus_to_exitcode(ended) if os.WIFEXITED(ended) else 128 + os.WTERMSIG(ended))
        init = self._status.get("child-pid") if self._status else None
        if os.WIFEXITED(ended):
            code = self._status.get("exit-code") if self._status else os.WEXITSTATUS(ended)
            if init:
                self._bury(init)
            return Outcome(os.WEXITSTATUS(ended) if code is None else code, started=code is not None)
        if init and parent(init) == os.getpid():
            return self._outlive(init)
        return Outcome(128 + os.WTERMSIG(ended))

    def _until_exit(self, pid: int, check: Callable[[], None] = lambda: None) -> int:
        """Wait for a child, handing on signals; its wait status."""
        while True:
            select.select([self._taken], [], [], 0.01 if self._pending or self._started else 0.5)
            with suppress(BlockingIOError):
                number, _, code = struct.unpack_from("Iii", os.read(self._taken, 128))
                if number == signal.SIGWINCH and self._streams.terminal:
                    self._streams.resize()
                elif number in FORWARDED and (self._streams.own_group or code != SI_KERNEL):
                    self._pending.append(number)
            self._announce()
            self._deliver()
            check()
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status

    def _announce(self) -> None:
        if self._started and self._told:
            if self._engine_started():
                self._started(None)
                self._started = None
            return
        init = self._status.get("child-pid") if self._started and self._status else None
        if self._started and init and begun(init):
            self._started(init)
            self._started = None

    def _deliver(self) -> None:
        """Hand on signals, as soon as the program is there to get them."""
        if not self._pending or (target := self._program()) is None:
            return
        for number in self._pending:
            try:
                self._send(number) if self._send else os.kill(target, number)
            except ProcessLookupError:
                pass
            except PermissionError:  # the program became another user of its range of ids: all we can do is end it
                if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    end_all(parent(target) or target)
        self._pending.clear()

    def _program(self) -> int | None:
        if self._status is None:
            return self._pid
        if self._told:
            return self._pid if self._engine_started() else None
        init = self._status.get("child-pid")
        return program(init) if init else None

    def _engine_started(self) -> bool:
        """Whether the engine said so; one that does not speak is taken to have started what it was told to."""
        assert self._status is not None
        assert self._told is not None
        return self._status.get("start") is not None or self._told.poll() is not None

    def _outlive(self, init: int) -> Outcome:
        """Wait for the program after bwrap's outer process died, then for the sandbox's first process, our child now.

        That one waits for every process inside: those that the program left behind are ended, so that it can report.
        """

        def clean() -> None:
            if program(init) is None:
                for left in children(init):
                    end_all(left)
                time.sleep(0.005)

        ended = self._until_exit(init, clean)
        return Outcome(os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 128 + os.WTERMSIG(ended))

    @staticmethod
    def _bury(init: int) -> None:
        """End what the program left behind in the sandbox."""
        if parent(init) == os.getpid():
            end_all(init)
            os.waitpid(init, 0)
