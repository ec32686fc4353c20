"""What the wheels of one image do to each other: files of one that hide another's, told before the image is written."""

from collections.abc import Collection, Sequence

from wardian.errors import WardianError
from wardian.oci.collisions import collisions, mark
from wardian.oci.tar import Entry
from wardian.store.contents import walk
from wardian.store.record import LayerRecord
from wardian.store.store import Store


def hidden_files(store: Store, records: Sequence[LayerRecord], image: str) -> tuple[str, ...]:
    """A line for each two distributions that bring other files at the same paths; the upper layer's are seen.

    Raises ``WardianError`` where one brings a file and the other a folder: whatever is seen, the other is broken.
    """
    layers = {owner: record for record in records for owner, _ in record.brought}
    found = []
    for pair in collisions([one for record in records for one in record.brought]):
        read = min(pair.seen, pair.hidden, key=lambda owner: layers[owner].size)
        same = _entries(store, layers[read], pair.files | pair.folders)
        hidden, seen = _named(pair.hidden), _named(pair.seen)
        if clash := next((entry for entry in same if mark(entry.path) in pair.folders), None):
            one, other = (hidden, seen) if (clash.kind == "dir") == (read == pair.seen) else (seen, hidden)
            raise WardianError(
                f"image {image}: {one} brings the file {_short(clash.path)}, where {other} has a folder",
                hint="leave one of them out, or lock another version of it",
            )
        if same:
            more = f" and {len(same) - 1} more file{'s' if len(same) > 2 else ''}" if len(same) > 1 else ""
            counts = f"those of {seen} count" if more else f"that of {seen} counts"
            found.append(f"{hidden} and {seen} both bring {_short(same[0].path)}{more}; {counts}")
    return tuple(found)


def _entries(store: Store, layer: LayerRecord, wanted: Collection[int]) -> list[Entry]:
    """The entries of a layer that are meant."""
    found = []
    for entry, _ in walk(store, layer.descriptor):
        if mark(entry.path) in wanted:
            found.append(entry)
            if len(found) == len(wanted):
                break
    return found


def _named(owner: str) -> str:
    return owner.replace("==", " ")


def _short(path: str) -> str:
    return path.partition("/site-packages/")[2] or path
