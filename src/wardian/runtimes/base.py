"""What a runtime can do: turn a container into one command, and enter a container that runs."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from wardian.command import Command
from wardian.errors import EngineFailed, SpecError, WardianError
from wardian.hosts.base import Host
from wardian.plan.containers import Container
from wardian.runs.record import Record
from wardian.store.store import Store


@dataclass(frozen=True)
class Place:
    """Where a container runs: the host, and the store that holds its image."""

    host: Host
    store: Store


@dataclass(frozen=True, slots=True)
class Missing:
    """The program of a container cannot be started: what a shell would say, and its exit code (127 or 126)."""

    reason: str
    code: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A command that starts the container. ``missing``: what is known before to be wrong with its program."""

    command: Command
    missing: Missing | None = None


class Runtime(Protocol):
    """A driver: a module with these functions."""

    def ready(
        self, container: Container, place: Place, *, status_fd: int | None = None, die_with_parent: bool = True
    ) -> AbstractContextManager[Ready]:
        """Everything the container needs on this host, for as long as the block lasts.

        The command's exit code is the program's; 125 when the engine failed. With ``status_fd`` it reports there in
        bwrap's way. ``die_with_parent``: killing the command ends everything in the container.
        """
        ...

    def enter(self, record: Record, argv: tuple[str, ...], workdir: str | None, env: Mapping[str, str]) -> Command:
        """A command that runs a program in a container that runs: same user and files, ``env`` over its environment."""
        ...

    def shell(self, image: str, place: Place) -> str:
        """The best shell that an image has. Raises ``EngineFailed`` when it has none."""
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
