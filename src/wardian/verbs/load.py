"""`wardian load`: an image of the store in docker or podman, without copying what is there already."""

import click

from wardian.errors import EngineFailed
from wardian.runtimes import loader
from wardian.runtimes.base import engine as engine_fails
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.verbs._choose import choose, place_of, works
from wardian.workspace import Workspace

EXAMPLE = """\
wardian load train
wardian load train --engine podman"""


@verb("load", example=EXAMPLE)
@click.option("--engine", type=click.Choice(["docker", "podman"]), help="Where to (default: docker, else podman).")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be loaded, and change nothing.")
@click.argument("image", required=False)
@engine_fails()
def command(workspace: Workspace, image: str | None, *, engine: str | None, dry_run: bool) -> None:
    """Hand an image over to docker or podman, under its own names: only the layers that the engine lacks are moved.

    The second time nothing is moved. `wardian run` does this by itself. Digests are compared.
    """
    chosen = choose(workspace, image)
    name = engine or next((one for one in ("docker", "podman") if works(workspace.host, one)), None)
    if name is None:
        raise EngineFailed("neither docker nor podman answers here", hint="type: wardian doctor")
    place = place_of(workspace)
    driver = loader(name)
    if dry_run:
        there = driver.has(chosen.digest, place)
        said = (
            f"{chosen.tagged.reference} is in {name}" if there else f"would load {chosen.tagged.reference} into {name}"
        )
        workspace.console.answer(said, {"engine": name, "digest": chosen.digest, "there": there})
        return
    if name == "podman" and not driver.has(chosen.digest, place):
        found = driver.finding(place.host)
        if found.state == "note":
            workspace.console.note(f"podman {found.said}\n  {found.fix}")
    loaded = driver.load(chosen.digest, place)
    how = "was there already" if loaded.how == "there already" else f"{human_size(loaded.sent)} moved"
    workspace.console.answer(
        f"{', '.join(loaded.names)} in {name} ({how})",
        {
            "engine": name,
            "digest": chosen.digest,
            "id": loaded.id,
            "names": list(loaded.names),
            "sent": loaded.sent,
            "how": loaded.how,
        },
    )
