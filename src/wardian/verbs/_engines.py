"""Where services run: the engine that a flag names, or the one that has them already."""

from difflib import get_close_matches

from wardian.errors import Fault, SpecError, WardianError
from wardian.plan.services import MACHINE, complete, told
from wardian.verbs._choose import engine_of
from wardian.verbs._composed import Composed
from wardian.verbs._sandboxed import Sandboxed
from wardian.verbs._services import Engine
from wardian.workspace import Workspace

ENGINES = ("sandbox", "docker", "podman")


def engine_named(workspace: Workspace, name: str | None) -> Engine:
    """The engine with this name; None: where services of this project run, else the one that `run` would take.

    Raises ``SpecError`` when services run in another one: they would not reach each other.
    """
    if name is not None and name not in ENGINES:
        near = get_close_matches(name, ENGINES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(ENGINES)}"
        raise SpecError([Fault("--engine", f"there is no engine {name!r}", hint=hint)])
    busy = [one for one in engines_in_use(workspace) if any(found.state == "running" for found in one.seen().values())]
    if busy and name not in (None, busy[0].name):
        raise SpecError(f"services of this project run in {busy[0].name}", hint="type: wardian down")
    return busy[0] if busy else _engine(workspace, engine_of(workspace, name))


def engines_in_use(workspace: Workspace) -> list[Engine]:
    """Every engine that may have services of this project."""
    return [Sandboxed(workspace), *composed_in_use(workspace)]


def composed_in_use(workspace: Workspace) -> list[Composed]:
    """Those of them that have containers, not runs."""
    every = (Composed(workspace, name) for name in ENGINES[1:])
    return [one for one in every if one.in_use()]


def variables(workspace: Workspace) -> dict[str, str]:
    """What a run is told of the services that run beside it: where each is reached from this machine."""
    if not workspace.has_project or not workspace.spec.services:
        return {}
    found: dict[str, str] = {}
    for engine in engines_in_use(workspace):
        try:
            every = engine.seen()
        except WardianError as error:
            workspace.console.note(f"services in {engine.name} are not looked at: {error.message}")
            continue
        for name, seen in every.items():
            if seen.state == "running" and name in workspace.spec.services:
                ports = dict(zip(complete(workspace.spec.services[name]).ports, seen.ports, strict=False))
                found |= told(name, MACHINE.host or name, ports)
    return found


def composed_with(workspace: Workspace, name: str) -> Composed | None:
    """The engine that has a container of this service, when it is not the sandbox, whose services are runs."""
    if not workspace.has_project or name not in workspace.spec.services:
        return None
    return next((one for one in composed_in_use(workspace) if name in one.seen()), None)


def _engine(workspace: Workspace, name: str) -> Engine:
    return Sandboxed(workspace) if name == "sandbox" else Composed(workspace, name)
