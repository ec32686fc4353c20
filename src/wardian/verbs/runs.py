"""`wardian runs`: past runs, and all that is known of one."""

import shlex
from typing import Any

import click

from wardian.errors import SpecError
from wardian.runs.record import PATCH, Record
from wardian.runs.shelf import Run, Shelf
from wardian.verbs import verb
from wardian.verbs.ps import program, say_where, state
from wardian.workspace import Workspace


@verb("runs", example="wardian runs\nwardian runs show @last\nwardian runs --last 5 --json")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the latest N.")
@click.argument("what", required=False, type=click.Choice(["list", "show"]), default="list")
@click.argument("run", required=False)
def command(workspace: Workspace, what: str, run: str | None, last: int | None) -> None:
    """List the project's runs, or show one: RUN is its id, the beginning of one, its name, or @last."""
    shelf = Shelf(workspace.state, workspace.home)
    if what == "show":
        if run is None:
            raise SpecError("which run?", hint="type: wardian runs show @last")
        found = shelf.find(run)
        data = {**found.record.to_json(), "folder": str(found.folder)}
        workspace.console.answer(shown(found), data)
        return
    if run is not None:
        raise SpecError(f"runs list takes no {run!r}", hint=f"type: wardian runs show {run}")
    every = [one.record for one in shelf.all()][-(last or 0) :]
    say_where(workspace, every)
    rows = [
        (one.id, one.name or "", one.variant or one.image, state(one), duration(one), code(one), program(one))
        for one in every
    ]
    columns = ("run", "name", "image", "state", "seconds", "code", "program")
    workspace.console.table(columns, rows, [one.to_json() for one in every])


def duration(record: Record) -> str:
    """The seconds a run took, or nothing while it is not known."""
    return "" if record.seconds is None else f"{record.seconds:.1f}"


def code(record: Record) -> str:
    """The commit, short, with a + when there was more beside it."""
    if record.code.revision is None:
        return "-"
    return record.code.revision[:8] + ("+" if record.code.patch or record.code.left_out else "")


def shown(run: Run) -> str:
    """All that is known of a run, one line each."""
    record = run.record
    lines: dict[str, Any] = {
        "run": record.id + (f" ({record.name})" if record.name else ""),
        "state": state(record),
        "image": f"{record.image}  {record.digest}",
        "lock": record.lock,
        "program": shlex.join(record.argv),
        "folder": f"{record.workdir} as {record.user}",
        "code": _code(record),
        "left out": ", ".join(record.code.left_out),
        "mounts": ", ".join(f"{one.source} → {one.target}{' (ro)' if one.read_only else ''}" for one in record.mounts),
        "environment": " ".join(
            f"{name}={'(hidden)' if value is None else shlex.quote(value)}" for name, value in record.env.items()
        ),
        "handed on": ", ".join(record.env_pass),
        "ports": ", ".join(f"{name} {port}" for name, port in record.ports.items()),
        "gpus": ", ".join(record.gpus),
        "started": record.started,
        "finished": record.finished,
        "seconds": duration(record),
        "exit code": record.exit_code,
        "host": record.host,
        "reproduces": record.of,
        "record": str(run.folder),
        "patch": str(run.folder / PATCH) if record.code.patch else None,
    }
    width = max(len(name) for name in lines)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines.items() if value not in (None, ""))


def _code(record: Record) -> str:
    if record.code.revision is None:
        return record.code.reason or ""
    beside = " and a patch" if record.code.patch else ""
    return f"{record.code.revision}{beside}{f' ({record.code.reason})' if record.code.reason else ''}"
