"""Where commands run."""

from collections.abc import Callable
from typing import BinaryIO, Protocol, TypeVar

from wardian.command import Ask, Command, Result

T = TypeVar("T")


class Host(Protocol):
    """A place to run commands: this machine, or another over ssh."""

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        """Run to the end and keep the output. Raise ``Unavailable`` when the program is not there."""
        ...

    def stream(self, command: Command, *, line: Callable[[str], None], timeout: float | None = None) -> Result:
        """Run, hand each line of stdout and stderr to ``line`` as it comes; the result holds the last 200 lines."""
        ...

    def pipe(self, command: Command, *, stdout: BinaryIO) -> Result:
        """Run with stdout going to a file object of this process."""
        ...

    def feed(self, command: Command, write: Callable[[BinaryIO], None]) -> Result:
        """Run while ``write`` writes to its stdin. A command that stops reading ends ``write``, not the caller."""
        ...


def ask(host: Host, question: Ask[T], *, timeout: float | None = None) -> T:
    """Run the question's command, check its exit code, read its answer. The only place that does all three."""
    return question.read(host.run(question.command, timeout=timeout).check())
