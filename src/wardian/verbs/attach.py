"""`wardian attach`: a shell in a container that runs."""

import click

from wardian.plan.launch import setting
from wardian.runs.shelf import Shelf
from wardian.runtimes import runtime
from wardian.runtimes.base import engine
from wardian.runtimes.dockerlike import SHELL
from wardian.verbs import verb
from wardian.verbs._choose import place_of
from wardian.verbs._engines import composed_with
from wardian.verbs.exec import enter, enter_service
from wardian.workspace import Workspace


@verb("attach", example="wardian attach @last\nwardian attach long")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
@click.option("-w", "--workdir", metavar="DIR", help="Folder to start in (default: the run's).")
@click.option("-t/-T", "tty", default=None, help="Give the shell a terminal, or none (default: as we have one).")
@click.argument("run")
@engine()
def command(workspace: Workspace, run: str, *, env: tuple[str, ...], workdir: str | None, tty: bool | None) -> int:
    """Open the best shell of a container that is running, as its user with its files and environment.

    Leaving the shell leaves the program running. RUN is a run's id, the beginning of one, its name, or @last; or a
    service.
    """
    variables = dict(setting(text) for text in env)
    if composed := composed_with(workspace, run):
        return enter_service(workspace, composed, run, SHELL, workdir=workdir, env=variables, tty=tty)
    found = Shelf(workspace.state, workspace.home).find(run).record
    words = runtime(found.engine).shell(found.digest, place_of(workspace))
    return enter(workspace, found, words, workdir=workdir, env=variables, tty=tty)
