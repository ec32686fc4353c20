"""`wardian export`: an image as files for other programs."""

import os
from pathlib import Path

import click

from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.workspace import Workspace

EXAMPLE = """\
wardian export train -o train-layout             # an OCI layout: skopeo copy oci:train-layout …
wardian export train --format docker -o train.tar  # docker load -i train.tar; podman load -i train.tar
wardian export train --format dir -o rootfs"""


@verb("export", example=EXAMPLE)
@click.argument("image")
@click.option("--format", "kind", type=click.Choice(["oci", "docker", "dir"]), default="oci", show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Where to: a folder or, for docker and for oci when it ends in .tar, a file.",
)
@click.option(
    "--force", is_flag=True, help="Replace a file or an OCI layout that is there. Other folders are never replaced."
)
def command(workspace: Workspace, image: str, kind: str, output: Path, force: bool) -> None:  # noqa: FBT001 - click hands flags over
    """Write an image as an OCI layout, as an archive for docker and podman, or as a folder of files.

    Every digest is verified on the way. As root, `dir` keeps owners and device files; for others
    all files are their own.
    """
    from wardian.store.export import export_docker, export_layout
    from wardian.store.flatten import export_folder

    found, target = workspace.image(image), output.absolute()
    left_out: tuple[str, ...] = ()
    if kind == "oci":
        export_layout(workspace.store, found, target, force=force)
    elif kind == "docker":
        export_docker(workspace.store, found, target, force=force)
    else:
        left_out = export_folder(workspace.store, found, target, as_root=os.geteuid() == 0)
    if left_out:
        workspace.console.note(f"left out: {', '.join(left_out)}")
    size = target.stat().st_size if target.is_file() else None
    data = {
        "reference": found.reference,
        "digest": found.descriptor.digest,
        "format": kind,
        "path": str(target),
        "size": size,
        "left_out": list(left_out),
    }
    said = f" ({human_size(size)})" if size is not None else ""
    workspace.console.answer(f"{found.reference} {found.descriptor.digest[:19]} → {output}{said}", data)
