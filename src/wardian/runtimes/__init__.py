"""Container → running process."""

from collections.abc import Sequence
from importlib import import_module
from typing import cast

from wardian.errors import EngineFailed
from wardian.hosts.base import Host
from wardian.runs.record import Record
from wardian.runtimes.base import Loader, Runtime

RUNTIMES = {
    "sandbox": "wardian.runtimes.sandbox",
    "docker": "wardian.runtimes.docker",
    "podman": "wardian.runtimes.podman",
}


def runtime(name: str = "sandbox") -> Runtime:
    """The driver with this name."""
    return cast("Runtime", import_module(RUNTIMES[name]))


def loader(name: str) -> Loader:
    """The driver with this name, which must be of an engine with an image store of its own."""
    return cast("Loader", import_module(RUNTIMES[name]))


def alive(records: Sequence[Record], host: Host) -> set[str]:
    """The ids of those runs whose container runs; an engine that does not answer has none that we could reach."""
    found: set[str] = set()
    for name in dict.fromkeys(record.engine for record in records if record.engine in RUNTIMES):
        try:
            found |= runtime(name).alive([record for record in records if record.engine == name], host)
        except EngineFailed:
            continue
    return found
