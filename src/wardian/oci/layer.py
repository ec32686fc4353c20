"""What writing a layer yields."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A written layer: its digest, its DiffID (the digest of the uncompressed tar), and both sizes in bytes."""

    digest: str
    diff_id: str
    size: int
    unpacked_size: int
    brought: tuple[tuple[str, bytes], ...] = ()  # of wheels, in the order they are laid: "name==version", footprint
