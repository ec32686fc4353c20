"""`wardian pull`: images of a registry → the store."""

import platform as machine
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from wardian.errors import SpecError
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.verbs._registries import asked_for, registries, source
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.oci.model import Descriptor
    from wardian.registry.source import Source

EXAMPLE = """\
wardian pull ghcr.io/acme/train:2026
wardian pull train                      # of this project, from [project].registry
wardian pull debian:bookworm --platform linux/arm64"""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Wanted:
    """A name in the store, and where what it names comes from."""

    name: str
    source: "Source"
    platform: str


@verb("pull", example=EXAMPLE)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--platform", metavar="OS/ARCH", help="For another kind of machine (default: this one's).")
def command(workspace: Workspace, images: tuple[str, ...], platform: str | None) -> None:
    """Bring images of a registry into the store, by reference or by their name in this project.

    Layers come in parallel, go on where they were cut, and are verified; what the store has is not fetched.
    The name then means the image that was pulled, also where one that was built here had it.
    """
    wanted = [one for name in images for one in _wanted(workspace, name, platform)]
    store, rows, data = workspace.store, [], []
    plain = {one.source.reference.registry for one in wanted if one.source.plain}
    with registries(workspace, plain=plain) as registry, workspace.console.progress() as display:
        for one in wanted:
            with asked_for(workspace, one.name):
                found = registry.pull(one.source.reference, one.platform, store, display)
            _name(workspace, one.name, found)
            size = sum(layer.size for layer in store.manifest(found.digest).layers)
            rows.append((one.name, found.digest[:19], one.platform, human_size(size)))
            data.append({"reference": one.name, "digest": found.digest, "platform": one.platform, "size": size})
    workspace.console.table(("REFERENCE", "DIGEST", "PLATFORM", "SIZE"), rows, data)


def _wanted(workspace: Workspace, name: str, platform: str | None) -> list[Wanted]:
    """What a word means: an image of the project under each of its tags, or a reference, or what is used instead."""
    from wardian.oci.reference import Reference

    here = platform or f"linux/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"
    if workspace.has_project and name.partition("[")[0] in {variant.name for variant in workspace.images}:
        return _of_project(workspace, name)
    return [Wanted(str(Reference.parse(name)), source(workspace, name), here)]


def _of_project(workspace: Workspace, name: str) -> list[Wanted]:
    from wardian.hosts.machine import read_machine
    from wardian.registry.source import Source
    from wardian.spec.matrix import closure, select
    from wardian.verbs.build import planned

    if not workspace.spec.project.registry:
        raise SpecError(f"pull {name} from where?", hint="set [project].registry, or type the whole reference")
    chosen = select(workspace.images, [name])
    plans = planned(workspace, closure(workspace.images, chosen), read_machine(workspace.environ))
    platforms = {variant.id: variant.image.platform for variant in chosen}
    return [
        Wanted(reference, Source.parse(reference), platforms[plan.id])
        for plan in plans
        if plan.id in platforms
        for reference in plan.references
    ]


def _name(workspace: Workspace, name: str, found: "Descriptor") -> None:
    """Have the name mean what was pulled; what was built here keeps its notes when it is the same."""
    held = workspace.store.resolve(name)
    if held is None or held.digest != found.digest:
        workspace.store.tag(name, found)
