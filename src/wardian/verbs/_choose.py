"""Which image is meant: what `run`, `shell` and `test` share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardian.command import Command
from wardian.errors import Fault, SpecError, Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.hosts.cdi import FOLDERS, devices
from wardian.hosts.checkout import unusable
from wardian.hosts.sandbox import hindrance
from wardian.plan.containers import Bind
from wardian.plan.devices import choose as choose_devices
from wardian.plan.mounts import Sites, unknown
from wardian.runtimes.base import Place
from wardian.spec.models import Mount, Run
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


def check_mounts(binds: Sequence[Bind], store: Path) -> None:
    """Raise ``SpecError`` with every bind that cannot be: a mount that is missing must not look like one."""
    faults = [Fault(f"mount {bind.target}", why, hint=hint) for bind in binds for why, hint in wrong(bind, store)]
    if faults:
        raise SpecError(faults)


def wrong(bind: Bind, store: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with a bind on this machine, and what to do."""
    source = Path(bind.source)
    if why := unusable(source):
        yield f"{bind.source} {why}", "make it, or disable it" if "exist" in why else "give another path, or disable it"
    elif source.resolve() == Path("/"):
        yield "would hand over the whole machine", "name a folder"
    elif source.resolve().is_relative_to(store.resolve()) and not source.resolve().is_relative_to(
        store.resolve() / "runs"
    ):
        yield f"{bind.source} is in the store, whose files must not change", "copy it"
    if bind.target == "/":
        yield "would hide the whole image", "name a folder"


def sites(workspace: Workspace, chosen: Chosen, mounts: Mapping[str, Mount]) -> Sites:
    """The folders of packages in an image, where a mount needs them and the config does not tell."""
    if not unknown(mounts, chosen.config):
        return {}
    from wardian.store.sites import sites as look

    return look(workspace.store, chosen.digest, workspace.console.note)


def place_of(workspace: Workspace) -> Place:
    """Where this workspace's containers run."""
    return Place(workspace.host, workspace.store, workspace.console.progress)


def gpus(workspace: Workspace, wish: str | None) -> tuple[str, ...]:
    """The GPUs that a call gets; one line says so when ``auto`` finds none. None: as ``[run]`` has it."""
    wish = wish or run_table(workspace).gpus
    if wish == "none":
        return ()
    try:
        known = devices(FOLDERS)
    except WardianError as error:
        if wish != "auto":
            raise
        workspace.console.note(f"no GPU: {error.message}")
        return ()
    chosen = choose_devices(wish, known)
    if not chosen:
        workspace.console.note(f"no GPU: there is no CDI specification of one in {' or '.join(FOLDERS)}")
    return chosen


def engine_of(workspace: Workspace, flag: str | None) -> str:
    """The engine of a flag, else of ``[run]``; ``auto`` is the sandbox where it works, else docker, else podman.

    One line says so when it is not the sandbox and no flag named it. See docs/adr/0008-the-engine.md.
    """
    wanted = flag or run_table(workspace).engine
    if wanted != "auto":
        if not flag and wanted != "sandbox":
            workspace.console.note(f"engine: {wanted}, as [run].engine has it")
        return wanted
    if why := hindrance():
        for name in ("docker", "podman"):
            if works(workspace.host, name):
                workspace.console.note(f"engine: {name}, because the sandbox cannot work here: {why}")
                return name
    return "sandbox"  # which says itself what it lacks


def works(host: Host, name: str) -> bool:
    """Whether an engine's client is here, and its daemon answers."""
    try:
        return host.run(Command((name, "version")), timeout=30).code == 0
    except Unavailable:
        return False


def say_unset(workspace: Workspace, names: Sequence[str], service: str = "") -> None:
    """One line for the variables that are to be handed on and are not set."""
    unset = [name for name in names if name not in workspace.variables]
    if unset:
        said = "is not set: it is" if len(unset) == 1 else "are not set: they are"
        workspace.console.note(f"{f'{service}: ' if service else ''}{', '.join(unset)} {said} not handed on")
