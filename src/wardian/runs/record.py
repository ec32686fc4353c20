"""What a run leaves behind: one JSON file, written when it starts and when it ends."""

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from wardian.command import SECRET
from wardian.plan.containers import Bind
from wardian.runs.processes import Process

FILE = "record.json"
LOG = "log"
PATCH = "code.patch"
State = Literal["running", "finished", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Code:
    """Which code ran: a commit, and what the folder had beside it (the patch lies next to the record)."""

    revision: str | None = None
    prefix: str = ""  # the project's folder inside the repository, "" or "sub/folder/"
    patch: bool = False
    left_out: tuple[str, ...] = ()  # changed or new files that are not in the patch: secrets, and what is too large
    reason: str | None = None  # why there is no revision


@dataclass(frozen=True, slots=True)
class Record:
    """One run. Times are RFC 3339 in UTC. ``env`` holds what the call and ``[run]`` set; None: a value kept secret."""

    id: str
    image: str  # as it was asked for
    digest: str  # of the image's manifest
    argv: tuple[str, ...]
    workdir: str
    user: str
    host: str
    created: str
    state: State = "running"
    variant: str | None = None
    lock: str | None = None  # digest of the image's entry in the lock it was built from
    name: str | None = None
    project: str | None = None  # the project's folder, bound at ``at``
    at: str | None = None
    mounts: tuple[Bind, ...] = ()
    env: dict[str, str | None] = field(default_factory=dict)
    env_pass: tuple[str, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    shm: int = 64 * 1024**2
    network: bool = True
    read_only: bool = False
    detached: bool = False
    code: Code = Code()
    of: str | None = None  # the run that this one reproduces
    service: str | None = None  # the service of the file that this run is
    definition: str | None = None  # the digest of all that decided it, see plan.services
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    supervisor: Process | None = None
    init: Process | None = None  # the sandbox's first process
    fix_perms: bool = False  # what other users wrote under the mounts was to be given to the caller
    engine: str = "sandbox"
    container: str | None = None  # what an engine calls it

    def to_json(self) -> dict[str, Any]:
        """The record as JSON data."""
        return asdict(self)

    @property
    def sandbox(self) -> Process | None:
        """The sandbox's first process while it runs, also when nobody watches it any more."""
        return self.init if self.init and self.init.alive() else None

    def now(self) -> "Record":
        """The record with the state it has now: a run that nobody watches any more is lost."""
        if self.state != "running" or self.host != socket.gethostname():
            return self
        watched = self.supervisor is not None and self.supervisor.alive()
        return self if watched else replace(self, state="lost")


def from_json(data: Any) -> Record:
    """A record of JSON data. Raises ``ValueError`` for anything else; unknown keys (of a later version) are dropped."""
    try:
        known = {one.name: data[one.name] for one in fields(Record) if one.name in data}
        for name in ("supervisor", "init"):
            known[name] = Process(**known[name]) if known.get(name) else None
        for name in ("argv", "env_pass", "gpus"):
            known[name] = tuple(known.get(name, ()))
        known["mounts"] = tuple(Bind(**bind) for bind in known.get("mounts", ()))
        code = known.get("code", {})
        known["code"] = Code(**{**code, "left_out": tuple(code.get("left_out", ()))})
        return Record(**known)
    except (TypeError, KeyError, AttributeError) as error:
        message = f"not a run record: {error}"
        raise ValueError(message) from error


def new_id(moment: datetime) -> str:
    """An id that sorts by time, to the millisecond, and does not meet another: ``20261121-015432-123a1b``."""
    return f"{moment.astimezone(UTC):%Y%m%d-%H%M%S}-{moment.microsecond // 1000:03}{secrets.token_hex(2)[:3]}"


def stamp(moment: datetime) -> str:
    """A moment as RFC 3339 with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def public(env: dict[str, str]) -> dict[str, str | None]:
    """An environment as it may be written down."""
    return {name: None if SECRET.search(name) else value for name, value in env.items()}


def write(folder: Path, record: Record, *, durable: bool = True) -> None:
    """Put the record into a run's folder, whole or not at all; ``durable``: also when the power goes."""
    target = folder / FILE
    temporary = folder / f".{FILE}.{os.getpid()}"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(record.to_json(), file, indent=1, sort_keys=True)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(target)


def read(folder: Path) -> Record:
    """The record in a run's folder. Raises ``OSError`` or ``ValueError``."""
    return from_json(json.loads((folder / FILE).read_text(encoding="utf-8")))
