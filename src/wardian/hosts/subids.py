"""Subordinate ids: the ranges of uids and gids that a plain user may hand out. Source: subuid(5)."""

from collections.abc import Iterator
from pathlib import Path

FILES = (Path("/etc/subuid"), Path("/etc/subgid"))
COUNT = 1 << 16  # ids of a range; what useradd(8) gives, and enough for every id of a Debian image


def listed(user: str) -> bool:
    """Whether the user has a range in both files."""
    return all(any(owner == user for owner, _, _ in ranges(path)) for path in FILES)


def command(user: str) -> str:
    """The line that gives the user a range which nobody else has: two users with one range read each other's files."""
    start = free(entry for path in FILES for entry in ranges(path))
    span = f"{start}-{start + COUNT - 1}"
    return f"sudo usermod --add-subuids {span} --add-subgids {span} {user}"


def free(taken: "Iterator[tuple[str, int, int]]") -> int:
    """The first id of a free range: after all that are taken, as useradd(8) looks for it.

    >>> free(iter([("ada", 100000, 65536), ("bob", 1000000, 65536)]))
    1065536
    """
    return max((first + count for _, first, count in taken), default=100000)


def ranges(path: Path) -> Iterator[tuple[str, int, int]]:
    """The lines of a file as (user, first id, count); what is no such line is passed over, as newuidmap(1) does."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        user, *numbers = line.split(":")
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            yield user, int(numbers[0]), int(numbers[1])
