"""The three streams of a program: handed through, or joined to a terminal or to pipes of their own."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import threading
import tty as terminals
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

_CHUNK = 65536


@dataclass
class Streams:
    """What a child gets as stdin, stdout and stderr (None: ours), and how bytes get there.

    ``own_group``: the child gets a process group (with a terminal of its own: a session), so that what our terminal
    sends to its foreground group does not reach it.
    """

    own_group: bool
    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    session: bool = False
    feed: tuple[int, int] | None = None  # (from, to): our stdin to the child
    drain: tuple[tuple[int, int], ...] = ()  # (from, to): the child's output to ours
    terminal: bool = False  # feed leads to a pseudo-terminal: the end of input is typed, not closed
    _child_ends: list[int] = field(default_factory=list)

    def in_child(self) -> None:
        """Called in the child before it becomes the program."""
        if self.session:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        elif self.own_group:
            os.setpgid(0, 0)

    def close_child_ends(self) -> None:
        """Close what only the child uses, so that its end is seen."""
        while self._child_ends:
            os.close(self._child_ends.pop())

    def resize(self) -> None:
        """Give the pseudo-terminal the size of ours; the kernel tells those who use it."""
        if self.feed and (size := _our_size()):
            with suppress(OSError):
                fcntl.ioctl(self.feed[1], termios.TIOCSWINSZ, size)

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Copy while the block runs; all output of the child has been written when it is left."""
        done = threading.Event()
        drains = [threading.Thread(target=_copy, args=(*pair, done), daemon=True) for pair in self.drain]
        feeds = (
            [threading.Thread(target=_feed, args=(*self.feed, done, self.terminal), daemon=True)] if self.feed else []
        )
        for thread in [*drains, *feeds]:
            thread.start()
        try:
            with _every_key() if self.terminal and os.isatty(0) else nullcontext():
                yield
        finally:
            done.set()
            for thread in [*drains, *feeds]:
                thread.join()


def handed_through() -> Streams:
    """Our own streams. The child shares our process group where a terminal has us in the foreground, and only there."""
    return Streams(own_group=not _in_foreground())


def streams(*, tty: bool | None, raw: bool = False) -> Streams:
    """The streams for a program that wants a terminal (True), wants none (False), or takes what is there (None).

    ``raw``: the program has a terminal of an engine's, to which its client hands what comes through the one made here.
    """
    have = sys.__stdin__ is not None and os.isatty(0) and os.isatty(1)
    if tty is None or tty == have:
        return handed_through()
    return _pseudo_terminal(raw=raw) if tty else _pipes()


def wants_tty(*, tty: bool | None) -> bool:
    """Whether the program will have a terminal."""
    return (os.isatty(0) and os.isatty(1)) if tty is None else tty


def _in_foreground() -> bool:
    try:
        descriptor = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def _every_key() -> Iterator[None]:
    """Let our terminal hand on each key as it is, and echo none: the one that the program has does that.

    ^C stays a signal to us. Typed there, it would end bwrap, which leads that session, and hang the program up.
    """
    before = termios.tcgetattr(0)
    now = [*before[:6], [*before[6]]]
    now[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
    now[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
    termios.tcsetattr(0, termios.TCSADRAIN, now)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _pseudo_terminal(*, raw: bool) -> Streams:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, _our_size() or struct.pack("HHHH", 24, 80, 0, 0))
    if raw:
        terminals.setraw(theirs)
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.ONLCR  # bytes arrive as they were written: no \r that a pipe would not have
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    return Streams(
        own_group=True,
        session=True,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        feed=(0, os.dup(ours)),
        drain=((ours, 1),),
        terminal=True,
        _child_ends=[theirs],
    )


def _pipes() -> Streams:
    (their_in, feed), (out, their_out), (err, their_err) = os.pipe(), os.pipe(), os.pipe()
    return Streams(
        own_group=not _in_foreground(),
        stdin=their_in,
        stdout=their_out,
        stderr=their_err,
        feed=(0, feed),
        drain=((out, 1), (err, 2)),
        _child_ends=[their_in, their_out, their_err],
    )


def _our_size() -> bytes | None:
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            size = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
            return size if any(size) else None  # a serial line does not know
    return None


def _copy(origin: int, target: int, done: threading.Event) -> None:
    """Copy to the end; after ``done``, what is left and no more (a process left behind may hold the other end).

    When nobody reads the target any more, closing the origin tells the program so, as a pipe of its own would.
    """
    try:
        for chunk in _chunks(origin, done, rest=True):
            _write(target, chunk)
    except BrokenPipeError:
        pass
    finally:
        os.close(origin)


def _feed(origin: int, target: int, done: threading.Event, terminal: bool) -> None:  # noqa: FBT001 - a thread's argument
    try:
        for chunk in _chunks(origin, done, rest=False):
            _write(target, chunk)
        if terminal and not done.is_set():
            _write(target, b"\x04")  # ^D, as typed at the start of a line
            done.wait()  # closing it would hang the terminal up
    except OSError:
        pass
    finally:
        os.close(target)


def _chunks(origin: int, done: threading.Event, *, rest: bool) -> Iterator[bytes]:
    """What comes, until the end or ``done``; with ``rest``, also what has come by then."""
    while True:
        over = done.is_set()
        if over and not rest:
            return
        if not select.select([origin], [], [], 0 if over else 0.05)[0]:
            if over:
                return
            continue
        try:
            chunk = os.read(origin, _CHUNK)
        except OSError:  # EIO: the last process with the pseudo-terminal is gone
            return
        if not chunk:
            return
        yield chunk


def _write(target: int, chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(target, chunk) :]
