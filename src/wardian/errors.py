"""Everything Wardian raises on purpose, and the exit code each becomes.

    WardianError            1    expected: what happened to what, and what to type next
    ├── SpecError           2    the file or a flag is wrong; carries every fault at once
    ├── LockStale           1    the lock does not describe the project any more
    ├── CommandFailed       1    a program ran and said no
    ├── Unavailable         1    a program, a kernel feature or a server is not there
    ├── TestFailed          1    a named check inside an image failed
    ├── DigestMismatch      1    bytes are not the bytes that were asked for
    ├── WheelRefused        1    a wheel breaks the rules of its format, or lies
    └── EngineFailed        125  `run`, `exec`, `shell`: the engine failed, not the program

Anything else that reaches ``main`` is a bug and exits with 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class WardianError(Exception):
    """An expected failure: one line for the user, and a hint with the next thing to type."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the user's file: where (``images.train.apt[1]``), what, and a suggestion."""

    path: str
    message: str
    source: str | None = None
    line: int | None = None
    hint: str | None = None

    def __str__(self) -> str:
        source = f"{self.source}:{self.line}" if self.source and self.line else self.source
        said = ": ".join(part for part in (source, self.path, self.message) if part)
        return f"{said} ({self.hint})" if self.hint else said


class SpecError(WardianError):
    """The file or a flag is wrong; ``faults`` holds every fault that was found."""

    exit_code = 2

    def __init__(self, faults: list[Fault] | str, *, hint: str | None = None) -> None:
        self.faults = [Fault("", faults)] if isinstance(faults, str) else faults
        super().__init__("\n".join(str(fault) for fault in self.faults), hint=hint)


class LockStale(WardianError):
    """The lock does not describe the project any more; ``wardian lock`` mends it."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__("the lock is stale: " + "; ".join(reasons), hint="type: wardian lock")


class CommandFailed(WardianError):
    """A program ran and failed; ``code`` is its exit code, the message ends with its last lines."""

    def __init__(self, message: str, *, code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Unavailable(WardianError):
    """A program, a kernel feature or a server is not there; the hint says how to get it."""


class TestFailed(WardianError):
    """A named check inside an image failed."""

    __test__ = False  # not a test class, whatever pytest thinks of the name


class DigestMismatch(WardianError):
    """Bytes from outside are not the bytes that were asked for."""


class WheelRefused(WardianError):
    """A wheel breaks the rules of its format, or lies; the message names the wheel and the member."""

    def __init__(self, wheel: str, why: str, member: str | None = None) -> None:
        place = f"{wheel}: {member!r} " if member is not None else f"{wheel} "
        super().__init__(f"refused: {place}{why}", hint="take another version of it, or tell its maintainers")
        self.wheel = wheel
        self.member = member


class EngineFailed(WardianError):
    """The engine failed before, or instead of, the user's program. Source: docker-run(1), exit status 125."""

    exit_code = 125


def told(error: WardianError) -> dict[str, Any]:
    """An error as another process reads it."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def retold(said: Mapping[str, Any]) -> WardianError:
    """The error that another process of ours told: of the same kind, with the same words."""
    kind = globals().get(str(said["error"]))
    if not (isinstance(kind, type) and issubclass(kind, WardianError)):
        kind = WardianError
    error = kind.__new__(kind)
    WardianError.__init__(error, str(said["message"]), hint=said.get("hint"))
    return error
