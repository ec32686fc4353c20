"""Which image is meant: what `run`, `shell` and `test` share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardian.errors import EngineFailed, Fault, SpecError
from wardian.plan.containers import Bind
from wardian.plan.images import repository_of
from wardian.plan.labels import OURS, lock_digest
from wardian.runtimes.base import Place, engine
from wardian.spec.matrix import Variant, select
from wardian.spec.models import Run
from wardian.store.find import find
from wardian.store.store import Tagged
from wardian.workspace import FILE, TABLE, Workspace


@dataclass(frozen=True)
class Chosen:
    """An image to run: its name in the store, its config, and the variant of the project it was built from."""

    tagged: Tagged
    config: Mapping[str, Any]  # the "config" object
    variant: Variant | None = None

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.tagged.descriptor.digest

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return self.config.get("Labels") or {}


def choose(workspace: Workspace, word: str | None) -> Chosen:
    """The image that a word means: one of the project, else anything in the store. None: the project's default.

    Raises ``EngineFailed`` when it is not in the store.
    """
    in_project = has_project(workspace)
    if word is None:
        word = default_image(workspace)
    repository = project_repository(workspace) if in_project else None
    if in_project and (variants := _variants(workspace, word)):
        if len(variants) > 1:
            raise SpecError(f"{word} has {len(variants)} variants", hint=f"type one of: {_listed(variants)}")
        return built(workspace, variants[0])
    with engine():
        tagged = find(workspace.store, word, repository)
        return Chosen(tagged, _config(workspace, tagged))


def has_project(workspace: Workspace) -> bool:
    """Whether there is a file; without one, images of the store can still be run."""
    if (workspace.root / FILE).exists():
        return True
    pyproject = workspace.root / "pyproject.toml"
    return pyproject.exists() and TABLE.search(pyproject.read_text(encoding="utf-8", errors="replace")) is not None


def project_repository(workspace: Workspace) -> str:
    """What the project's references start with."""
    return repository_of(workspace.spec.project.name, workspace.spec.project.registry)


def default_image(workspace: Workspace) -> str:
    """``[run].image``, or the only image of the project."""
    if not has_project(workspace):
        raise SpecError(f"there is no {FILE} here", hint="type: wardian init, or name an image with --image")
    if workspace.spec.run.image:
        return workspace.spec.run.image
    if len(workspace.images) == 1:
        return workspace.images[0].id
    raise SpecError("which image?", hint=f"set [run].image, or type --image with one of: {_listed(workspace.images)}")


def built(workspace: Workspace, variant: Variant) -> Chosen:
    """The image of a variant that is in the store: the one of the lock as it is, else, with a note, an older one."""
    prefix = f"{project_repository(workspace)}/{variant.name}:"
    tagged = [entry for entry in workspace.store.references() if entry.reference.startswith(prefix)]
    found = [Chosen(entry, _config(workspace, entry), variant) for entry in tagged]
    locked = workspace.lock.images.get(variant.id)
    fresh = [one for one in found if locked and one.labels.get(f"{OURS}lock") == lock_digest(locked)]
    if fresh:
        return fresh[0]
    if found and not variant.axes:
        workspace.console.note(f"image {variant.id} was built from another lock; type: wardian build {variant.id}")
        return found[-1]
    raise EngineFailed(f"image {variant.id} is not built", hint=f"type: wardian build {variant.id}")


def _variants(workspace: Workspace, word: str) -> tuple[Variant, ...]:
    names = {variant.name for variant in workspace.images}
    return select(workspace.images, [word]) if word.partition("[")[0] in names else ()


def _listed(variants: tuple[Variant, ...]) -> str:
    return ", ".join(variant.id for variant in variants)


def _config(workspace: Workspace, tagged: Tagged) -> Mapping[str, Any]:
    with engine():
        return workspace.store.config(tagged.descriptor.digest).get("config") or {}


def run_table(workspace: Workspace) -> Run:
    """``[run]``, or its defaults where there is no project."""
    return workspace.spec.run if has_project(workspace) else Run()


def check_mounts(binds: tuple[Bind, ...]) -> None:
    """Raise ``SpecError`` with every source that is not there: a mount that is missing must not look like one."""
    faults = [
        Fault(f"mount {bind.target}", f"{bind.source} does not exist on this machine", hint="make it, or disable it")
        for bind in binds
        if not os.path.exists(bind.source)  # noqa: PTH110 - Path.exists raises on names with a NUL
    ]
    if faults:
        raise SpecError(faults)


def place_of(workspace: Workspace) -> Place:
    """Where this workspace's containers run."""
    return Place(workspace.host, workspace.store)
