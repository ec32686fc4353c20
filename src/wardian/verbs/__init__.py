"""One file for each verb; each defines ``command``."""

from collections.abc import Callable
from typing import Any

import click

from wardian.workspace import open_workspace


class Verb(click.Command):
    """A command that gets a ``Workspace`` first and has the options that every verb has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["-C", "--project"], metavar="DIR", help="The project's folder (default: here, or the nearest above)."
            ),
            click.Option(
                ["--set", "settings"],
                multiple=True,
                metavar="KEY=VALUE",
                help="Replace one value of the configuration.",
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print the answer as JSON."),
            click.Option(["-v", "--verbose"], is_flag=True, help="Print each command, ready to paste, before it runs."),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Open the workspace and call the verb with it."""
        common = {name: ctx.params.pop(name) for name in ("project", "settings", "as_json", "verbose")}
        ctx.params["workspace"] = open_workspace(**common)
        return super().invoke(ctx)


def verb(name: str, *, example: str, **settings: Any) -> Callable[[Callable[..., int | None]], Verb]:
    """Make a verb of a function ``(workspace, **options) -> exit code``; ``example`` ends its help."""
    epilog = "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.strip().splitlines())
    return click.command(name, cls=Verb, epilog=epilog, **settings)
