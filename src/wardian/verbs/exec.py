"""`wardian exec`: one more program in a container that runs."""

import click

from wardian.errors import EngineFailed, SpecError
from wardian.plan.launch import setting
from wardian.runs.record import Record
from wardian.runs.shelf import Shelf
from wardian.runs.supervise import attend
from wardian.runs.terminal import streams, wants_tty
from wardian.runtimes import runtime
from wardian.runtimes.base import engine
from wardian.verbs import verb
from wardian.verbs._composed import Composed
from wardian.verbs._engines import composed_with
from wardian.workspace import Workspace


@verb(
    "exec",
    example="wardian exec @last -- nvidia-smi\nwardian exec long -- sh -c 'ls runs'",
    context_settings={"allow_interspersed_args": False},
)
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
@click.option("-w", "--workdir", metavar="DIR", help="Folder to start in (default: the run's).")
@click.option("-t/-T", "tty", default=None, help="Give the program a terminal, or none (default: as we have one).")
@click.argument("run")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
@engine()
def command(
    workspace: Workspace,
    run: str,
    argv: tuple[str, ...],
    *,
    env: tuple[str, ...],
    workdir: str | None,
    tty: bool | None,
) -> int:
    """Run a program in a container that is running, as the same user with the same files and environment.

    RUN is a run's id, the beginning of one, its name, or @last; or a service. Exit codes are those of `wardian run`.
    """
    words = argv[1:] if argv[:1] == ("--",) else argv
    if not words:
        raise SpecError("which program?", hint=f"type: wardian exec {run} -- PROGRAM ARGUMENTS…")
    variables = dict(setting(text) for text in env)
    if composed := composed_with(workspace, run):
        return enter_service(workspace, composed, run, words, workdir=workdir, env=variables, tty=tty)
    found = Shelf(workspace.state, workspace.home).find(run).record
    return enter(workspace, found, words, workdir=workdir, env=variables, tty=tty)


def enter_service(
    workspace: Workspace,
    composed: Composed,
    name: str,
    words: tuple[str, ...],
    *,
    workdir: str | None,
    env: dict[str, str],
    tty: bool | None,
) -> int:
    """Run a program in the container of a service; its exit code."""
    entering = composed.enter_command(name, words, workdir=workdir, env=env, tty=wants_tty(tty=tty))
    if entering is None:
        raise EngineFailed(f"service {name} is not running", hint=f"type: wardian up {name}")
    workspace.console.trace(entering)
    return attend(entering, None, streams(tty=tty, raw=True), environ=workspace.environ).code


def enter(
    workspace: Workspace,
    record: Record,
    words: tuple[str, ...],
    *,
    workdir: str | None,
    env: dict[str, str],
    tty: bool | None,
) -> int:
    """Run a program in a run's container; its exit code. What ``exec`` and ``attach`` share."""
    driver = runtime(record.engine)
    running = record.state == "running" or (record.state == "lost" and driver.alive([record], workspace.host))
    if not running:
        raise EngineFailed(f"run {record.id} is not running: it is {record.state}", hint="type: wardian ps")
    entering = driver.enter(record, words, workdir, env, tty=wants_tty(tty=tty))
    workspace.console.trace(entering)
    return attend(entering, None, streams(tty=tty, raw=record.engine != "sandbox"), environ=workspace.environ).code
