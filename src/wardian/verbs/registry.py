"""`wardian registry`: what a registry has, and what may go."""

from collections.abc import Iterator, Mapping, Sequence
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
    from wardian.plan.prune import Pruning, Stored
    from wardian.registry.catalog import Catalog

LS = """\
wardian registry ls                          # the project's images in [project].registry
wardian registry ls ghcr.io/acme/train
wardian registry ls localhost:5000           # the repositories of a registry"""
PRUNE = """\
wardian registry prune ghcr.io/acme/train --keep 'nightly-*=3'
wardian registry prune --yes                 # the project's, by [ci].retention"""


@verb("ls", example=LS)
@click.argument("place", metavar="[REPOSITORY]", required=False)
def ls(workspace: Workspace, place: str | None) -> None:
    """List tags with digest, time, size and platforms; of a registry alone, its repositories."""
    from wardian.plan.prune import newest_first, subject_of
    from wardian.registry.catalog import Catalog

    with registries(workspace, plain=_plain(workspace, place)) as registry:
        catalog = Catalog(registry)
        bare = place.removeprefix("http://").rstrip("/") if place else ""
        if bare and "/" not in bare and has_host(f"{bare}/x"):
            names = [f"{bare}/{name}" for name in catalog.repositories(bare)]
            workspace.console.table(("REPOSITORY",), [(name,) for name in names], names)
            return
        rows: list[tuple[str, ...]] = []
        data = []
        for where, survey in _surveys(workspace, catalog, (place,) if place else ()):
            tagged = [one for one in survey if any(subject_of(tag) is None for tag in one.tags)]
            for one in newest_first(tagged):
                for tag in sorted(tag for tag in one.tags if subject_of(tag) is None):
                    name = f"{where.registry}/{where.repository}:{tag}"
                    time = (one.created or "").partition(".")[0].replace("T", " ").removesuffix("Z")
                    rows.append((name, one.digest[:19], time, human_size(one.size), ", ".join(one.platforms)))
                    data.append({"reference": name, **_data(one)})
    workspace.console.table(("REFERENCE", "DIGEST", "CREATED", "SIZE", "PLATFORMS"), rows, data)


@verb("prune", example=PRUNE)
@click.argument("places", metavar="[REPOSITORY]...", nargs=-1)
@click.option("--keep", multiple=True, metavar="PATTERN=N", help="Keep the N newest images whose tag matches.")
@click.option("--yes", is_flag=True, help="Delete; without it the list is only shown.")
def prune(workspace: Workspace, places: tuple[str, ...], keep: tuple[str, ...], yes: bool) -> None:  # noqa: FBT001 - click hands flags over
    """List the images that are too old, by [ci].retention and --keep; delete them with --yes.

    Tags that no pattern matches stay, and so does a digest that something kept needs: a tag, an index, an SBOM.
    Afterwards every kept tag is asked for. The registry frees the room when it next collects its garbage.
    """
    from wardian.plan.prune import prune as plan
    from wardian.plan.prune import retention
    from wardian.registry.catalog import Catalog

    rules = retention(keep, workspace.spec.ci.retention if workspace.has_project else {})
    if not rules:
        raise SpecError("keep what?", hint="set [ci].retention, or type --keep 'nightly-*=3'")
    found: dict[str, Pruning] = {}
    with registries(workspace, plain=_plain(workspace, *places)) as registry:
        catalog = Catalog(registry)
        for where, survey in _surveys(workspace, catalog, places, beside=True):
            name = f"{where.registry}/{where.repository}"
            found[name] = plan(survey, rules)
            if yes:
                _delete(workspace, catalog, where, found[name])
    data = {name: _pruned(pruning, deleted=yes) for name, pruning in found.items()}
    workspace.console.answer("\n".join(_lines(found, deleted=yes)), data)


def _surveys(
    workspace: Workspace, catalog: "Catalog", places: Sequence[str], *, beside: bool = False
) -> "Iterator[tuple[Reference, list[Stored]]]":
    """What is in each repository; one of the project that was never pushed to is left out with a note."""
    from wardian.registry.faults import NotThere

    for where in _repositories(workspace, places):
        try:
            yield where, catalog.survey(where, beside=beside)
        except NotThere as error:
            if places:
                raise
            workspace.console.note(f"left out: {error.message}")


def _repositories(workspace: Workspace, places: Sequence[str]) -> list[Reference]:
    """The named repositories; without names, one for each image of the project."""
    if places:
        return [repository(Reference.parse(place.removeprefix("http://"))) for place in places]
    registry = workspace.spec.project.registry if workspace.has_project else None
    if not registry:
        raise SpecError("which repository?", hint="name one, as in ghcr.io/acme/train, or set [project].registry")
    where = Destination.parse(registry)
    return [repository(where.of(name, ())[0]) for name in workspace.spec.images]


def _plain(workspace: Workspace, *places: str | None) -> set[str]:
    """The hosts that were written with http://."""
    own = workspace.spec.project.registry if workspace.has_project and not any(places) else None
    said = [place for place in (*places, own) if place and place.startswith("http://")]
    return {place.removeprefix("http://").partition("/")[0] for place in said}


def _delete(workspace: Workspace, catalog: "Catalog", where: Reference, pruning: "Pruning") -> None:
    """Delete, after a last look whether the tags still name what was planned with; then ask for every kept tag."""
    if not pruning.going:
        return
    before = {**dict(pruning.kept), **{tag: one.digest for one in pruning.going for tag in one.tags}}
    if catalog.named(where) != before:
        raise WardianError(
            f"tags of {where.repository} moved while they were looked at; nothing is deleted there",
            hint="type it again when no push is under way",
        )
    for one in pruning.going:
        gone = catalog.delete(where, one.digest)
        workspace.console.detail(f"{'deleted' if gone else 'was gone'}: {where.repository}@{one.digest}")
    _verify(catalog, where, dict(pruning.kept))


def _verify(catalog: "Catalog", where: Reference, kept: Mapping[str, str]) -> None:
    now = catalog.named(where)
    if lost := sorted(tag for tag, digest in kept.items() if now.get(tag) != digest):
        raise WardianError(
            f"{where.registry} lost or moved {', '.join(lost)} of {where.repository}, which were to stay",
            hint="push them again, and tell who runs the registry",
        )


def _lines(found: "Mapping[str, Pruning]", *, deleted: bool) -> list[str]:
    from wardian.plan.prune import subject_of

    lines = []
    for name, pruning in found.items():
        for one in pruning.going:
            said = ", ".join(one.tags) or "no tag: it belonged to the one above"
            lines.append(
                f"{'deleted' if deleted else 'too old'}  {name}@{one.digest[:19]}  {human_size(one.size)}  {said}"
            )
        lines += [f"stays    {name}:{tag}, though too old: {why}" for tag, why in pruning.staying]
    count = sum(len(pruning.going) for pruning in found.values())
    kept = sum(subject_of(tag) is None for pruning in found.values() for tag, _ in pruning.kept)  # as `ls` counts
    manifests = f"{count} manifest{'' if count == 1 else 's'}"
    if deleted:
        lines.append(f"deleted {manifests}; all {kept} tags that stay are there")
    else:
        lines.append(f"{manifests} to delete, {kept} tags stay" + ("; to delete, add --yes" if count else ""))
    return lines


def _pruned(pruning: "Pruning", *, deleted: bool) -> dict[str, Any]:
    return {
        "deleted": deleted,
        "manifests": [_data(one) for one in pruning.going],
        "kept": dict(pruning.kept),
        "staying": dict(pruning.staying),
    }


def _data(one: "Stored") -> dict[str, Any]:
    return {
        "digest": one.digest,
        "tags": list(one.tags),
        "created": one.created,
        "size": one.size,
        "platforms": list(one.platforms),
    }


command = click.Group(
    "registry",
    commands=[ls, prune],
    help="List what a registry has, or remove what is too old.",
    epilog="\b\nExample:\n  wardian registry ls ghcr.io/acme/train\n  wardian registry prune --keep 'nightly-*=3'",
)
