"""What the store remembers of a layer that was built: the blob, and what lies in it."""

from dataclasses import asdict, dataclass
from typing import Any

from wardian.oci.digest import is_digest
from wardian.oci.model import LAYER_GZIP, Descriptor


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A built layer: its blob, the digest of its uncompressed tar, sizes in bytes, a title, the packages in it."""

    digest: str
    diff_id: str
    size: int
    unpacked_size: int
    title: str
    packages: tuple[str, ...] = ()

    @property
    def descriptor(self) -> Descriptor:
        """The layer as it stands in a manifest."""
        return Descriptor(LAYER_GZIP, self.digest, self.size)

    def to_json(self) -> dict[str, Any]:
        """The record as it is written."""
        return {**asdict(self), "packages": list(self.packages)}

    @classmethod
    def from_json(cls, data: object) -> "LayerRecord | None":
        """Read a record; None when it is not one: the layer is then built again."""
        if not isinstance(data, dict):
            return None
        digest, diff_id, title, packages = (
            data.get("digest"),
            data.get("diff_id"),
            data.get("title"),
            data.get("packages"),
        )
        size, unpacked_size = data.get("size"), data.get("unpacked_size")
        if not (isinstance(digest, str) and is_digest(digest) and isinstance(diff_id, str) and is_digest(diff_id)):
            return None
        if not (
            isinstance(size, int)
            and isinstance(unpacked_size, int)
            and isinstance(title, str)
            and isinstance(packages, list)
        ):
            return None
        return cls(digest, diff_id, size, unpacked_size, title, tuple(str(package) for package in packages))
