"""`wardian run`: one program in an image, with its exact words, its exact exit code, and a record."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from wardian.errors import Fault, SpecError
from wardian.hosts.session import caller, free_ports, hindered, session
from wardian.plan.forward import forwarded
from wardian.plan.launch import ENV_NAME, Machine, Wishes, container, mount, project_binds, setting
from wardian.runs.terminal import streams, wants_tty
from wardian.runtimes import runtime
from wardian.runtimes.base import engine
from wardian.spec.units import size
from wardian.verbs import verb
from wardian.verbs._attempt import Launch, go, go_detached
from wardian.verbs._choose import Chosen, check_mounts, choose, engine_of, gpus, place_of, run_table, say_unset, sites
from wardian.workspace import Workspace

ENGINES = ("auto", "sandbox", "docker", "podman")
PROGRAM = {"ignore_unknown_options": False, "allow_interspersed_args": False}


def container_options(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The options that `run` and `shell` share."""
    options = [
        click.option("-i", "--image", metavar="IMAGE", help="Image to run (default: [run].image, or the only one)."),
        click.option("--name", metavar="NAME", help="A name for the run, used in place of its id."),
        click.option("--engine", type=click.Choice(ENGINES), help="What runs it (default: [run].engine)."),
        click.option("--user", metavar="WHO", help="host, root or UID:GID (default: [run].user)."),
        click.option(
            "--fix-perms/--no-fix-perms", default=None, help="At the end, give what other users wrote in mounts to you."
        ),
        click.option("-e", "--env", "env", multiple=True, metavar="NAME=VALUE", help="Set a variable."),
        click.option("--env-pass", multiple=True, metavar="NAME", help="Hand on a variable; its value is never shown."),
        click.option("-m", "--mount", "mounts", multiple=True, metavar="SOURCE:TARGET[:ro]", help="Bind a path."),
        click.option("--gpus", metavar="WHICH", help="auto, all, none, a count, or ids with commas (one: '0,')."),
        click.option("--shm", metavar="SIZE", help="Size of /dev/shm, as 16g (default: [run].shm)."),
        click.option("--no-network", is_flag=True, help="Only the loopback interface."),
        click.option("-w", "--workdir", metavar="DIR", help="Folder to start in."),
        click.option("--no-project", is_flag=True, help="Do not bind the project's folder."),
        click.option("--read-only", is_flag=True, help="No writable scratch over the image, save /tmp."),
        click.option(
            "-t/-T", "tty", default=None, help="Give the program a terminal, or none (default: as we have one)."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@verb(
    "run",
    example="wardian run -- python train.py --lr 3e-4\nwardian run -d --name long -- python train.py\n"
    "wardian run --image train --env SEED=1 --env-pass WANDB_API_KEY -- python train.py",
    context_settings=PROGRAM,
)
@container_options
@click.option("-d", "--detach", is_flag=True, help="Run in the background and print the run's id.")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def command(workspace: Workspace, argv: tuple[str, ...], detach: bool, **flags: Any) -> int:  # noqa: FBT001 - click's
    """Run a program in an image; without one, the image's own command.

    Words after -- reach the program unchanged and its exit code comes back: 128 + n when signal n ended it, 125 when
    the sandbox failed before it, 127 and 126 when the image has no such program. The project's folder is bound where
    the image works; what the program writes there belongs to you.
    """
    if detach and flags["tty"]:
        raise SpecError([Fault("-t", "a detached run has no terminal")])
    return run(workspace, argv, flags, detach=detach)


@engine()
def run(
    workspace: Workspace, argv: tuple[str, ...], flags: dict[str, Any], *, detach: bool = False, own_shell: bool = False
) -> int:
    """Plan the container that flags and words ask for, and run it; ``own_shell``: the image's own shell."""
    chosen = choose(workspace, flags["image"])
    wishes = _wishes(workspace, argv, flags, detach=detach)
    name = engine_of(workspace, flags["engine"])
    if own_shell:
        wishes = replace(wishes, argv=runtime(name).shell(chosen.digest, place_of(workspace)), entrypoint=False)
    launch = replace(plan(workspace, chosen, wishes, flags), engine=name)
    if detach:
        return go_detached(workspace, launch)
    return go(workspace, launch, streams(tty=flags["tty"], raw=name != "sandbox"))


def plan(workspace: Workspace, chosen: Chosen, wishes: Wishes, flags: dict[str, Any]) -> Launch:
    """The container for one call, with the one-line notes that belong to it."""
    table = run_table(workspace)
    ports = free_ports(table.ports)
    if ports:
        said = ", ".join(f"{name} {_port(port, table.ports[name])}" for name, port in ports.items())
        workspace.console.note(f"ports: {said}")
    mounts = workspace.spec.mounts if workspace.has_project else {}
    given = forwarded(table.forward, session(workspace.environ))
    for line in given.notes:
        workspace.console.note(line)
    machine = Machine(
        caller(),
        str(workspace.root),
        ports,
        gpus(workspace, flags["gpus"]),
        os.environ.get("TERM"),
        services=services(workspace),
        sites=sites(workspace, chosen, mounts),
        forwarded=given,
    )
    made = container(chosen.digest, chosen.config, table, mounts=mounts, wishes=wishes, machine=machine)
    check_mounts(made.binds, workspace.home)
    say_unset(workspace, made.env_pass)
    at = next((bind.target for bind in made.binds if wishes.project and bind.source == wishes.project), None)
    own = {*project_binds(chosen.config, wishes.project, at), *given.binds}  # a record has them not: they are made anew
    return Launch(
        container=made,
        chosen=chosen,
        env={**table.env, **wishes.env},
        project=wishes.project,
        at=at,
        mounts=tuple(bind for bind in made.binds if bind not in own),
        user=wishes.user or table.user,
        ports=ports,
        name=flags["name"],
        fix_perms=table.fix_perms if flags["fix_perms"] is None else flags["fix_perms"],
    )


def services(workspace: Workspace) -> dict[str, str]:
    """What a run is told of the services beside it. Where the file has none, their engines are not even imported."""
    if not workspace.has_project or not workspace.spec.services:
        return {}
    from wardian.verbs._engines import variables

    return variables(workspace)


def _wishes(workspace: Workspace, argv: tuple[str, ...], flags: dict[str, Any], *, detach: bool) -> Wishes:
    faults = [Fault("--env-pass", f"{name!r} is no name") for name in flags["env_pass"] if not ENV_NAME.fullmatch(name)]
    if flags["workdir"] is not None and not flags["workdir"].startswith("/"):
        said = f"{flags['workdir']!r} is not absolute"
        faults.append(Fault("--workdir", said, hint="it is a folder of the image, as in: /workspace"))
    try:
        shm = None if flags["shm"] is None else size(flags["shm"] if not flags["shm"].isdigit() else int(flags["shm"]))
    except ValueError as error:
        faults.append(Fault("--shm", str(error)))
    if faults:
        raise SpecError(faults)
    return Wishes(
        argv=argv,
        user=flags["user"],
        env=dict(setting(text) for text in flags["env"]),
        env_pass=flags["env_pass"],
        mounts=tuple(mount(_from_here(text)) for text in flags["mounts"]),
        shm=shm,
        network=not flags["no_network"],
        workdir=flags["workdir"],
        project=str(workspace.root) if workspace.has_project and not flags["no_project"] else None,
        tty=not detach and wants_tty(tty=flags["tty"]),
        read_only=flags["read_only"],
    )


def _from_here(text: str) -> str:
    """A mount whose relative source starts at the current folder: it was typed here (the file's starts at the file)."""
    return text if text.startswith(("/", "~", ":")) else f"{os.getcwd()}/{text}"  # noqa: PTH109 - a string is wanted


def _port(port: int, wanted: int) -> str:
    return str(port) if port == wanted else f"{port} ({wanted} is {hindered(wanted) or 'taken'})"
