"""One argument vector to run, what came of it, and a question that is asked by running one."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from wardian.errors import CommandFailed

SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)  # in a variable's name
_PASSWORD = re.compile(r"(://[^/@\s:]*):[^/@\s]+@")  # in an address
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """One argument vector; never a shell string. Only one that has ``changes=False`` may be retried."""

    argv: tuple[str, ...]
    stdin: bytes | None = None
    env: Mapping[str, str] = field(default_factory=dict)  # added to the host's environment
    cwd: str | None = None
    changes: bool = False

    def shown(self) -> "Command":
        """The command as it may be shown: no value of a variable named like a secret, no password in an address.

        A variable may hold another one as ``NAME=value``: so they travel into a sandbox.
        """
        env = {}
        for key, value in self.env.items():
            name, equals, _ = value.partition("=")
            hidden = "***" if SECRET.search(key) else f"{name}=***" if equals and SECRET.search(name) else value
            env[key] = _PASSWORD.sub(r"\1:***@", hidden)
        return replace(self, argv=tuple(_PASSWORD.sub(r"\1:***@", word) for word in self.argv), env=env)

    def __str__(self) -> str:
        """Write the command so that it can be pasted into a POSIX shell."""
        words = [*(f"{name}={shlex.quote(value)}" for name, value in self.env.items()), shlex.join(self.argv)]
        return f"(cd {shlex.quote(self.cwd)} && {' '.join(words)})" if self.cwd else " ".join(words)


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished command left: exit code (``128 + n`` after signal n) and its output."""

    command: Command
    code: int
    stdout: bytes = b""
    stderr: bytes = b""

    def check(self) -> "Result":
        """This result, or ``CommandFailed`` with the last lines the program wrote."""
        if self.code:
            said = (self.stderr or self.stdout).decode(errors="replace").strip().splitlines()[-6:]
            program = self.command.argv[0].rsplit("/", 1)[-1]
            raise CommandFailed(f"{program} exited with {self.code}: " + " | ".join(said), code=self.code)
        return self


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A command, and the pure function that reads its answer."""

    command: Command
    read: Callable[[Result], T]
