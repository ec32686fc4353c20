"""One wheel that a lock names, as the plan and the resolvers speak of it."""

from dataclasses import dataclass

from wardian.lock.model import Built


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel to install: where it is, and what it must be."""

    name: str  # normalised (PEP 503)
    version: str
    filename: str
    url: str  # "" for one that was built from a source distribution
    sha256: str
    size: int | None = None
    requested: bool = False  # a direct requirement: gets REQUESTED (PEP 376)
    built: Built | None = None
