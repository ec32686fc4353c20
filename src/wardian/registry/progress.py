"""What shows long work; how far a transfer is, and how fast it goes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from wardian.spec.units import human_size

Advance = Callable[[float], None]  # told of bytes as they move; of fewer than none when they have to move again
_EVERY = 0.25  # seconds between two new words


class Task(Protocol):
    """One line of a display."""

    def advance(self, amount: float) -> None:
        """Move on by so many bytes."""
        ...

    def say(self, text: str) -> None:
        """Replace the words beside it."""
        ...


class Progress(Protocol):
    """What ``Console.progress`` yields, as everything below the console knows it."""

    def task(self, title: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Show one piece of work."""
        ...


@contextmanager
def metered(progress: Progress | None, title: str, total: float) -> Iterator[Advance | None]:
    """A task that says amount and rate while bytes move; None when there is no display. Safe to use from threads."""
    if progress is None:
        yield None
        return
    with progress.task(title, total) as task:
        meter = Meter(task, total)
        yield meter.advance
        meter.say()


class Meter:
    """Counts bytes and says the rate."""

    def __init__(self, task: Task, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._task = task
        self._total = total
        self._clock = clock
        self._guard = threading.Lock()
        self._count = 0.0
        self._began = self._said = clock()

    def advance(self, amount: float) -> None:
        """Some bytes moved; fewer than none when they have to move again."""
        with self._guard:
            self._count += amount
            now = self._clock()
            due = now - self._said >= _EVERY
            if due:
                self._said = now
        self._task.advance(amount)
        if due:
            self.say()

    def say(self) -> None:
        """Say how much of how much has moved, and how much a second."""
        seconds = max(self._clock() - self._began, 1e-3)
        rate = f"{human_size(max(self._count, 0) / seconds)}/s"
        whole = human_size(self._total)
        self._task.say(
            f"{whole}, {rate}" if self._count >= self._total else f"{human_size(self._count)} of {whole}, {rate}"
        )
