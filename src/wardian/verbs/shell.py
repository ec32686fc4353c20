"""`wardian shell`: a shell in an image."""

from typing import Any

from wardian.verbs import verb
from wardian.verbs.run import container_options, run
from wardian.workspace import Workspace


@verb("shell", example="wardian shell\nwardian shell --image dev --user root")
@container_options
def command(workspace: Workspace, **flags: Any) -> int:
    """Open the image's bash (or sh) with the project's folder bound; its exit code comes back.

    Changes outside mounts are gone when the shell ends.
    """
    return run(workspace, (), flags, own_shell=True)
