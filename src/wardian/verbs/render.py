"""`wardian render`: standard files that work without Wardian."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wardian.errors import LockStale, SpecError
from wardian.verbs import verb
from wardian.workspace import LOCK, Workspace

if TYPE_CHECKING:
    from wardian.lock.wheel import Wheel
    from wardian.plan.dockerfile import Stage
    from wardian.spec.matrix import Variant

EXAMPLE = """\
wardian render dockerfile train
wardian render dockerfile train -o docker && docker build -f docker/Dockerfile .
wardian render compose -o deploy && docker compose -f deploy/compose.yaml up --wait
wardian render devcontainer dev -o .devcontainer
wardian render bake -o bake && docker buildx bake -f bake/docker-bake.json"""


@verb("render", example=EXAMPLE)
@click.argument("kind", metavar="KIND", type=click.Choice(["dockerfile", "compose", "devcontainer", "bake"]))
@click.argument("image", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of the project for the file and what it needs beside it.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def command(workspace: Workspace, kind: str, image: str | None, output: Path | None, force: bool) -> None:  # noqa: FBT001 - click hands flags over
    """Write a standard file that works without Wardian.

    KIND is dockerfile (of an image, from the lock: base by digest, exact packages, hashed wheels), compose (the
    services of the file; ${NAME:-default} stays a variable, and secrets are handed on by name), devcontainer (an
    image as `wardian run` would run it, for editors) or bake (all images, or one with what it stands on, for
    `docker buildx bake`).
    """
    folder = output.absolute() if output else None
    if kind == "dockerfile":
        name, rendered, data = _dockerfile(workspace, image, folder)
    elif kind == "devcontainer":
        name, rendered, data = _devcontainer(workspace, image)
    elif kind == "bake":
        name, rendered, data = _bake(workspace, image, folder)
    else:
        if image is not None:
            raise SpecError(f"render {kind} takes no image", hint="each service of the file names its own")
        name, rendered, data = _compose(workspace, folder)
    if folder is None:
        workspace.console.answer(rendered[name].rstrip("\n"), data)
        if len(rendered) > 1 and not workspace.console.as_json:
            beside = ", ".join(one for one in rendered if one != name)
            workspace.console.note(f"it needs {beside}: write them with -o FOLDER")
        return
    _write(folder, rendered, force=force)
    more = f" and {len(rendered) - 1} more files" if len(rendered) > 1 else ""
    workspace.console.answer(f"{output}/{name}{more}", data)


def _dockerfile(
    workspace: Workspace, image: str | None, folder: Path | None
) -> tuple[str, dict[str, str], dict[str, object]]:
    """The main file's name, every file, the data of --json."""
    from wardian.plan.dockerfile import dockerfile

    stages = _stages(workspace, [_chosen(workspace, image)])
    name = workspace.repository or workspace.spec.project.name
    beside = _beside(workspace.root, folder, stages)
    rendered = dockerfile(stages, name=name, beside=beside, ignore=_ignored(workspace.root))
    data: dict[str, object] = {
        "kind": "dockerfile",
        "image": stages[-1].variant.id,
        "text": rendered.text,
        "files": rendered.files,
    }
    return "Dockerfile", {**rendered.files, "Dockerfile": rendered.text}, data


def _bake(
    workspace: Workspace, image: str | None, folder: Path | None
) -> tuple[str, dict[str, str], dict[str, object]]:
    from wardian.plan.bake import FILE, bake
    from wardian.spec.matrix import select

    chosen = select(workspace.images, [image] if image else [])
    stages = _stages(workspace, chosen)
    project = workspace.spec.project
    made = bake(
        stages,
        repository=project.repository,
        name=project.name,
        beside=_beside(workspace.root, folder, stages),
        ignore=_ignored(workspace.root),
        chosen=[variant.id for variant in chosen],
    )
    files = {**made.files, FILE: made.text}
    return FILE, files, {"kind": "bake", "text": made.text, "files": made.files}


def _ignored(root: Path) -> str:
    """The text of the project's ignore file."""
    from wardian.builders.ignore import FILES

    return next((found.read_text("utf-8-sig") for file in FILES if (found := root / file).is_file()), "")


def _compose(workspace: Workspace, folder: Path | None) -> tuple[str, dict[str, str], dict[str, object]]:
    from wardian.verbs._compose_file import rendered

    text, content = rendered(workspace, folder or workspace.root)
    return "compose.yaml", {"compose.yaml": text}, {"kind": "compose", "text": text, "content": content}


def _devcontainer(workspace: Workspace, image: str | None) -> tuple[str, dict[str, str], dict[str, object]]:
    from wardian.verbs._devcontainer import rendered

    made, body = rendered(workspace, _chosen(workspace, image, "devcontainer"))
    name = "devcontainer.json"
    return name, made, {"kind": "devcontainer", "text": made[name], "content": body, "files": made}


def _chosen(workspace: Workspace, image: str | None, kind: str = "dockerfile") -> "Variant":
    from wardian.spec.matrix import select

    names = [image] if image else [workspace.spec.run.image] if workspace.spec.run.image else []
    found = select(workspace.images, names) if names else workspace.images
    if len(found) != 1:
        raise SpecError(
            f"which image? There are {', '.join(variant.id for variant in found)}",
            hint=f"type: wardian render {kind} IMAGE",
        )
    return found[0]


def _stages(workspace: Workspace, wanted: "Sequence[Variant]") -> "list[Stage]":
    """The stages of images and of what they stand on, parents first."""
    from wardian.lock.pylock import wheels
    from wardian.plan.dockerfile import Stage
    from wardian.spec.matrix import closure

    stages = []
    for one in closure(workspace.images, wanted):
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


def _write(folder: Path, content: dict[str, str], *, force: bool) -> None:
    from wardian.store.files import write_file

    there = [name for name in content if (folder / name).exists()]
    if there and not force:
        raise SpecError(f"{folder / there[0]} is there already", hint="name another folder, or add --force")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        write_file(folder / name, text.encode(), scratch=folder)
