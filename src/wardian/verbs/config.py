"""`wardian config`: each value and where it came from."""

from difflib import get_close_matches

import click

from wardian.errors import WardianError
from wardian.verbs import verb
from wardian.workspace import Workspace

EXAMPLE = """\
wardian config
wardian config run.shm
WARDIAN_RUN__SHM=16g wardian config run --json
"""


@verb("config", example=EXAMPLE)
@click.argument("path", required=False)
def command(workspace: Workspace, path: str | None) -> None:
    """Show each value of the merged configuration and where it came from; with PATH, that value or table alone.

    Values are shown as they were written: ${NAME} is not filled in, and what looks like a password is hidden.
    """
    from wardian.spec.values import values

    every = values(workspace.loaded)
    chosen = [value for value in every if path is None or _within(value.path, path)]
    if not chosen:
        near = get_close_matches(path or "", [value.path for value in every], n=1)
        hint = f"did you mean: wardian config {near[0]}" if near else "type: wardian config"
        raise WardianError(f"nothing is set at {path}", hint=hint)
    rows = [
        (value.path, str(value), f"{value.source}:{value.line}" if value.line else value.source) for value in chosen
    ]
    data = {value.path: {"value": value.value, "source": value.source, "line": value.line} for value in chosen}
    workspace.console.table(("KEY", "VALUE", "FROM"), rows, data)


def _within(path: str, wanted: str) -> bool:
    return path == wanted or path.startswith((f"{wanted}.", f"{wanted}["))
