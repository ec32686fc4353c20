"""`wardian logs`: what a detached run has written."""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from wardian.errors import WardianError
from wardian.runs.record import LOG
from wardian.runs.shelf import Run, Shelf
from wardian.runs.supervise import attend
from wardian.runs.terminal import streams
from wardian.verbs import verb
from wardian.verbs._composed import Composed
from wardian.verbs._engines import composed_in_use, composed_with
from wardian.verbs._services import own_failure, service_runs
from wardian.workspace import Workspace

_CHUNK = 65536


@verb("logs", example="wardian logs @last\nwardian logs -f --tail 20 long\nwardian logs")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of what is there.")
@click.argument("run", required=False)
@own_failure()
def command(workspace: Workspace, run: str | None, follow: bool, tail: int | None) -> int:  # noqa: FBT001 - click's
    """Print what a detached run or a service wrote, stdout and stderr in their order, byte for byte.

    RUN is a service, a run's id, the beginning of one, its name, or @last. Without it: the latest of every service,
    each line with the service's name before it.
    """
    if run is None:
        _services(workspace, follow=follow, tail=tail)
        return 0
    if (composed := composed_with(workspace, run)) and (
        printing := composed.log_command(run, follow=follow, tail=tail)
    ):
        return attend(printing, None, streams(tty=None), environ=workspace.environ).code
    found = Shelf(workspace.state, workspace.home).find(run)
    path = found.folder / LOG
    if not path.exists():
        where = "was in the foreground: its output went to the terminal" if not found.record.detached else "has no log"
        raise WardianError(f"run {found.record.id} {where}", hint="type: wardian run --detach …")
    with path.open("rb") as file:
        file.seek(start(path, tail) if tail is not None else 0)
        for chunk in chunks(file.fileno(), found, follow=follow):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    return 0


def _services(workspace: Workspace, *, follow: bool, tail: int | None) -> None:
    """The logs of all services, line by line."""
    runs = service_runs(workspace)
    if composed := next((one for one in composed_in_use(workspace) if one.seen()), None):
        _composed(workspace, composed, follow=follow, tail=tail)
        return
    if not runs:
        raise WardianError("no service of this project has written anything", hint="type: wardian up, or name a run")
    width = max(map(len, runs))
    open_: list[tuple[bytes, Run, BinaryIO]] = []
    with ExitStack() as stack:
        for name, run in runs.items():
            path = run.folder / LOG
            if not path.exists():  # it is only starting
                continue
            log = stack.enter_context(path.open("rb"))
            log.seek(start(path, tail) if tail is not None else 0)
            open_.append((f"{name.ljust(width)} | ".encode(), run, log))
        while open_:
            ended = [entry for entry in open_ if not follow or entry[1].now().state != "running"]
            for entry in open_:
                for line in _whole_lines(entry[2], rest=entry in ended):
                    sys.stdout.buffer.write(entry[0] + line + b"\n")
            sys.stdout.buffer.flush()
            open_ = [entry for entry in open_ if entry not in ended]
            time.sleep(0.2 if open_ else 0)


def _composed(workspace: Workspace, engine: Composed, *, follow: bool, tail: int | None) -> None:
    """The logs of the containers of services, each read by a thread of its own."""
    names = list(engine.seen())
    width = max(map(len, names))

    def say(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    def show(name: str) -> None:
        if printing := engine.log_command(name, follow=follow, tail=tail):
            workspace.host.stream(printing, line=lambda text: say(f"{name.ljust(width)} | {text}\n")).check()

    with ThreadPoolExecutor(len(names) if follow else 1) as pool:
        list(pool.map(show, names))


def _whole_lines(file: BinaryIO, *, rest: bool) -> Iterator[bytes]:
    """The lines that are there by now; one that is still being written waits, unless it is the ``rest``."""
    for line in file:
        if not line.endswith(b"\n") and not rest:
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield line.rstrip(b"\n")


def chunks(descriptor: int, run: Run, *, follow: bool) -> Iterator[bytes]:
    """What the file holds and, with ``follow``, what comes until the run has ended."""
    while True:
        over = not follow or run.now().state != "running"
        while chunk := os.read(descriptor, _CHUNK):
            yield chunk
        if over:
            return
        time.sleep(0.2)


def start(path: Path, lines: int) -> int:
    """Where the last ``lines`` lines of a file begin, read from its end."""
    if not lines:
        return path.stat().st_size
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        seen = 0
        first = True
        while at > 0:
            step = min(_CHUNK, at)
            at -= step
            file.seek(at)
            block = file.read(step)
            end = len(block) - 1 if first and block.endswith(b"\n") else len(block)
            first = False
            while (found := block.rfind(b"\n", 0, end)) >= 0:
                seen += 1
                if seen == lines:
                    return at + found + 1
                end = found
    return 0
