"""What the store remembers of a layer that was built: the blob, and what lies in it."""

import base64
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from wardian.oci.digest import is_digest
from wardian.oci.layer import LayerBlob
from wardian.oci.model import LAYER_GZIP, Descriptor


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A built layer: its blob, the digest of its uncompressed tar, sizes in bytes, a title, the packages in it.

    ``brought`` has the footprint of each distribution that wheels installed (see ``oci.collisions``).
    """

    digest: str
    diff_id: str
    size: int
    unpacked_size: int
    title: str
    packages: tuple[str, ...] = ()
    brought: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, blob: LayerBlob, title: str, packages: Iterable[str] = ()) -> "LayerRecord":
        """The record of a blob that was just written."""
        known = tuple(sorted(packages))
        return cls(blob.digest, blob.diff_id, blob.size, blob.unpacked_size, title, known, blob.brought)

    @property
    def descriptor(self) -> Descriptor:
        """The layer as it stands in a manifest."""
        return Descriptor(LAYER_GZIP, self.digest, self.size)

    def to_json(self) -> dict[str, Any]:
        """The record as it is written."""
        return {**asdict(self), "brought": [[name, base64.b64encode(marks).decode()] for name, marks in self.brought]}

    @classmethod
    def from_json(cls, data: object) -> "LayerRecord | None":
        """Read a record; None when it is not one: the layer is then built again."""
        match data:
            case {
                "digest": str(digest),
                "diff_id": str(diff_id),
                "size": int(size),
                "unpacked_size": int(unpacked_size),
                "title": str(title),
                "packages": list(packages),
                "brought": list(brought),
            } if is_digest(digest) and is_digest(diff_id):
                try:
                    marks = tuple((str(name), base64.b64decode(text, validate=True)) for name, text in brought)
                except (TypeError, ValueError):
                    return None
                return cls(digest, diff_id, size, unpacked_size, title, tuple(map(str, packages)), marks)
        return None
