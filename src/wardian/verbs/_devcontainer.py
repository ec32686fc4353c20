"""`render devcontainer`: what is known of the image that one wants to work in."""

import json
from pathlib import Path
from typing import Any

from wardian.errors import SpecError
from wardian.plan.containers import Bind
from wardian.plan.devcontainer import FOLDER, Opened, files
from wardian.plan.mounts import target
from wardian.spec.matrix import Variant
from wardian.spec.models import Mount
from wardian.verbs._choose import opened, sites
from wardian.verbs._compose_file import named, workdir_of
from wardian.workspace import Workspace


def rendered(workspace: Workspace, variant: Variant) -> tuple[dict[str, str], dict[str, Any]]:
    """The files by name, as text, and devcontainer.json as data."""
    spec, locked = workspace.spec, workspace.lock.images.get(variant.id)
    raw = workspace.loaded.data.get("run", {}).get("env", {})
    image, chosen = named(workspace, variant.id, variant)
    made = files(
        Opened(
            name=spec.project.name,
            image=image,
            workdir=workdir_of(workspace, variant, chosen),
            interpreter="/opt/env/bin/python" if locked and locked.pylock else locked.interpreter if locked else None,
            binds=_binds(workspace, variant),
            env={name: raw.get(name, value) for name, value in spec.run.env.items()},
        ),
        spec.run,
    )
    body = made["devcontainer.json"]
    made["devcontainer.json"] = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return made, body


def _package(workspace: Workspace, variant: Variant, mount: Mount) -> str:
    """Where a package lies in the image that was built."""
    chosen = opened(workspace, workspace.built(variant))
    return target(mount.target, chosen.config, sites(workspace, chosen, {"": mount}))


def _binds(workspace: Workspace, variant: Variant) -> list[Bind]:
    """The mounts that are on; a place among the image's packages is known once it is built."""
    found = []
    for name, mount in workspace.spec.mounts.items():
        if not mount.on or mount.source is None:
            continue
        source = mount.source
        if source == "~" or source.startswith("~/"):
            source = "${localEnv:HOME}" + source[1:]
        elif not Path(source).is_absolute():
            source = f"{FOLDER}/{source.removeprefix('./')}"
        try:
            place = mount.target if mount.target.startswith("/") else _package(workspace, variant, mount)
            found.append(Bind(source, target(place, {}, {}), mount.read_only))
        except SpecError as error:
            raise SpecError(f"mounts.{name}: {error.message}", hint=error.hint) from error
    return found
