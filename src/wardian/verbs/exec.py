"""`wardian exec`: one more program in a container that runs."""

import click

from wardian.errors import SpecError
from wardian.plan.launch import setting
from wardian.runs.shelf import Shelf
from wardian.runs.supervise import attend
from wardian.runs.terminal import streams
from wardian.runtimes import runtime
from wardian.runtimes.base import engine
from wardian.verbs import verb
from wardian.verbs._attempt import masked
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

    RUN is a run's id, the beginning of one, its name, or @last. Exit codes are those of `wardian run`.
    """
    words = argv[1:] if argv[:1] == ("--",) else argv
    if not words:
        raise SpecError("which program?", hint=f"type: wardian exec {run} -- PROGRAM ARGUMENTS…")
    found = Shelf(workspace.state, workspace.home).find(run).record
    entering = runtime().enter(found, words, workdir, dict(setting(text) for text in env))
    workspace.console.trace(masked(entering))
    return attend(entering, None, streams(tty=tty), environ=workspace.environ).code
