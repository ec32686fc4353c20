"""Progress on stderr, answers on stdout; NO_COLOR, --json and --verbose live here."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wardian.command import Command

if TYPE_CHECKING:
    from rich.progress import Progress


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Console:
    """What a verb says. An answer goes to stdout, once; all else goes to stderr and may be silenced by a pipe."""

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.verbose = verbose

    def note(self, text: str) -> None:
        """Say one line to the person at the terminal."""
        print(text, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """Say one line under --verbose."""
        if self.verbose:
            self.note(text)

    def trace(self, command: Command) -> None:
        """Show a command, ready to paste but for its secrets, under --verbose."""
        self.detail(f"+ {command.shown()}")

    def answer(self, text: str, data: Any) -> None:
        """Print the verb's answer: ``data`` as JSON under --json, ``text`` otherwise."""
        print(json.dumps(data, indent=2, sort_keys=True) if self.as_json else text, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], data: Any) -> None:
        """Print rows under headings; columns that hold only numbers are set to the right by the caller's padding.

        A cell may hold what a registry or an image says: nothing in it steers the terminal.
        """
        rows = [[_CONTROL.sub("�", cell) for cell in row] for row in rows]
        widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [columns, *rows]
        ]
        self.answer("\n".join(lines), data)

    @contextmanager
    def progress(self) -> Iterator["Tasks"]:
        """A live display of named tasks on a terminal; one line for each finished task elsewhere."""
        if self.as_json or not sys.stderr.isatty():
            yield Tasks(self, None)
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[said]}", markup=False),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Terminal(stderr=True), transient=False) as display:
            yield Tasks(self, display)


class Tasks:
    """The tasks of one progress display. Safe to use from threads."""

    def __init__(self, console: Console, display: "Progress | None") -> None:
        self._console = console
        self._display = display

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator["Task"]:
        """One task; leaving the block without an exception marks it done."""
        task = Task(self._display, title, total)
        yield task
        task.finish()
        if self._display is None and not self._console.as_json:
            self._console.note(f"{title}{f': {task.said}' if task.said else ''}")


class Task:
    """One line of a progress display."""

    def __init__(self, display: "Progress | None", title: str, total: float | None) -> None:
        self.said = ""
        self._display = display
        self._id = display.add_task(title, total=total, said="") if display else None

    def advance(self, amount: float) -> None:
        """Move the bar; the unit is the one of ``total``."""
        if self._display and self._id is not None:
            self._display.advance(self._id, amount)

    def say(self, text: str) -> None:
        """Replace the words beside the bar (the last line of a program, a rate, a result)."""
        self.said = text
        if self._display and self._id is not None:
            self._display.update(self._id, said=text[:60])

    def finish(self) -> None:
        """Fill the bar."""
        if self._display and self._id is not None:
            task = self._display.tasks[self._id] if self._id < len(self._display.tasks) else None
            total = task.total if task and task.total is not None else 1
            self._display.update(self._id, total=total, completed=total)
