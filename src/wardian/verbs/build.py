"""`wardian build`: the lock → images in the store."""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wardian.errors import SpecError, WardianError
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.builders.base import Engine, Site
    from wardian.builders.graph import Graph, Outcome
    from wardian.hosts.machine import Machine
    from wardian.plan.images import ImagePlan
    from wardian.spec.matrix import Variant


@verb(
    "build",
    example="wardian build\nwardian build train --no-cache\nwardian build --push\nwardian build --engine docker",
)
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--no-cache", is_flag=True, help="Make the layers of the named images again, whatever the store has.")
@click.option(
    "--from", "archive", metavar="DIR", help="Take every file from an archive of `lock --archive`; no network."
)
@click.option("--tag", "tags", multiple=True, metavar="REF", help="Insist that one of the images gets this reference.")
@click.option(
    "--engine",
    type=click.Choice(["sandbox", "docker", "podman"]),
    help="What executes `apt` and `run` steps (default: build.engine, else the sandbox). The layers are the same.",
)
@click.option("--push", is_flag=True, help="Then push the named images (default: all) to [project].registry.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and make nothing.")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Layers made side by side (default: one per processor)."
)
def command(
    workspace: Workspace,
    images: tuple[str, ...],
    *,
    no_cache: bool,
    archive: str | None,
    tags: tuple[str, ...],
    engine: "Engine | None",
    push: bool,
    dry_run: bool,
    jobs: int | None,
) -> None:
    """Build images, and what they stand on, from the lock.

    Nothing is resolved: a stale lock is an error. Layers that the store has are not made again.
    """
    from wardian.builders.graph import Graph
    from wardian.hosts.machine import read_machine
    from wardian.resolvers.inputs import require_fresh
    from wardian.resolvers.own import OWN, offered, required
    from wardian.spec.matrix import closure, select

    if push and not workspace.spec.project.registry:
        raise SpecError("--push where?", hint="set [project].registry, or type: wardian push --to HOST/PATH")
    if archive and not Path(archive).is_dir():
        raise SpecError(f"--from {archive}: there is no such folder", hint="wardian lock --archive DIR makes one")
    chosen = select(workspace.images, images)
    wanted = closure(workspace.images, chosen)
    require_fresh(workspace.root, workspace.lock, workspace.images, workspace.spec.substitutes)
    machine = offered(read_machine(workspace.environ), required(wanted), workspace.store.root / OWN)
    plans = planned(workspace, wanted, machine)
    _insist(plans, tags)
    site = _site(workspace, machine, Path(archive).absolute() if archive else None, wanted, engine)
    fresh = frozenset(variant.id for variant in chosen) if no_cache else frozenset[str]()
    graph = Graph(plans, site, jobs or os.cpu_count() or 2, fresh)
    if dry_run:
        _show(workspace, graph)
        return
    outcomes = _run(workspace, graph)
    text, data = _told(workspace, outcomes)
    if push:
        text, data = _pushed(workspace, [variant.id for variant in chosen], text, data)
    workspace.console.answer(text, data)


def planned(workspace: Workspace, wanted: "Sequence[Variant]", machine: "Machine") -> "tuple[ImagePlan, ...]":
    """The plans of variants, which come with the ones they stand on."""
    from wardian.builders.contents import Gathering
    from wardian.plan.images import plan

    gathering = Gathering(workspace.root, workspace.host, machine)
    contents = gathering.gather(wanted, workspace.lock)
    if gathering.left_out:
        from wardian.builders.ignore import listed

        workspace.console.note(f"left out of every image: {listed(gathering.left_out)}")
    return plan(workspace.spec.project.repository, wanted, workspace.lock, contents, epoch=_epoch(workspace))


def _epoch(workspace: Workspace) -> int:
    """The time of every file.

    Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    from wardian.plan.keys import EPOCH

    said = workspace.environ.get("SOURCE_DATE_EPOCH")
    if said is None or said == "":
        return EPOCH
    if not said.isdigit():
        raise SpecError(f"SOURCE_DATE_EPOCH={said!r} is not a number of seconds")
    return int(said)


def _insist(plans: "Sequence[ImagePlan]", tags: Sequence[str]) -> None:
    """A reference is derived from the lock, never typed: one that no image gets is an error."""
    from wardian.oci.reference import canonical_name

    derived = [reference for plan in plans for reference in plan.references]
    known = {canonical_name(reference) for reference in derived}
    for tag in tags:
        if canonical_name(tag) not in known and not any(reference.endswith(f":{tag}") for reference in derived):
            raise SpecError(
                f"--tag {tag}: no image of this build has that name",
                hint=f"names come from the lock: {', '.join(derived[:6])}",
            )


def _site(
    workspace: Workspace,
    machine: "Machine",
    archive: Path | None,
    wanted: "Sequence[Variant]",
    engine: "Engine | None",
) -> "Site":
    from wardian.builders.base import Site, namespace_of
    from wardian.builders.sources import Locked

    indexes = tuple(dict.fromkeys(index for variant in wanted for index in variant.image.index))
    sources = Locked(
        workspace.store,
        workspace.host,
        machine,
        workspace.environ,
        workspace.spec.substitutes,
        indexes,
        archive,
        wanted,
        workspace.lock,
    )
    return Site(
        store=workspace.store,
        host=workspace.host,
        machine=machine,
        sources=sources,
        namespace=namespace_of(workspace.host),
        epoch=_epoch(workspace),
        root=workspace.root,
        environ=workspace.environ,
        stopping=sources.stopping,
        engine=engine or workspace.spec.build.engine,
    )


def _run(workspace: Workspace, graph: "Graph") -> "list[Outcome]":
    outcomes: list[Outcome] = []
    with closing(graph.site.sources), workspace.console.progress() as display:
        outcomes.extend(graph.run(display))
    order = [plan.id for plan in graph.plans]
    return sorted(outcomes, key=lambda outcome: order.index(outcome.plan.id))


def _told(workspace: Workspace, outcomes: "Sequence[Outcome]") -> tuple[str, dict[str, Any]]:
    """The answer for people and as JSON data; warnings are said."""
    data = {
        outcome.plan.id: {
            "tags": list(outcome.plan.references),
            "digest": outcome.image.digest,
            "size": outcome.image.size,
            "layers": {"new": [record.digest for record in outcome.new], "reused": outcome.reused},
            "seconds": round(outcome.seconds, 3),
            "warnings": list(outcome.warnings),
        }
        for outcome in outcomes
    }
    for line in dict.fromkeys(line for outcome in outcomes for line in outcome.warnings):
        workspace.console.note(f"warning: {line}")
    return "\n".join(_line(outcome) for outcome in outcomes), data


def _pushed(workspace: Workspace, names: Sequence[str], text: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Push what was built; the answer with what became of it. When that fails, it is still said what was built."""
    from wardian.verbs.push import deliver, described, said

    try:
        delivered = deliver(workspace, names, dry_run=False)
    except WardianError:
        workspace.console.note(text)
        raise
    lines = [f"pushed {one.reference}: {human_size(one.sent)} sent; {said(one)}" for one in delivered.values()]
    pushed = {name: {**data[name], "pushed": described(one)} for name, one in delivered.items()}
    return "\n".join([text, *lines]), data | pushed


def _line(outcome: "Outcome") -> str:
    names = " ".join(outcome.plan.references)
    if not outcome.new:
        work = f"all {outcome.reused} layers were there"
    else:
        size = human_size(sum(record.size for record in outcome.new))
        work = f"{len(outcome.new)} layers new ({size}), {outcome.reused} reused"
    return f"{names}\n  {outcome.image.digest}  {human_size(outcome.image.size)}, {work}, {outcome.seconds:.1f} s"


def _show(workspace: Workspace, graph: "Graph") -> None:
    """Print what a build would do."""
    from wardian.plan.layers import title

    missing = graph.missing()
    lines: list[str] = []
    data: dict[str, Any] = {}
    for plan in graph.plans:
        lines.append(f"{plan.id}: {' '.join(plan.references)}")
        layers = []
        for layer in plan.layers:
            known = layer.key not in missing
            layers.append({"title": title(layer), "key": layer.key, "known": known})
            lines.append(f"  {'known' if known else 'make '}  {title(layer)}")
        data[plan.id] = {"tags": list(plan.references), "layers": layers}
    workspace.console.answer("\n".join(lines), data)
