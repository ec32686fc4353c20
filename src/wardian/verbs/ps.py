"""`wardian ps`: the containers that are running."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from wardian.runs.record import Record
from wardian.runs.shelf import Shelf
from wardian.runtimes import alive
from wardian.verbs import verb
from wardian.workspace import Workspace


@verb("ps", example="wardian ps\nwardian ps --all --json")
@click.option("-a", "--all", "everything", is_flag=True, help="Also runs that have ended.")
def command(workspace: Workspace, everything: bool) -> None:  # noqa: FBT001 - click hands flags over
    """List the project's containers. Whether one runs is asked of the kernel or the engine, not of the record.

    One that is lost still runs, but nobody waits for its end any more: wardian stop ends it.
    """
    runs = [run.record for run in Shelf(workspace.state, workspace.home).all()]
    say_where(workspace, runs)
    left = alive([record for record in runs if record.state == "lost"], workspace.host)
    shown = [record for record in runs if everything or record.state == "running" or record.id in left]
    rows = [(one.id, one.name or "", one.image, state(one), age(one), program(one)) for one in shown]
    columns = ("run", "name", "image", "state", "age", "program")
    workspace.console.table(columns, rows, [one.to_json() for one in shown])


def say_where(workspace: Workspace, runs: Sequence[Record]) -> None:
    """One line for somebody who looks for runs in the wrong folder."""
    if not runs:
        workspace.console.note(f"nothing was run in {workspace.root}")


def state(record: Record) -> str:
    """The state in a word or two: ``running``, ``exit 3``, ``SIGKILL``, ``failed``, ``lost``."""
    if record.state != "finished":
        return record.state
    if record.signal:
        from signal import Signals

        return (
            Signals(record.signal).name if record.signal in Signals.__members__.values() else f"signal {record.signal}"
        )
    return f"exit {record.exit_code}"


def age(record: Record) -> str:
    """How long ago the run was made: ``42 s``, ``3 min``, ``5 h``, ``2 d``."""
    return ago(record.created)


def ago(stamp: str) -> str:
    """How long ago a moment was."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def program(record: Record, width: int = 60) -> str:
    """The words of the program on one line, cut."""
    line = shlex.join(record.argv).replace("\n", "⏎")
    return line if len(line) <= width else line[: width - 1] + "…"
