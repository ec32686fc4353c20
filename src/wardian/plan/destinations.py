"""Where images go when they are pushed: ``--to``, or the project's registry, and the tags they have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wardian.errors import SpecError
from wardian.oci.reference import Reference

PLAIN = "http://"


@dataclass(frozen=True, slots=True)
class Destination:
    """What was said of where to: a place for all images, or, with a tag, one name for one image."""

    place: str
    exact: bool
    plain: bool  # written with http://

    @classmethod
    def parse(cls, text: str) -> "Destination":
        """Read ``HOST/PATH`` or ``HOST/PATH:TAG``; a host alone may have a port, which is no tag.

        >>> Destination.parse("localhost:5000").exact, Destination.parse("localhost:5000/lab/train:1").exact
        (False, True)
        """
        bare = text.removeprefix(PLAIN).rstrip("/")
        if not bare or "@" in bare:
            raise SpecError(f"{text!r} is no place to push to", hint="write HOST/PATH, or HOST/PATH:TAG for one image")
        path = bare.partition("/")[2]
        return cls(bare, ":" in path.rpartition("/")[2], text.startswith(PLAIN))

    def of(self, name: str, tags: Sequence[str]) -> tuple[Reference, tuple[str, ...]]:
        """The repository and the tags of the image that is called ``name``."""
        if self.exact:
            reference = Reference.parse(self.place)
            return reference, (reference.tag or "latest",)
        return Reference.parse(f"{self.place}/{name}"), tuple(tags)

    def named(self, text: str) -> Reference:
        """The reference of something that is called ``name:tag`` there; a whole reference means itself."""
        return Reference.parse(text if has_host(text) or self.exact else f"{self.place}/{text}")


def has_host(text: str) -> bool:
    """Whether a reference says its registry itself; docker's rule."""
    host, slash, _ = text.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def repository(reference: Reference) -> Reference:
    """A reference without what it names there."""
    return replace(reference, tag=None, digest=None)
