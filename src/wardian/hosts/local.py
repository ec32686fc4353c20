"""This machine."""

import os
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO, BinaryIO, cast

from wardian.command import Command, Result
from wardian.errors import CommandFailed, Unavailable


class LocalHost:
    """Runs commands here. With ``trace``, each command is shown, ready to paste, before it runs."""

    def __init__(self, trace: Callable[[Command], None] | None = None) -> None:
        self._trace = trace
        self._children: list[subprocess.Popen[bytes]] = []
        self._guard = threading.Lock()

    def stop(self) -> None:
        """Kill everything that threads of this process are waiting for: their commands end with 137."""
        with self._guard:  # what is being started now is killed too
            children = self._children
        for child in children:
            if child.poll() is None:
                kill(child)

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        """Run to the end and keep the output."""
        return self._finish(command, subprocess.PIPE, timeout)

    def stream(self, command: Command, *, line: Callable[[str], None], timeout: float | None = None) -> Result:
        """Run, hand each line of output to ``line``; the result holds the last 200 lines."""
        last: deque[str] = deque(maxlen=200)
        with self._start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
            timer = threading.Timer(timeout or 0, lambda: kill(child))
            if timeout:
                timer.start()
            try:
                if command.stdin is not None and child.stdin:
                    threading.Thread(target=_feed, args=(child.stdin, command.stdin), daemon=True).start()
                for raw in child.stdout or ():
                    text = raw.decode(errors="replace").rstrip("\r\n")
                    last.append(text)
                    line(text)
                child.wait()
            except BaseException:
                kill(child)
                raise
            finally:
                timer.cancel()
        return Result(command, exit_code(child.returncode), "\n".join(last).encode())

    def pipe(self, command: Command, *, stdout: BinaryIO) -> Result:
        """Run with stdout going to a file object of this process."""
        return self._finish(command, stdout, None)

    def feed(self, command: Command, write: Callable[[BinaryIO], None]) -> Result:
        """Run while ``write`` writes to its stdin. A command that stops reading ends ``write``, not the caller."""
        with tempfile.TemporaryFile() as said, self._start(command, stdout=said, stderr=said, fed=True) as child:
            try:
                assert child.stdin is not None
                with suppress(BrokenPipeError), child.stdin as out:
                    write(cast("BinaryIO", out))
                child.wait()
            except BaseException:
                kill(child)
                raise
            said.seek(0)
            output = said.read()
        return Result(command, exit_code(child.returncode), output, output)

    def _finish(self, command: Command, stdout: int | BinaryIO, timeout: float | None) -> Result:
        with self._start(command, stdout=stdout, stderr=subprocess.PIPE) as child:
            try:
                out, err = child.communicate(command.stdin, timeout)
            except BaseException as error:
                kill(child)
                if isinstance(error, subprocess.TimeoutExpired):
                    said = f"{command.argv[0]} did not finish within {timeout:g} s"
                    raise CommandFailed(said, code=124) from None
                raise
        return Result(command, exit_code(child.returncode), out or b"", err)

    def _start(
        self, command: Command, *, stdout: int | IO[bytes], stderr: int | IO[bytes], fed: bool = False
    ) -> "subprocess.Popen[bytes]":
        if self._trace:
            self._trace(command)
        stdin = subprocess.PIPE if fed or command.stdin is not None else subprocess.DEVNULL
        try:
            with self._guard:
                child = subprocess.Popen(
                    command.argv,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=command.cwd,
                    env={**os.environ, **command.env},
                    start_new_session=True,
                )
                self._children = [*(one for one in self._children if one.returncode is None), child]
        except FileNotFoundError as error:
            missing = error.filename or command.argv[0]
            raise Unavailable(f"{missing} is not on this machine", hint="type: wardian doctor") from error
        except OSError as error:
            raise Unavailable(f"{command.argv[0]} cannot be started: {error.strerror}") from error
        return child


def _feed(pipe: BinaryIO, content: bytes) -> None:
    try:
        pipe.write(content)
        pipe.close()
    except BrokenPipeError:
        pass


def kill(child: "subprocess.Popen[bytes]") -> None:
    """End the child and everything it started: it leads its own session."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def exit_code(returncode: int) -> int:
    """What a shell makes of Popen's ``returncode``."""
    return 128 - returncode if returncode < 0 else returncode
