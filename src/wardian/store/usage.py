"""How much disk the store takes, and which image is to blame."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wardian.oci.model import REF_NAME
from wardian.store.gc import unpacked_size
from wardian.store.reach import Reach
from wardian.store.store import SUBJECT, Store


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """Bytes of blobs of one reference: all, those that other images have as well, those that go with it."""

    reference: str
    digest: str
    size: int
    shared: int
    unique: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes in the store, by kind and by reference."""

    blobs: int
    unpacked: int
    downloads: int
    images: tuple[ImageUsage, ...]

    @property
    def total(self) -> int:
        """All bytes."""
        return self.blobs + self.unpacked + self.downloads

    def to_json(self) -> dict[str, Any]:
        """As ``store df --json`` prints it."""
        return {**asdict(self), "images": [asdict(image) for image in self.images], "total": self.total}


def usage(store: Store) -> Usage:
    """Measure the store. A blob that several references have is counted once."""
    trees = [path for path in store.unpacked.glob("*") if path.suffix != ".done"]
    blobs, downloads = _sizes(store.blobs.glob("*")), _sizes(store.downloads.glob("*/*"))
    return Usage(blobs, sum(map(unpacked_size, trees)), downloads, tuple(_images(store)))


def _sizes(paths: Iterable[Path]) -> int:
    """The bytes of some files; one may be pruned meanwhile."""
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _images(store: Store) -> list[ImageUsage]:
    needs: dict[str, dict[str, int]] = {}
    listing = store.index().manifests  # read once: others tag and untag
    for listed in listing:
        found = Reach()
        found.add(store, listed)
        owner = listed.annotations.get(SUBJECT, listed.digest)
        needs[owner] = {**needs.get(owner, {}), **found.blobs}
    held = Counter(blob for blobs in needs.values() for blob in blobs)
    images = []
    for entry in listing:
        if reference := entry.annotations.get(REF_NAME):
            own = needs[entry.digest]
            size, unique = sum(own.values()), sum(size for blob, size in own.items() if held[blob] == 1)
            images.append(ImageUsage(reference, entry.digest, size, size - unique, unique))
    return sorted(images, key=lambda image: image.reference)
