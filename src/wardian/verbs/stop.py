"""`wardian stop`: end containers, gently first."""

import os
import signal
import time

import click

from wardian.runs.processes import end_all, program
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
    asked = []
    for run in {run.record.id: run for run in map(shelf.find, runs)}.values():
        if over(run.record):
            workspace.console.note(f"run {run.record.id} is not running")
        else:
            ask(run.record)
            asked.append(run)
    deadline = time.monotonic() + patience
    for run in asked:
        if not waited(run, deadline):
            end(run)
    ids = [run.record.id for run in asked]
    workspace.console.answer("\n".join(ids), ids)


def over(record: Record) -> bool:
    """Whether nothing of a run is left, and its end is written down."""
    return record.state != "running" and record.sandbox is None


def waited(run: Run, deadline: float) -> bool:
    """Wait until a run is over; False when the time is over first."""
    while not over(run.now()):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def end(run: Run) -> None:
    """Kill what is in the sandbox; who still prepares one was asked to clear it away, and gets some seconds for it."""
    patience = time.monotonic() + 5
    while (record := run.now()).sandbox is None and not over(record) and time.monotonic() < patience:
        time.sleep(0.02)
    kill(record)
    waited(run, time.monotonic() + 5)


def ask(record: Record) -> None:
    """Send SIGTERM to the program or, before there is one, to whoever prepares its sandbox."""
    target = program(record.sandbox.pid) if record.sandbox else record.supervisor and record.supervisor.pid
    try:
        if target:
            os.kill(target, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:  # it became another user of its range of ids
        kill(record)


def kill(record: Record) -> None:
    """End everything in the sandbox or, before there is one, whoever prepares it."""
    if process := record.sandbox or record.supervisor:
        end_all(process.pid)
