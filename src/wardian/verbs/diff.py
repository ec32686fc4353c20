"""`wardian diff`: what changed between two images."""

from typing import TYPE_CHECKING, Any

import click

from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.plan.difference import Change, Difference
    from wardian.plan.looking import ImageSeen

MARKS = {(False, True): "+", (True, False): "-", (True, True): "~"}


@verb("diff", example="wardian diff train dev\nwardian diff train dev --files")
@click.argument("first")
@click.argument("second")
@click.option("--files", is_flag=True, help="Compare the files too; reads the layers that differ.")
def command(workspace: Workspace, first: str, second: str, files: bool) -> None:  # noqa: FBT001 - click hands flags over
    """Show what changed from one image to another: layers, packages, config, and files if asked.

    Each is an image's name, a reference, or a digest: `wardian runs show` has the one that a run used.
    """
    from wardian.plan.difference import changes_json, difference
    from wardian.store.compare import files_changed
    from wardian.store.seen import records, seen

    store = workspace.store
    known = records(store)
    mine, theirs = (seen(store, workspace.image(name), known, packages=True) for name in (first, second))
    found = difference(mine, theirs)
    changed = files_changed(store, mine.digest, theirs.digest) if files else None
    data: dict[str, Any] = {
        "first": {"reference": mine.reference, "digest": mine.digest},
        "second": {"reference": theirs.reference, "digest": theirs.digest},
        **found.to_json(),
    }
    if changed is not None:
        data["files"] = changes_json(changed)
    workspace.console.answer("\n".join(told(mine, theirs, found, changed)), data)


def told(first: "ImageSeen", second: "ImageSeen", found: "Difference", files: "tuple[Change, ...] | None") -> list[str]:
    """The difference as lines."""
    lines = [f"{first.reference} {first.digest[:19]} → {second.reference} {second.digest[:19]}"]
    if first.digest == second.digest:
        return [*lines, "the same image"]
    lines.append(f"layers: {len(found.common)} in both, {len(found.removed)} removed, {len(found.added)} added")
    for mark, layers in (("-", found.removed), ("+", found.added)):
        lines += [f"  {mark} {layer.title}  {human_size(layer.size)}  {layer.digest[7:19]}" for layer in layers]
    for title, changes in (("packages", found.packages), ("config", found.config), ("files", files)):
        if changes is not None:
            lines.append(f"{title}: {'no change' if not changes else ''}".rstrip())
            lines += [f"  {written(change)}" for change in changes]
    return lines


def written(change: "Change") -> str:
    """One change as a line: ``~ numpy 1.26.4 → 2.0.1``."""
    name, before, after = change
    mark = MARKS[before is not None, after is not None]
    return f"{mark} {name} " + " → ".join(value for value in (before, after) if value is not None)
