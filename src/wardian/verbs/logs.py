"""`wardian logs`: what a detached run has written."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from wardian.errors import WardianError
from wardian.runs.record import LOG
from wardian.runs.shelf import Run, Shelf
from wardian.verbs import verb
from wardian.workspace import Workspace

_CHUNK = 65536


@verb("logs", example="wardian logs @last\nwardian logs -f --tail 20 long")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of what is there.")
@click.argument("run")
def command(workspace: Workspace, run: str, follow: bool, tail: int | None) -> None:  # noqa: FBT001 - click's
    """Print what a detached run wrote, stdout and stderr in their order, byte for byte.

    RUN is a run's id, the beginning of one, its name, or @last.
    """
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
