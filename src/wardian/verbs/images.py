"""`wardian images`: what there is."""

from datetime import UTC, datetime

from wardian.errors import WardianError
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.workspace import Workspace


@verb("images", example="wardian images\nwardian images --json")
def command(workspace: Workspace) -> int:
    """List the images in the store, with their sizes and how much of each other images hold too."""
    from wardian.plan.looking import ImageSeen, sharing, total
    from wardian.store.seen import all_seen

    found: list[ImageSeen] = []
    damaged = 0
    for entry in all_seen(workspace.store):
        if isinstance(entry, WardianError):
            damaged += 1
            workspace.console.note(f"wardian: {entry.message}")
        else:
            found.append(entry)
    rows, data = [], []
    for image in found:
        share = sharing(image, found)
        came = datetime.fromtimestamp(image.made, UTC)
        rows.append(
            (
                image.reference,
                image.digest[7:19],
                "built" if image.built else "pulled",
                came.astimezone().strftime("%Y-%m-%d %H:%M"),
                human_size(image.size),
                str(len(image.layers)),
                human_size(share.shared),
            )
        )
        data.append(
            {
                "reference": image.reference,
                "digest": image.digest,
                "platform": image.platform,
                "built": image.built,
                "made": came.isoformat(timespec="seconds"),
                "size": image.size,
                "layers": len(image.layers),
                "shared": share.shared,
                "unique": share.unique,
            }
        )
    if not rows and not workspace.console.as_json:
        workspace.console.note("no images yet; type: wardian build")
        return int(damaged > 0)
    workspace.console.table(("REFERENCE", "DIGEST", "FROM", "SINCE", "SIZE", "LAYERS", "SHARED"), rows, data)
    if len({image.digest for image in found}) > 1 and not workspace.console.as_json:
        workspace.console.note(f"all together: {human_size(total(found))}, every layer once")
    return int(damaged > 0)
