"""`wardian status`: the services of the project, as they are now."""

from wardian.verbs import verb
from wardian.verbs._engines import engines_in_use
from wardian.verbs._services import Engine, Seen, as_seen, own_failure
from wardian.verbs.ps import ago
from wardian.workspace import Workspace

COLUMNS = ("service", "state", "engine", "address", "since", "run")


@verb("status", example="wardian status\nwardian status --json")
@own_failure()
def command(workspace: Workspace) -> None:
    """List the services of the file with their state. Each that runs is asked now whether it is ready.

    lost: it runs, but nobody watches it any more (its supervisor was killed); wardian down ends it, wardian up starts
    it anew.
    """
    found: dict[str, tuple[Engine, Seen]] = {}
    for engine in engines_in_use(workspace):
        for name, seen in engine.seen().items():
            if name not in found or found[name][1].state == "exited":
                found[name] = engine, seen
    data = [_described(workspace, name, *found.get(name, (None, None))) for name in workspace.spec.services]
    data += [_described(workspace, name, *found[name]) for name in found if _gone(workspace, name, found[name][1])]
    shown = ("service", "state", "engine", "url", "since", "run")
    rows = [
        [ago(str(one[key])) if key == "since" and one[key] else str(one[key] or "") for key in shown] for one in data
    ]
    workspace.console.table(COLUMNS, rows, data)


def _gone(workspace: Workspace, name: str, seen: Seen) -> bool:
    """Whether it still runs and the file does not name it any more."""
    return name not in workspace.spec.services and seen.state != "exited"


def _described(
    workspace: Workspace, name: str, engine: Engine | None, seen: Seen | None
) -> dict[str, str | int | None]:
    alive = seen is not None and seen.state != "exited"
    return {
        "service": name,
        "state": _state(workspace, name, engine, seen) if engine and seen else "not started",
        "engine": engine.name if engine else None,
        "url": f"http://127.0.0.1:{seen.ports[0]}" if seen and alive and seen.ports else None,
        "since": seen.since if seen and alive else None,
        "run": seen.run if seen else None,
        "exit_code": seen.code if seen else None,
    }


def _state(workspace: Workspace, name: str, engine: Engine, seen: Seen) -> str:
    """``ready``, ``starting`` (not ready yet), ``exit 3``, ``lost``, ``running`` (the file says otherwise by now)."""
    if seen.state == "exited":
        return f"exit {seen.code}" if seen.code is not None else "ended"
    if seen.state == "lost" or name not in workspace.spec.services:
        return seen.state
    one = as_seen(workspace, name, seen, engine.network)
    if one is None:
        return "running"
    return "ready" if one.service.ready is None or engine.ready(one) else "starting"
