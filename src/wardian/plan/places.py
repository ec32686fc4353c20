"""Where something stands in a text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of a text: from where to where (in characters), what it says, on which line it begins."""

    start: int
    end: int
    text: str
    line: int
