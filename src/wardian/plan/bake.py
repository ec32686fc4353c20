"""Spec and lock → a bake file that builds all images without Wardian, each once, what they stand on first. Pure.

It is JSON, which `docker buildx bake` reads as it reads HCL. An image that stands on another one has it as a build
context, so a base is built once for the whole family. Source: https://docs.docker.com/build/bake/reference/
"""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

from wardian.errors import WardianError
from wardian.plan import tags
from wardian.plan.dockerfile import Rendered, Stage, alone, stage_name

FILE = "docker-bake.json"


def bake(
    stages: Sequence[Stage], *, repository: str, name: str, beside: str, ignore: str = "", chosen: Sequence[str] = ()
) -> Rendered:
    """Render images, which come with the ones they stand on, parents first; ``chosen`` are built by default."""
    place = f"{beside}/" if beside else ""
    named = _tags(stages)
    command = f"docker buildx bake {f'-f {shlex.quote(place + FILE)} ' if beside else ''}TARGET"
    files: dict[str, str] = {}
    targets: dict[str, dict[str, Any]] = {}
    for stage in stages:
        variant = stage.variant
        parent = next((other for other in stages if other.variant.id == variant.parent), None)
        target = target_name(variant.id)
        if target in targets:
            raise WardianError(f"bake would call two images {target}", hint="rename one of them")
        written = alone(
            stage, parent, name=name, beside=beside, ignore=ignore, command=command.replace("TARGET", target)
        )
        file = f"Dockerfile.{stage_name(variant.id)}"
        files |= {**written.files, file: written.text}
        made: dict[str, Any] = {"context": ".", "dockerfile": f"{place}{file}"}
        if parent:
            made["contexts"] = {stage_name(parent.variant.id): f"target:{target_name(parent.variant.id)}"}
        made["tags"] = [f"{repository}/{variant.name}:{tag}" for tag in named[variant.id]]
        if variant.image.platform != "linux/amd64":
            made["platforms"] = [variant.image.platform]
        targets[target] = made
    wanted = [target_name(one) for one in chosen] or list(targets)
    document = {"group": {"default": {"targets": wanted}}, "target": targets}
    return Rendered(_literal(json.dumps(document, indent=2, ensure_ascii=False)) + "\n", files)


def target_name(variant: str) -> str:
    """A variant's id as bake takes it: letters, digits, _ and -.

    >>> target_name("train[python=3.11]")
    'train-python-3_11'
    """
    return re.sub(r"[^A-Za-z0-9_-]", "_", stage_name(variant))


def _literal(text: str) -> str:
    """JSON with nothing left for bake to fill in."""
    return re.sub(r"([$%])\{", r"\1\1{", text)


def _tags(stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    pythons: dict[str, str | None] = {}
    wishes = []
    for stage in stages:
        variant = stage.variant
        pythons[variant.id] = stage.locked.python or (pythons.get(variant.parent) if variant.parent else None)
        versions = {wheel.name: wheel.version for wheel in stage.wheels}
        versions |= dict(pin.split("==", 1) for pin in stage.locked.inherited)
        wishes.append(
            tags.Wish(variant.id, variant.name, variant.image.tags, variant.axes, pythons[variant.id], versions)
        )
    return tags.assign(wishes)
