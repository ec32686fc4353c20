"""`wardian outdated`: bases that have a newer image behind their tag, or a newer tag."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from wardian.errors import LockStale
from wardian.plan.newer import newer
from wardian.plan.pin import tag_of, written
from wardian.verbs import verb
from wardian.verbs._registries import registries, source
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.oci.reference import Reference
    from wardian.registry.client import Registry


@dataclass(frozen=True)
class Base:
    """A base as the lock, or the file, has it."""

    image: str
    reference: str
    digest: str
    platform: str | None  # None: the digest is of what the tag names itself, an index perhaps


@dataclass(frozen=True)
class Standing:
    """What a base's registry says now."""

    base: Base
    now: str
    newer: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether the tag names something else now."""
        return self.now != self.base.digest


@verb("outdated", example="wardian outdated\nwardian outdated --exit-code   # in CI: 1 when something is newer")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when something is newer.")
def command(workspace: Workspace, exit_code: bool) -> int:  # noqa: FBT001 - click hands flags over
    """Say which bases are newer in their registry than in the lock: the tag moved, or there is a newer tag.

    Nothing is changed: `wardian lock --upgrade` takes what a tag names now; a newer tag is for you to write.
    """
    bases = _bases(workspace)
    if not bases:
        workspace.console.answer("no image stands on one of a registry", [])
        return 0
    with registries(workspace) as registry:
        tags: dict[str, list[str]] = {}
        found = [_standing(workspace, registry, base, tags) for base in bases]
    rows = [(one.base.image, one.base.reference, one.base.digest[:19], one.now[:19], _said(one)) for one in found]
    data = [
        {
            "image": one.base.image,
            "reference": one.base.reference,
            "digest": one.base.digest,
            "now": one.now,
            "moved": one.moved,
            "newer": list(one.newer),
        }
        for one in found
    ]
    workspace.console.table(("IMAGE", "REFERENCE", "HERE", "NOW", ""), rows, data)
    return int(exit_code and any(one.moved or one.newer for one in found))


def _bases(workspace: Workspace) -> list[Base]:
    """Locked bases, and references that the file pins itself. Raises ``LockStale`` for one that is neither."""
    found, unlocked = [], []
    for variant in workspace.images:
        written_there = variant.image.from_
        name, at, digest = written_there.partition("@")
        locked = workspace.lock.images.get(variant.id)
        if at and name:
            if tag_of(written_there):
                found.append(Base(variant.id, name, digest, None))
        elif locked and locked.base and locked.base.digest:
            found.append(Base(variant.id, locked.base.reference, locked.base.digest, variant.image.platform))
        elif not locked and not written_there.startswith(("@", "bootstrap:")):
            unlocked.append(f"{variant.id} is not locked yet")
    if unlocked:
        raise LockStale(unlocked)
    return found


def _standing(workspace: Workspace, registry: "Registry", base: Base, tags: dict[str, list[str]]) -> Standing:
    where = source(workspace, base.reference)
    opened = where.of(registry)
    if base.platform:
        now = opened.resolve(where.reference, base.platform).digest
    else:
        now = opened.manifest(where.reference)[0].digest
    tag = tag_of(base.reference)
    higher = newer(tag, _tags(opened, where.reference, tags)) if tag and any(map(str.isdigit, tag)) else []
    return Standing(base, now, tuple(higher))


def _tags(registry: "Registry", where: "Reference", known: dict[str, list[str]]) -> list[str]:
    """The tags of a repository, asked for once."""
    from wardian.registry.catalog import Catalog

    name = f"{where.registry}/{where.repository}"
    if name not in known:
        known[name] = Catalog(registry).tags(where)
    return known[name]


def _said(one: Standing) -> str:
    words = ["the tag moved"] if one.moved else []
    if one.newer:
        newest = written(one.base.reference, one.newer[-1], "").rstrip("@")
        more = f" (and {len(one.newer) - 1} between)" if len(one.newer) > 1 else ""
        words.append(f"there is {newest}{more}")
    return "; ".join(words) or "as it is"
