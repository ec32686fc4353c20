"""`wardian stop`: end containers, gently first."""

import os
import signal
import time

import click

from wardian.errors import WardianError
from wardian.runs.processes import Process, end_all, gone, program
from wardian.runs.record import Record
from wardian.runs.shelf import Run, Shelf
from wardian.verbs import verb
from wardian.workspace import Workspace


@verb("stop", example="wardian stop @last\nwardian stop --time 60 long other")
@click.option("--time", "patience", type=click.FloatRange(min=0), default=10, show_default=True, metavar="SECONDS")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
def command(workspace: Workspace, runs: tuple[str, ...], patience: float) -> None:
    """Send SIGTERM to each run's program; after SECONDS, kill everything in the container.

    A run whose supervisor was killed is ended too, if its sandbox still runs.
    """
    shelf = Shelf(workspace.state, workspace.home)
    found = [shelf.find(word) for word in runs]
    ended = []
    for run in found:
        sandbox = _alive(run.record)
        if sandbox is None and run.record.state != "running":
            workspace.console.note(f"run {run.record.id} is not running")
            continue
        if sandbox is None:
            raise WardianError(
                f"run {run.record.id} is only starting", hint=f"type again: wardian stop {run.record.id}"
            )
        _ask(sandbox)
        ended.append((run, sandbox))
    deadline = time.monotonic() + patience
    for run, sandbox in ended:
        if not gone(sandbox, max(0, deadline - time.monotonic())):
            end_all(sandbox.pid)
        gone(sandbox, 5)
        _settle(shelf, run)
    ids = [run.record.id for run, _ in ended]
    workspace.console.answer("\n".join(ids), ids)


def _alive(record: Record) -> Process | None:
    return record.init if record.init and record.init.alive() else None


def _ask(sandbox: Process) -> None:
    target = program(sandbox.pid)
    if target is None:
        return
    try:
        os.kill(target, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:  # it became another user of its range of ids
        end_all(sandbox.pid)


def _settle(shelf: Shelf, run: Run) -> None:
    """Wait until the supervisor has written the end down."""
    for _ in range(100):
        if shelf.find(run.record.id).record.state != "running":
            return
        time.sleep(0.05)
