"""Run a sandbox in the background to its end or its time: exit code, and what fits of its output."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from wardian.command import Command
from wardian.hosts.local import exit_code, kill
from wardian.runs.supervise import Outcome, Status

HEAD, TAIL = 1 << 20, 1 << 16  # bytes kept of each stream, from its beginning and its end
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Captured:
    """How it went. ``started`` is False when the engine failed before the program; ``found``: stdout had the words."""

    code: int
    started: bool
    timed_out: bool
    seconds: float
    stdout: bytes
    stderr: bytes
    found: bool


class Drain(threading.Thread):
    """Reads a stream to its end, keeps its beginning and its end, and looks for some bytes in all of it."""

    def __init__(self, stream: IO[bytes], wanted: bytes = b"") -> None:
        super().__init__(daemon=True)
        self.found = not wanted
        self._stream = stream
        self._wanted = wanted
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def run(self) -> None:
        """Read until the last process that writes is gone."""
        before = b""
        while chunk := os.read(self._stream.fileno(), _CHUNK):
            if not self.found:
                self.found = self._wanted in before + chunk
                before = (before + chunk)[-len(self._wanted) :]
            self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        room = HEAD - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:] if room < len(chunk) else b""
        if len(self._tail) > TAIL:
            self._dropped += len(self._tail) - TAIL
            del self._tail[:-TAIL]

    def kept(self) -> bytes:
        """What was kept, with a word about what was not."""
        gap = f"\n… {self._dropped} bytes left out …\n".encode() if self._dropped else b""
        return bytes(self._head) + gap + bytes(self._tail)


def capture(
    command: Command,
    status: Status | None,
    *,
    environ: Mapping[str, str],
    timeout: float,
    expect: str = "",
    stop: threading.Event | None = None,
    settle: Callable[[Outcome], Outcome] = lambda outcome: outcome,
) -> Captured:
    """Run a command that dies with its parent (see ``Runtime.ready``); ``timeout`` seconds on, all in it is killed.

    ``stop`` ends it early. Without ``status`` the command is an engine's client, and ``settle`` tells whether its exit
    code is the program's. Safe to call from several threads.
    """
    begun = time.monotonic()
    child = subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environ, **command.env},
        start_new_session=True,
        pass_fds=(status.fd,) if status else (),
    )
    assert child.stdout is not None
    assert child.stderr is not None
    drains = Drain(child.stdout, expect.encode()), Drain(child.stderr)
    try:
        for drain in drains:
            drain.start()
        timed_out = not _finished(child, begun + timeout, stop)
    finally:
        kill(child)
    for drain in drains:
        drain.join()
    child.stdout.close()
    child.stderr.close()
    outcome = Outcome(exit_code(child.returncode))
    if status:
        code = status.get("exit-code")
        outcome = Outcome(outcome.code if code is None else code, started=code is not None)
    elif not timed_out:
        outcome = settle(outcome)
    return Captured(
        code=outcome.code,
        started=outcome.started or timed_out,
        timed_out=timed_out,
        seconds=time.monotonic() - begun,
        stdout=drains[0].kept(),
        stderr=drains[1].kept(),
        found=drains[0].found,
    )


def _finished(child: "subprocess.Popen[bytes]", deadline: float, stop: threading.Event | None) -> bool:
    """Wait for the child; False when the time was over first."""
    while not (stop and stop.is_set()):
        try:
            child.wait(min(0.2, max(0.001, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                return False
        else:
            return True
    return True
