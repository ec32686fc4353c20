"""The layer of some wheels, written to a file: by this process, or by one of its own, which shares no interpreter lock.

    python -P -m wardian.builders.wheels PARENT    < a Job as JSON    > a LayerRecord, or an error, as JSON

It imports little, because a process of its own only pays when it starts quickly.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wardian.errors import WardianError, told
from wardian.oci.splice import write_wheels
from wardian.oci.wheelfile import WheelFile
from wardian.store.files import creating, disk_error
from wardian.store.record import LayerRecord

_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A wheel of the store: where it is, its file name, and whether the user asked for it by name."""

    path: str
    filename: str
    requested: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A layer to write: ``target`` becomes the file, on the disk of the store at ``root``."""

    target: str
    root: str
    title: str
    packages: tuple[str, ...]
    sources: tuple[Source, ...]
    prefix: str
    python: str
    epoch: int

    def to_json(self) -> dict[str, Any]:
        """The job as it is handed over."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Job":
        """The job that was handed over."""
        sources = tuple(Source(**one) for one in data["sources"])
        return cls(**{**data, "sources": sources, "packages": tuple(data["packages"])})


def write(job: Job, check: Callable[[], None]) -> LayerRecord:
    """Write the layer; ``check`` is called again and again, and ends it by raising. Raises ``WheelRefused``."""
    with ExitStack() as stack:
        wheels = [
            WheelFile(one.filename, stack.enter_context(Path(one.path).open("rb")), one.requested)
            for one in job.sources
        ]
        out = stack.enter_context(creating(Path(job.target), Path(job.root), check))
        blob = write_wheels(out, wheels, prefix=job.prefix, python=job.python, mtime=job.epoch)
    return LayerRecord.of(blob, job.title, job.packages)


def main(argv: Sequence[str]) -> int:
    """The program; it is told which process waits for it, and dies with that one."""
    _die_with(int(argv[0]))
    try:
        said = write(Job.from_json(json.load(sys.stdin)), lambda: None).to_json()
    except WardianError as error:
        said = told(error)
    except OSError as error:
        if (known := disk_error(error)) is None:
            raise
        said = told(known)
    json.dump(said, sys.stdout)
    return "error" in said


def _die_with(parent: int) -> None:
    """Be killed when the thread that started this process ends, which waits for it. Source: prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was quicker
        sys.exit("nobody waits for this layer any more")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
