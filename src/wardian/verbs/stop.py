"""`wardian stop`: end containers, gently first."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import click

from wardian.errors import WardianError
from wardian.hosts.base import Host
from wardian.runs.processes import end_all
from wardian.runs.record import Record
from wardian.runs.shelf import Run, Shelf
from wardian.runtimes import alive, runtime
from wardian.verbs import verb
from wardian.workspace import Workspace

STOP_SECONDS = 10
KILL_SECONDS = 30  # an engine clears away, and whoever watches writes the end down


@verb("stop", example="wardian stop @last\nwardian stop --time 60 long other")
@click.option(
    "--time", "patience", type=click.FloatRange(min=0), default=STOP_SECONDS, show_default=True, metavar="SECONDS"
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
def command(workspace: Workspace, runs: tuple[str, ...], patience: float) -> None:
    """Send SIGTERM to each run's program; after SECONDS, kill everything in the container.

    A run whose supervisor was killed is ended too, if its container still runs.
    """
    shelf = Shelf(workspace.state, workspace.home)
    asked = []
    for run in {run.record.id: run for run in map(shelf.find, runs)}.values():
        if over(run.record, workspace.host):
            workspace.console.note(f"run {run.record.id} is not running")
        else:
            asked.append(run)
    end_runs(asked, patience, workspace.host)
    ids = [run.record.id for run in asked]
    if ids or workspace.console.as_json:
        workspace.console.answer("\n".join(ids), ids)


def end_runs(runs: Sequence[Run], patience: float, host: Host) -> None:
    """Ask all of them to end, and end those that have not after ``patience`` seconds.

    Raises ``WardianError`` with those of which something is left even then.
    """
    for run in runs:
        ask(run.record, host)
    deadline = time.monotonic() + patience
    late = [run for run in runs if not waited(run, deadline, host)]
    if left := [run.record.id for run in late if not end(run, host)]:
        raise WardianError(f"killed, and still not over: {', '.join(left)}", hint="type: wardian ps")


def over(record: Record, host: Host) -> bool:
    """Whether nothing of a run is left, and its end is written down."""
    return record.state != "running" and record.id not in alive([record] if record.state == "lost" else [], host)


def waited(run: Run, deadline: float, host: Host) -> bool:
    """Wait until a run is over; False when the time is over first."""
    while not over(run.now(), host):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def end(run: Run, host: Host) -> bool:
    """Kill what is in the container, and say whether it is over then.

    Who still prepares one was asked to clear it away, and gets some seconds.
    """
    patience = time.monotonic() + 5
    while not (found := begun(run.now(), host)) and not over(run.now(), host) and time.monotonic() < patience:
        time.sleep(0.02)
    record = run.now()
    if found:
        runtime(record.engine).send(record, signal.SIGKILL, host)
    elif record.supervisor and record.init is None:  # else its program is gone, and it writes down how that ended
        end_all(record.supervisor.pid)
    return waited(run, time.monotonic() + KILL_SECONDS, host)


def begun(record: Record, host: Host) -> bool:
    """Whether there is a container to speak to."""
    return record.id in alive([record], host)


def ask(record: Record, host: Host) -> None:
    """Send SIGTERM to the program or, before there is one, to whoever prepares its container.

    Whoever waits for an engine's client hands it on.
    """
    watcher = record.supervisor if record.state == "running" else None
    if watcher and (record.engine != "sandbox" or record.sandbox is None):
        with suppress(ProcessLookupError):
            os.kill(watcher.pid, signal.SIGTERM)
    else:
        runtime(record.engine).send(record, signal.SIGTERM, host)
