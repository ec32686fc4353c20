"""How much disk the store takes, and which image is to blame."""

from dataclasses import asdict, dataclass
from typing import Any

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
    blobs = sum(path.stat().st_size for path in store.blobs.iterdir()) if store.blobs.is_dir() else 0
    trees = [path for path in store.unpacked.iterdir() if path.suffix != ".done"] if store.unpacked.is_dir() else []
    downloads = sum(path.stat().st_size for path in store.downloads.glob("*/*"))
    return Usage(blobs, sum(map(unpacked_size, trees)), downloads, tuple(_images(store)))


def _images(store: Store) -> list[ImageUsage]:
    tagged = store.references()
    needs: dict[str, dict[str, int]] = {}
    for listed in store.index().manifests:
        found = Reach()
        found.add(store, listed)
        owner = listed.annotations.get(SUBJECT, listed.digest)
        needs[owner] = {**needs.get(owner, {}), **found.blobs}
    images = []
    for entry in tagged:
        digest = entry.descriptor.digest
        own = needs[digest]
        others = set().union(*(blobs for other, blobs in needs.items() if other != digest))
        shared = sum(size for blob, size in own.items() if blob in others)
        size = sum(own.values())
        images.append(ImageUsage(entry.reference, digest, size, shared, size - shared))
    return images
