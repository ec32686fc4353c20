"""Where an image comes from, as the project or a machine's substitute writes it."""

from dataclasses import dataclass

from wardian.errors import WardianError
from wardian.oci.reference import Reference
from wardian.registry.client import Registry

BOOTSTRAP = "bootstrap:"
_PLAIN = "http://"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image comes from: a reference, asked for over plain HTTP if it was written ``http://…``."""

    reference: Reference
    plain: bool = False

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read a reference, or a substitute's value."""
        if text.startswith(BOOTSTRAP):
            raise WardianError(f"{text} is bootstrapped, it is in no registry")
        return cls(Reference.parse(text.removeprefix(_PLAIN)), text.startswith(_PLAIN))

    def of(self, registry: Registry) -> Registry:
        """The registry, with plain HTTP allowed if that was asked for."""
        return registry.with_plain(self.reference.registry) if self.plain else registry
