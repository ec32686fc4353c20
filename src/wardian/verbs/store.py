"""`wardian store`: verify, prune or measure the store."""

from typing import TYPE_CHECKING

import click

from wardian.errors import Unavailable
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.hosts.sandbox import Namespace
    from wardian.store.gc import Litter


@verb("verify", example="wardian store verify\nwardian store verify --repair")
@click.option("--repair", is_flag=True, help="Remove what is damaged; the next build or pull makes it anew.")
def verify(workspace: Workspace, repair: bool) -> int:  # noqa: FBT001 - click hands flags over
    """Read the whole store and compare it with its digests.

    The exit code is 1 when something is wrong.
    """
    from wardian.store.verify import repair as mend
    from wardian.store.verify import verify as look

    console, store = workspace.console, workspace.store
    faults = look(store, workspace.host, _inside(workspace), note=console.detail)
    left = mend(store, faults) if repair else faults
    rows = [{"place": fault.place, "what": fault.what, "remedy": fault.remedy} for fault in faults]
    lines = [f"{row['place']}: {row['what']} → {row['remedy']}" for row in rows]
    if not faults:
        lines = [f"{store.root} is whole"]
    elif left and repair:
        lines.append(f"{_count(len(left), 'fault')} left: running containers use them; stop these, then repair again")
    elif repair:
        lines.append(f"repaired {_count(len(faults), 'fault')}; type: wardian build")
    else:
        lines.append(f"{_count(len(faults), 'fault')}; type: wardian store verify --repair")
    console.answer("\n".join(lines), {"store": str(store.root), "faults": rows, "repaired": repair and not left})
    return 1 if left else 0


@verb("prune", example="wardian store prune\nwardian store prune --yes --days 7")
@click.option("--yes", is_flag=True, help="Remove; without it the list is only shown.")
@click.option("--days", default=30, show_default=True, help="Keep downloads that were used within so many days.")
def prune(workspace: Workspace, yes: bool, days: int) -> None:  # noqa: FBT001 - click hands flags over
    """List what nothing needs any more; remove it with --yes.

    Kept is what an image or a running container needs. Past runs keep no image: `reproduce` then asks for a build.
    """
    from wardian.store.gc import DAY, litter
    from wardian.store.gc import prune as remove

    console, store = workspace.console, workspace.store
    inside = _inside(workspace)
    if yes:
        found = remove(
            store, workspace.host, inside, downloads=days * DAY, said=lambda item: console.detail(_line(item))
        )
    else:
        found = litter(store, inside, downloads=days * DAY)
    total = sum(item.size for item in found)
    said = f"{_count(len(found), 'thing')}, {human_size(total)}"
    if yes:
        text = f"removed {said}"
    elif found:
        text = "\n".join([*map(_line, found), f"{said}; to remove them, type: wardian store prune --yes"])
    else:
        text = "nothing to remove"
    rows = [{"kind": item.kind, "path": str(item.path), "size": item.size, "why": item.why} for item in found]
    console.answer(text, {"removed": yes, "size": total, "items": rows})


@verb("df", example="wardian store df\nwardian store df --json")
def df(workspace: Workspace) -> None:
    """Show how much disk the store takes, image by image."""
    from wardian.store.usage import usage

    found = usage(workspace.store)
    rows = [
        (image.reference, *map(human_size, (image.size, image.shared, image.unique)), image.digest[7:19])
        for image in found.images
    ]
    workspace.console.table(("IMAGE", "SIZE", "SHARED", "UNIQUE", "DIGEST"), rows, found.to_json())
    if not workspace.console.as_json:
        parts = f"blobs {human_size(found.blobs)}, unpacked {human_size(found.unpacked)}"
        workspace.console.note(
            f"{workspace.store.root}: {human_size(found.total)} ({parts}, downloads {human_size(found.downloads)})"
        )


def _inside(workspace: Workspace) -> "Namespace | None":
    """The namespace of unpacked trees; None where this machine has none, and so no trees."""
    from wardian.hosts.sandbox import namespace

    try:
        return namespace(workspace.host)
    except Unavailable:
        return None


def _line(item: "Litter") -> str:
    return f"{item.kind:9}  {human_size(item.size):>9}  {item.path}  ({item.why})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


command = click.Group(
    "store",
    commands=[verify, prune, df],
    help="Verify, prune or measure the store.",
    epilog="\b\nExample:\n  wardian store df\n  wardian store verify",
)
