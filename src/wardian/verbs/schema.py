"""`wardian schema`: what an editor needs to check and complete wardian.toml."""

import json

from wardian.verbs import verb
from wardian.workspace import Workspace

EXAMPLE = """\
wardian schema > wardian.schema.json
sed -i '1i #:schema ./wardian.schema.json' wardian.toml
"""


@verb("schema", example=EXAMPLE)
def command(workspace: Workspace) -> None:
    """Print the JSON schema of wardian.toml."""
    from wardian.spec.schema import schema

    found = schema()
    workspace.console.answer(json.dumps(found, indent=2), found)
