"""`wardian down`: end the services of the project."""

import click

from wardian.verbs import verb
from wardian.verbs._engines import engines_in_use
from wardian.verbs._services import alone, own_failure
from wardian.workspace import Workspace


@verb("down", example="wardian down\nwardian down --volumes")
@click.option("--volumes", is_flag=True, help="Remove what the services' volumes hold, too.")
@click.option("--dry-run", is_flag=True, help="Say what would be ended and removed; do nothing.")
@own_failure()
def command(workspace: Workspace, *, volumes: bool, dry_run: bool) -> None:
    """End every service of this project that runs, whoever started it, also one that nobody watches any more.

    Volumes are kept without --volumes; logs and records always.
    """
    with alone(workspace):
        ended: list[str] = []
        removed: list[str] = []
        for engine in engines_in_use(workspace):
            alive = [name for name, found in engine.seen().items() if found.state != "exited"]
            ended += alive
            removed += engine.volumes() if volumes else []
            if not dry_run:
                engine.stop(alive)
                engine.clear(volumes=volumes)
    would = "would be " if dry_run else ""
    lines = [f"{name}: {would}ended" for name in ended] + [f"volume {name}: {would}removed" for name in removed]
    workspace.console.answer("\n".join(lines) or "no service runs", {"ended": ended, "removed": removed})
