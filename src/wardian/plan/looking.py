"""What the looking verbs show: images, their layers, what lies in them and who shares them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LayerSeen:
    """A layer as it is shown. ``unpacked`` is None for one that was not made here."""

    digest: str
    size: int
    title: str
    unpacked: int | None = None
    packages: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The layer as JSON."""
        return {
            "digest": self.digest,
            "size": self.size,
            "unpacked": self.unpacked,
            "title": self.title,
            "packages": list(self.packages),
        }


@dataclass(frozen=True, slots=True)
class ImageSeen:
    """An image as it is shown: its names, its layers from the bottom up, its config."""

    reference: str
    digest: str
    platform: str = ""
    built: bool = False
    made: float = 0.0  # when it came into the store, seconds since 1970
    layers: tuple[LayerSeen, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # the "config" object of the OCI config
    packages: tuple[str, ...] = ()  # all of them, the base's too: "name==version" (PyPI) or "name=version" (Debian)

    @property
    def size(self) -> int:
        """Bytes of all layers, compressed; one that occurs twice counts once."""
        return sum({layer.digest: layer.size for layer in self.layers}.values())


@dataclass(frozen=True, slots=True)
class Shared:
    """Bytes of an image's layers that other images hold too, and bytes that are its own."""

    shared: int
    unique: int


def sharers(image: ImageSeen, others: Sequence[ImageSeen]) -> dict[str, tuple[str, ...]]:
    """Layer digest → the references of the other images that have it; names of the same image are not others."""
    holders: dict[str, list[str]] = {layer.digest: [] for layer in image.layers}
    for other in others:
        if other.digest != image.digest:
            for digest in {layer.digest for layer in other.layers} & holders.keys():
                holders[digest].append(other.reference)
    return {digest: tuple(sorted(references)) for digest, references in holders.items()}


def sharing(image: ImageSeen, others: Sequence[ImageSeen]) -> Shared:
    """How much of an image other images hold too."""
    held = sharers(image, others)
    sizes = {layer.digest: layer.size for layer in image.layers}
    shared = sum(size for digest, size in sizes.items() if held[digest])
    return Shared(shared, image.size - shared)


def total(images: Sequence[ImageSeen]) -> int:
    """Bytes of all layers of all images, each layer once: what they cost on the disk."""
    return sum({layer.digest: layer.size for image in images for layer in image.layers}.values())


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of a tree, and what hangs on it."""

    text: str
    leaves: tuple["Branch", ...] = ()


def lines(branch: Branch, *, before: str = "", ours: str = "") -> list[str]:
    """A tree as text.

    >>> lines(Branch("a", (Branch("b", (Branch("c"),)), Branch("d"))))
    ['a', '├─ b', '│  └─ c', '└─ d']
    """
    written = [f"{before}{ours}{branch.text}"]
    inner = before + {"": "", "├─ ": "│  ", "└─ ": "   "}[ours]
    for at, leaf in enumerate(branch.leaves):
        last = at + 1 == len(branch.leaves)
        written += lines(leaf, before=inner, ours="└─ " if last else "├─ ")
    return written
