"""`wardian up`: start the services of the file, and wait until they can be used."""

import time
from collections.abc import Sequence

import click

from wardian.hosts.session import hindered
from wardian.verbs import verb
from wardian.verbs._engines import engine_named
from wardian.verbs._services import Engine, Plans, alone, await_ready, described, own_failure, planned, way
from wardian.workspace import Workspace


@verb("up", example="wardian up\nwardian up --profile env\nwardian up searchqa --no-wait\nwardian up --dry-run")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Also the services of this profile.")
@click.option("--wait/--no-wait", default=True, help="Return when all are ready, or when all are started.")
@click.option(
    "--engine", metavar="ENGINE", help="sandbox, docker or podman (default: where they run, or [run].engine)."
)
@click.option("--dry-run", is_flag=True, help="Say what would be started; start nothing.")
@click.argument("names", nargs=-1, metavar="[SERVICE]...")
@own_failure()
def command(
    workspace: Workspace,
    names: tuple[str, ...],
    profiles: tuple[str, ...],
    *,
    wait: bool,
    engine: str | None,
    dry_run: bool,
) -> None:
    """Start SERVICEs with what they depend on; without a name, all that have no profile.

    What runs as it is written is left alone; what is written otherwise by now is started anew. When one dies, or is
    not ready in its time, those that this call started are ended again, and the exit code is 1.
    """
    if dry_run:
        chosen = engine_named(workspace, engine)
        plans = planned(workspace, names, profiles, chosen.network, chosen.seen())
        _say(workspace, plans)
        words = [f"{one.name}: {_todo(plans, one.name)} in {chosen.name}" for one in plans.services]
        data = [described(one, _todo(plans, one.name), None) for one in plans.services]
        workspace.console.answer("\n".join(words), data)
        return
    with alone(workspace):
        chosen = engine_named(workspace, engine)
        plans = planned(workspace, names, profiles, chosen.network, chosen.seen())
        _say(workspace, plans)
        _bring_up(chosen, plans, wait=wait)
        seen = chosen.seen()
    state = "ready" if wait else "started"
    rows = [f"{one.name}: {state}{f' at {_address(plans, one.name)}' if one.url else ''}" for one in plans.services]
    data = [described(one, state, seen.get(one.name)) for one in plans.services]
    workspace.console.answer("\n".join(rows), data)


def _bring_up(engine: Engine, plans: Plans, *, wait: bool) -> None:
    """Start what is to be started, each after those it depends on; end it again when anything goes wrong."""
    begun: dict[str, float] = {}
    ready: set[str] = set()
    every = {one.name: one for one in plans.services}

    def settle(names: Sequence[str]) -> None:
        for name in names:
            if name not in ready:
                await_ready(engine, every[name], begun.get(name, time.monotonic()))
                ready.add(name)

    try:
        for name, one in every.items():
            if name in plans.kept:
                continue
            settle(one.service.depends_on)
            if name in plans.changed:
                engine.stop([name])
            begun[name] = time.monotonic()
            engine.start(one, plans.workspace)
            plans.workspace.console.detail(f"{name} is started; it is ready when {way(one)}")
        if wait:
            settle(list(every))
    except BaseException:
        engine.stop(list(reversed(begun)))
        raise


def _say(workspace: Workspace, plans: Plans) -> None:
    """The ports that had to move, one line each; nothing of what runs already."""
    for one in plans.services:
        for port in one.ports if one.name not in plans.kept else ():
            if port.moved:
                why = hindered(port.written) or "taken"  # by another service
                workspace.console.note(f"{one.name}: port {port.written} is {why}, {port.outside} stands in for it")


def _todo(plans: Plans, name: str) -> str:
    return "keep" if name in plans.kept else "restart" if name in plans.changed else "start"


def _address(plans: Plans, name: str) -> str:
    """Where a service is reached; with the secret that was made for it, which is told here and nowhere else."""
    url = next(one.url for one in plans.services if one.name == name)
    return f"{url}/?token={plans.tokens[name]}" if name in plans.tokens else str(url)
