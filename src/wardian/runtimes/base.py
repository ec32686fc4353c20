"""What a runtime can do: turn a container into one command, and enter a container that runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from wardian.command import Command
from wardian.errors import EngineFailed, SpecError, WardianError
from wardian.hosts.base import Host
from wardian.plan.containers import Container
from wardian.registry.progress import Progress, Task
from wardian.runs.record import Record
from wardian.runs.supervise import Outcome
from wardian.store.store import Store

if TYPE_CHECKING:
    from wardian.hosts.survey import Finding


class _Silent:
    """Shows nothing."""

    def task(self, title: str, total: float | None = None) -> AbstractContextManager[Task]:
        """A task that nobody sees."""
        return nullcontext(self)

    def advance(self, amount: float) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


def silent() -> AbstractContextManager[Progress]:
    """No display."""
    return nullcontext(_Silent())


@dataclass(frozen=True)
class Place:
    """Where a container runs: the host, the store that holds its image, what shows long work."""

    host: Host
    store: Store
    progress: Callable[[], AbstractContextManager[Progress]] = silent


@dataclass(frozen=True, slots=True)
class Missing:
    """The program of a container cannot be started: what a shell would say, and its exit code (127 or 126)."""

    reason: str
    code: int


def _as_it_is(outcome: Outcome) -> Outcome:
    return outcome


@dataclass(frozen=True, slots=True)
class Ready:
    """A command that starts the container. ``missing``: what is known before to be wrong with its program.

    An engine's client tells less than a sandbox. ``watch``: a command that tells when the program began (see
    ``runs.supervise.attend``); None: the command itself does, on the status pipe. ``settle`` makes of how the client
    ended how the program did; it must be called once the client has ended. ``send``: see ``attend``.
    """

    command: Command
    missing: Missing | None = None
    watch: Command | None = None
    settle: Callable[[Outcome], Outcome] = _as_it_is
    send: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that an engine has: its id there, its names there, and how many bytes were moved for it."""

    id: str
    names: tuple[str, ...] = ()
    sent: int = 0
    how: str = "there already"  # or: pulled, archive


class Runtime(Protocol):
    """A driver: a module with these functions."""

    def ready(
        self,
        container: Container,
        place: Place,
        *,
        name: str | None = None,
        status_fd: int | None = None,
        die_with_parent: bool = True,
    ) -> AbstractContextManager[Ready]:
        """Everything the container needs on this host, for as long as the block lasts.

        The command's exit code is the program's; 125 when the engine failed. ``name`` is the run's id, by which an
        engine knows the container again. With ``status_fd`` a sandbox reports there in bwrap's way.
        ``die_with_parent``: killing the command and leaving the block ends everything in the container.
        """
        ...

    def enter(
        self, record: Record, argv: tuple[str, ...], workdir: str | None, env: Mapping[str, str], *, tty: bool
    ) -> Command:
        """A command that runs a program in a container that runs: same user and files, ``env`` over its environment."""
        ...

    def alive(self, records: Sequence[Record], host: Host) -> set[str]:
        """The ids of those runs whose container runs, whatever became of who watched it."""
        ...

    def send(self, record: Record, number: int, host: Host) -> None:
        """Send a signal to the program of a container that runs; SIGKILL ends everything in it."""
        ...

    def restore(self, container: Container, since: float, place: Place) -> None:
        """Give what the program, as another user, wrote under writable mounts since a moment to the caller."""
        ...

    def shell(self, image: str, place: Place) -> tuple[str, ...]:
        """The words that start the best shell that an image has. Raises ``EngineFailed`` when it has none."""
        ...


class Loader(Protocol):
    """What a driver of an engine with an image store of its own can do besides."""

    def load(self, image: str, place: Place) -> Loaded:
        """Bring the image with this manifest digest to the engine, under its names of the store."""
        ...

    def has(self, image: str, place: Place) -> bool:
        """Whether the engine has it."""
        ...

    def finding(self, host: Host) -> "Finding":
        """What is here of the engine, and what it lacks; for the doctor."""
        ...


@contextmanager
def engine() -> Iterator[None]:
    """Whatever goes wrong in here is the engine's failure, not the program's: exit code 125. Decorates a verb, too."""
    try:
        yield
    except (EngineFailed, SpecError, BrokenPipeError):
        raise
    except WardianError as error:
        raise EngineFailed(error.message, hint=error.hint) from error
    except OSError as error:
        raise EngineFailed(f"{error.strerror}: {error.filename or 'the sandbox could not be made'}") from error
