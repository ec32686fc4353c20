"""`render compose`: the services of the file, with what is known of their images."""

import os
from pathlib import Path
from typing import Any

from wardian.errors import SpecError, WardianError
from wardian.hosts.session import caller
from wardian.plan.compose import HOST_USER, Part, as_written, document, health, literal, text, told, written
from wardian.plan.containers import Bind
from wardian.plan.launch import WORKSPACE, project_binds
from wardian.plan.mounts import binds as mounted
from wardian.plan.mounts import package_of
from wardian.plan.services import dependencies
from wardian.spec.matrix import PLACEHOLDER, Variant
from wardian.spec.models import Service
from wardian.spec.services import volume
from wardian.verbs._choose import Chosen, choose, default_image, opened, sites
from wardian.verbs._services import variant as variant_of
from wardian.workspace import FILE, Workspace

HEADER = """\
Written by `wardian render compose` from {file}. It needs no Wardian:
  HOST_UID=$(id -u) HOST_GID=$(id -g) docker compose up --wait
Its images must be in that engine (`wardian load IMAGE`) or in their registry (`wardian push`).
What services write into folders of the host belongs to HOST_UID; each port is a variable with its default."""


def rendered(workspace: Workspace, folder: Path) -> tuple[str, dict[str, Any]]:
    """The text of a compose file that will lie in ``folder``, and its content."""
    services, data = workspace.spec.services, workspace.loaded.data
    if not services:
        raise SpecError("there is no service in the file", hint="write [services.NAME] and command = …")
    found = {name: as_written(services, data, name) for name in services}
    ports = {
        name: dict(zip(one.ports, (inside for inside, _ in texts), strict=True)) for name, (one, texts) in found.items()
    }
    words = {name: service.image or default_image(workspace) for name, (service, _) in found.items()}
    variants = {word: variant_of(workspace, word) for word in words.values()}
    images = {word: named(workspace, word, variant) for word, variant in variants.items()}
    mounts = {word: _mounts(workspace, word, chosen, folder) for word, (_, chosen) in images.items()}
    parts = []
    for name, (service, texts) in found.items():
        variant, (image, chosen) = variants[words[name]], images[words[name]]
        workdir = workdir_of(workspace, variant, chosen)
        here = _relative(workspace.root, workspace.root, folder)
        project = project_binds(chosen.config if chosen else {}, here, workdir)
        binds = (*project, *mounts[words[name]], *_folders(workspace, service, folder))
        user = service.user or workspace.spec.run.user
        shm = workspace.spec.run.shm if service.shm is None else service.shm
        part = Part(
            name=name,
            service=service.model_copy(update={"shm": shm}),
            image=image,
            ports=texts,
            binds=tuple({one.target: one for one in binds}.values()),  # the last at a target wins, as in a run
            env=told(ports, name, dependencies(services, name)),
            user={"host": HOST_USER, "root": "0:0"}.get(user, user),
            workdir=workdir,
            python=variant is not None and variant.image.python is not None,
            say=written,
        )
        if service.ready and health(part) is None:
            workspace.console.note(f"{name}: compose cannot wait for a line of the log; it is healthy when it runs")
        parts.append(part)
    _say_what_is_left_out(workspace)
    content = document(parts)
    return text(HEADER.format(file=FILE), content), content


def named(workspace: Workspace, word: str, variant: Variant | None) -> tuple[str, Chosen | None]:
    """An image's name, the one of the store or the one that a build would give it; and the image, if it is there."""
    try:
        tagged = workspace.image(word)
        return tagged.reference, opened(workspace, tagged)
    except WardianError:
        if variant is None:
            return word, None
    tag = next((one for one in variant.image.tags if not PLACEHOLDER.search(one)), "latest")
    workspace.console.note(f"image {variant.id} is not built: it is called by the tag {tag}")
    return f"{workspace.repository}/{variant.name}:{tag}", None


def workdir_of(workspace: Workspace, variant: Variant | None, chosen: Chosen | None) -> str:
    """Where the project is bound: as a run has it. Before there is an image, as the file says of it or its parents."""
    while not chosen and variant and not variant.image.workdir:
        variant = next((one for one in workspace.images if variant and one.id == variant.parent), None)
    folder = chosen.config.get("WorkingDir") if chosen else variant.image.workdir if variant else None
    return folder if folder and folder != "/" else WORKSPACE


def _folders(workspace: Workspace, service: Service, folder: Path) -> list[Bind]:
    """The volumes of a service that are folders of the host."""
    found = []
    for one in map(volume, service.volumes):
        if not one.named:
            source = _relative(workspace.root / one.source, workspace.root, folder, one.source)
            found.append(Bind(written(source), written(one.target), one.read_only))
    return found


def _mounts(workspace: Workspace, word: str, chosen: Chosen | None, folder: Path) -> list[Bind]:
    """The mounts that the project's own file has on. A place among packages is known once the image is there."""
    shared = workspace.shared
    wanted = {name: one for name, one in shared.spec.mounts.items() if one.on}
    if chosen is None and any(package_of(one.target) for one in wanted.values()):
        chosen = choose(workspace, word)
    config = chosen.config if chosen else {}
    known = sites(workspace, chosen, wanted) if chosen else {}
    found = mounted(wanted, config, known, root=str(workspace.root), home=caller().home)
    binds = []
    for (name, mount), bind in zip(wanted.items(), found, strict=True):
        said = shared.data["mounts"][name]
        place = literal(bind.target) if package_of(mount.target) else written(said["target"])
        source = _shared_source(said["source"], mount.source or "", workspace.root, folder)
        binds.append(Bind(source, place, bind.read_only))
    return binds


def _shared_source(said: str, filled: str, root: Path, folder: Path) -> str:
    """A source as the file has it, relative to where the compose file will lie; ``~`` is its user's home."""
    if said == "~" or said.startswith("~/"):
        return "${HOME}" + written(said[1:])
    if filled.startswith(("/", "~")):
        return written(said)
    return f"{literal(os.path.relpath(root, folder))}/{written(said)}"


def _say_what_is_left_out(workspace: Workspace) -> None:
    """A line for each mount that is on for this person alone."""
    everybodys = workspace.shared.spec.mounts
    for name, one in workspace.spec.mounts.items():
        theirs = everybodys.get(name)
        if one.on and not (theirs and theirs.on and theirs.source == one.source):
            workspace.console.note(f"mounts.{name}: what is yours alone is not in the file, which is for others")


def _relative(path: Path, root: Path, folder: Path, said: str = ".") -> str:
    """A folder of the project as the file has it: relative to the file; others as they were written."""
    if said.startswith(("/", "~")):
        return said
    return os.path.relpath(path, folder) if folder != root or said == "." else said
