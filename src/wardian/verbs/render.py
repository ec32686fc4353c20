"""`wardian render`: standard files that work without Wardian."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wardian.errors import LockStale, SpecError
from wardian.verbs import verb
from wardian.workspace import LOCK, Workspace

if TYPE_CHECKING:
    from wardian.lock.wheel import Wheel
    from wardian.plan.dockerfile import Rendered, Stage
    from wardian.spec.matrix import Variant

EXAMPLE = """\
wardian render dockerfile train
wardian render dockerfile train -o docker && docker build -f docker/Dockerfile ."""


@verb("render", example=EXAMPLE)
@click.argument("kind", metavar="KIND", type=click.Choice(["dockerfile"]))
@click.argument("image", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of the project for the Dockerfile and its requirement files.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def command(workspace: Workspace, kind: str, image: str | None, output: Path | None, force: bool) -> None:  # noqa: FBT001 - click hands flags over
    """Write a plain Dockerfile of an image from the lock: base by digest, exact packages, hashed wheels.

    KIND is dockerfile.
    """
    from wardian.builders.ignore import FILES
    from wardian.plan.dockerfile import dockerfile

    stages = _stages(workspace, _chosen(workspace, image))
    folder = output.absolute() if output else None
    name = workspace.repository or workspace.spec.project.name
    beside = _beside(workspace.root, folder, stages)
    ignore = next((found.read_text("utf-8-sig") for file in FILES if (found := workspace.root / file).is_file()), "")
    rendered = dockerfile(stages, name=name, beside=beside, ignore=ignore)
    data = {"kind": kind, "image": stages[-1].variant.id, "text": rendered.text, "files": rendered.files}
    if folder is None:
        workspace.console.answer(rendered.text.rstrip("\n"), data)
        if rendered.files and not workspace.console.as_json:
            workspace.console.note(f"it needs {', '.join(rendered.files)}: write them with -o FOLDER")
        return
    _write(folder, rendered, force=force)
    workspace.console.answer(f"{output}/Dockerfile and {len(rendered.files)} more files", data)


def _chosen(workspace: Workspace, image: str | None) -> "Variant":
    from wardian.spec.matrix import select

    names = [image] if image else [workspace.spec.run.image] if workspace.spec.run.image else []
    found = select(workspace.images, names) if names else workspace.images
    if len(found) != 1:
        raise SpecError(
            f"which image? There are {', '.join(variant.id for variant in found)}",
            hint="type: wardian render dockerfile IMAGE",
        )
    return found[0]


def _stages(workspace: Workspace, variant: "Variant") -> "list[Stage]":
    from wardian.lock.pylock import wheels
    from wardian.plan.dockerfile import Stage
    from wardian.spec.matrix import closure

    stages = []
    for one in closure(workspace.images, [variant]):
        locked = workspace.lock.images.get(one.id)
        if locked is None:
            raise LockStale([f"{one.id} is not in {LOCK}"])
        found: tuple[Wheel, ...] = ()
        if locked.pylock and locked.python:
            path = workspace.root / locked.pylock
            if not path.is_file():
                raise LockStale([f"{locked.pylock} is missing"])
            found = wheels(
                path.read_text(encoding="utf-8"),
                python=locked.python,
                platform=one.image.platform,
                built=locked.built,
                inherited=locked.inherited,
                source=locked.pylock,
            )
        stages.append(Stage(one, locked, found))
    return stages


def _beside(root: Path, folder: Path | None, stages: "list[Stage]") -> str:
    """Where the files lie in the build context, which is the project's folder."""
    if folder is None or folder == root:
        return ""
    if folder.is_relative_to(root):
        return folder.relative_to(root).as_posix()
    if any(stage.variant.image.copy_ or stage.variant.image.project != "none" for stage in stages):
        raise SpecError(
            f"{folder} lies outside the project, whose files the image copies", hint="name a folder inside it"
        )
    return ""


def _write(folder: Path, rendered: "Rendered", *, force: bool) -> None:
    from wardian.store.files import write_file

    content = {**rendered.files, "Dockerfile": rendered.text}
    there = [name for name in content if (folder / name).exists()]
    if there and not force:
        raise SpecError(f"{folder / there[0]} is there already", hint="name another folder, or add --force")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        write_file(folder / name, text.encode(), scratch=folder)
