"""Which image is meant: what `run`, `shell` and `test` share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardian.errors import Fault, SpecError
from wardian.plan.containers import Bind
from wardian.runtimes.base import Place
from wardian.spec.models import Run
from wardian.store.store import Tagged
from wardian.workspace import FILE, Workspace


@dataclass(frozen=True)
class Chosen:
    """An image to run: its name in the store and its config."""

    tagged: Tagged
    config: Mapping[str, Any]  # the "config" object

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.tagged.descriptor.digest

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return self.config.get("Labels") or {}


def choose(workspace: Workspace, word: str | None) -> Chosen:
    """The image that a word means. None: ``[run].image``, or the only image of the project."""
    return opened(workspace, workspace.image(word or default_image(workspace)))


def opened(workspace: Workspace, tagged: Tagged) -> Chosen:
    """An image with its config."""
    return Chosen(tagged, workspace.store.config(tagged.descriptor.digest).get("config") or {})


def default_image(workspace: Workspace) -> str:
    """``[run].image``, or the only image of the project."""
    if not workspace.has_project:
        raise SpecError(f"there is no {FILE} here", hint="type: wardian init, or name an image with --image")
    if workspace.spec.run.image:
        return workspace.spec.run.image
    if len(workspace.images) == 1:
        return workspace.images[0].id
    listed = ", ".join(variant.id for variant in workspace.images)
    raise SpecError("which image?", hint=f"set [run].image, or type --image with one of: {listed}")


def run_table(workspace: Workspace) -> Run:
    """``[run]``, or its defaults where there is no project."""
    return workspace.spec.run if workspace.has_project else Run()


def check_mounts(binds: tuple[Bind, ...]) -> None:
    """Raise ``SpecError`` with every source that is not there: a mount that is missing must not look like one."""
    faults = [
        Fault(f"mount {bind.target}", f"{bind.source} does not exist on this machine", hint="make it, or disable it")
        for bind in binds
        if not os.path.exists(bind.source)  # noqa: PTH110 - Path.exists raises on names with a NUL
    ]
    faults += [
        Fault("mount /", "would hide the whole image", hint="name a folder") for bind in binds if bind.target == "/"
    ]
    if faults:
        raise SpecError(faults)


def place_of(workspace: Workspace) -> Place:
    """Where this workspace's containers run."""
    return Place(workspace.host, workspace.store)
