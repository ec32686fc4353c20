"""`wardian push`: images of the store → a registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from wardian.errors import SpecError, WardianError
from wardian.oci.reference import Reference
from wardian.plan.destinations import Destination, has_host, repository
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.verbs._registries import registries
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.oci.model import Descriptor
    from wardian.registry.push import Delivery, Parcel, Pusher
    from wardian.spec.matrix import Variant
    from wardian.store.store import Tagged

EXAMPLE = """\
wardian push                                  # every built image, to [project].registry
wardian push train --to localhost:5000/lab
wardian push train --to ghcr.io/acme/train:2026
wardian push train train-arm64 --index train:2026"""


@dataclass(frozen=True)
class Chosen:
    """An image to push: what it is called in the answer, its name in a registry, its tags, what it is."""

    id: str
    name: str
    tags: tuple[str, ...]
    tagged: "Tagged"


@verb("push", example=EXAMPLE)
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "--to", metavar="PLACE", help="Instead of [project].registry: HOST/PATH, or HOST/PATH:TAG for a single image."
)
@click.option("--index", metavar="NAME:TAG", help="Also name the images, one for each platform, as one image.")
@click.option("--dry-run", is_flag=True, help="Ask the registry what it has; send nothing.")
def command(workspace: Workspace, images: tuple[str, ...], *, to: str | None, index: str | None, dry_run: bool) -> None:
    """Bring images into a registry. Only what it lacks is sent; what another repository there has is mounted.

    An image gets all the tags it has in the store. They are set last: nobody sees a part of it. What speaks of it
    (its SBOM, its lock) goes along.
    """
    _answer(workspace, deliver(workspace, images, to=to, index=index, dry_run=dry_run), dry_run=dry_run)


def deliver(
    workspace: Workspace, images: Sequence[str], *, to: str | None = None, index: str | None = None, dry_run: bool
) -> "dict[str, Delivery]":
    """Push images; what became of each, by its name in the project or as it was typed."""
    from wardian.registry.push import Pusher

    chosen = choose(workspace, images)
    where = _destination(workspace, to)
    parcels = [(one, _parcel(one, where)) for one in chosen]
    if where and where.exact and len(parcels) > 1:
        raise SpecError(f"--to {to} is one name and there are {len(parcels)} images", hint="name one image")
    goal = _goal(index, where, parcels)
    entries = _entries(workspace, [one.tagged for one in chosen]) if goal else []
    hosts = {parcel.target.registry for _, parcel in parcels} if where and where.plain else set()
    with registries(workspace, plain=hosts) as registry, workspace.console.progress() as display:
        pusher = Pusher(registry, workspace.store, display, dry=dry_run)
        done = {one.id: pusher.push(parcel) for one, parcel in parcels}
        if index and goal:
            done[index] = _pushed_index(pusher, goal, entries)
    return done


def choose(workspace: Workspace, names: Sequence[str]) -> list[Chosen]:
    """The images that are meant: all that are built of the project, or the named ones, also others of the store."""
    variants = workspace.images if workspace.has_project else ()
    own = [name for name in names if name.partition("[")[0] in {variant.name for variant in variants}]
    chosen: list[Chosen] = []
    for variant in _selected(variants, own) if variants and (own or not names) else ():
        try:
            tagged = workspace.built(variant)
        except WardianError as error:
            if names:
                raise
            workspace.console.note(f"left out: {error.message}")
        else:
            chosen.append(Chosen(variant.id, variant.name, _tags(workspace, variant.name, tagged), tagged))
    for name in names:
        if name not in own:
            tagged = workspace.image(name)
            reference = Reference.parse(tagged.reference)
            tags = (reference.tag,) if reference.tag else ()
            chosen.append(Chosen(name, reference.repository.rpartition("/")[2], tags, tagged))
    if not chosen and not workspace.has_project:
        raise SpecError("push what?", hint="name an image of the store, or go to a project")
    if not chosen:
        raise WardianError("no image of this project is built", hint="type: wardian build")
    return chosen


def _selected(variants: "Sequence[Variant]", names: Sequence[str]) -> "Sequence[Variant]":
    """The named variants; imported here, for a push without a project needs no specification."""
    from wardian.spec.matrix import select

    return select(variants, names)


def _tags(workspace: Workspace, image: str, tagged: "Tagged") -> tuple[str, ...]:
    """Every tag that the store has for an image of the project under its name."""
    name = f"{workspace.repository}/{image}"
    same = [one for one in workspace.store.references() if one.descriptor.digest == tagged.descriptor.digest]
    return tuple(one.reference.removeprefix(f"{name}:") for one in same if one.reference.startswith(f"{name}:"))


def _destination(workspace: Workspace, to: str | None) -> Destination | None:
    if to:
        return Destination.parse(to)
    registry = workspace.spec.project.registry if workspace.has_project else None
    return Destination.parse(registry) if registry else None


def _parcel(chosen: Chosen, where: Destination | None) -> "Parcel":
    from wardian.registry.push import Parcel

    if where:
        target, tags = where.of(chosen.name, chosen.tags)
        return Parcel(chosen.tagged.descriptor, repository(target), tags)
    if has_host(chosen.tagged.reference):
        target = Reference.parse(chosen.tagged.reference)
        return Parcel(chosen.tagged.descriptor, repository(target), chosen.tags)
    raise SpecError("push where?", hint="set [project].registry, or type --to HOST/PATH")


def _goal(index: str | None, where: Destination | None, parcels: "Sequence[tuple[Chosen, Parcel]]") -> Reference | None:
    """The name of the index, which takes a tag from the images that have it."""
    if index is None:
        return None
    if where is None:
        raise SpecError("--index where?", hint="set [project].registry, or type --to HOST/PATH")
    goal = where.named(index)
    if goal.digest:
        raise SpecError(f"--index {index}: an index gets a tag, its digest comes from what it lists")
    if taken := [one.id for one, parcel in parcels if repository(goal) == parcel.target and goal.tag in parcel.tags]:
        raise SpecError(
            f"--index {index}: {', '.join(taken)} has that name itself", hint="choose another tag for the index"
        )
    return goal


def _entries(workspace: Workspace, images: "Sequence[Tagged]") -> "list[Descriptor]":
    """What the index will list, looked at before anything is sent. Raises ``SpecError`` for a platform twice."""
    entries = [_entry(workspace, tagged) for tagged in images]
    platforms = [tuple(sorted((entry.platform or {}).items())) for entry in entries]
    if len(set(platforms)) < len(platforms):
        raise SpecError("--index: two images are for the same platform", hint="name one image for each platform")
    return entries


def _pushed_index(pusher: "Pusher", goal: Reference, entries: "Sequence[Descriptor]") -> "Delivery":
    """The images in the index's own repository, by digest, then the index."""
    from wardian.registry.push import Parcel

    parts = [pusher.push(Parcel(entry, repository(goal))) for entry in entries]
    whole = pusher.push_index(goal, entries)
    whole.sent, whole.mounted, whole.present = (
        sum(part.sent for part in parts),
        sum(part.mounted for part in parts),
        sum(part.present for part in parts),
    )
    return whole


def _entry(workspace: Workspace, tagged: "Tagged") -> "Descriptor":
    from wardian.oci.model import Descriptor

    config, image = workspace.store.config(tagged.descriptor.digest), tagged.descriptor
    platform = {name: config[name] for name in ("os", "architecture", "variant") if config.get(name)}
    return Descriptor(image.media_type, image.digest, image.size, platform=platform)


def _answer(workspace: Workspace, done: "dict[str, Delivery]", *, dry_run: bool) -> None:
    rows = [
        (name, one.reference, one.digest[:19], *map(human_size, (one.sent, one.mounted, one.present)), said(one))
        for name, one in done.items()
    ]
    data = {name: {**described(one), "dry_run": dry_run} for name, one in done.items()}
    heads = ("IMAGE", "REFERENCE", "DIGEST", "WOULD SEND" if dry_run else "SENT", "MOUNTED", "PRESENT", "TAGS")
    workspace.console.table(heads, rows, data)


def described(one: "Delivery") -> dict[str, Any]:
    """A delivery as JSON data; numbers are bytes."""
    return {
        "reference": one.reference,
        "digest": one.digest,
        "sent": one.sent,
        "mounted": one.mounted,
        "present": one.present,
        "tags": one.tags,
    }


def said(one: "Delivery") -> str:
    """Tags, each with what became of it: a tag that named something else is said to have moved."""
    words = {"new": "", "present": " (as it was)"}
    return ", ".join(f"{tag}{words.get(stood, f' (was {stood[:19]})')}" for tag, stood in one.tags.items())
