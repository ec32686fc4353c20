"""Which distributions bring the same path, told by twelve bytes for each: eight of its digest, the content's CRC.

They are kept with a layer's record, so that no wheel and no layer is opened to compare all that an image installs.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from wardian.oci import tar

if TYPE_CHECKING:
    from wardian.oci.wheel import Placed

_FOLDER = 0xFFFFFFFF  # in place of a CRC


class Collision(NamedTuple):
    """Paths, as ``mark`` tells them, that two distributions bring and of which one hides the other's."""

    hidden: str
    seen: str
    files: frozenset[int]  # two files whose contents differ
    folders: frozenset[int]  # a file of one, a folder of the other


def mark(path: str) -> int:
    """What stands for a path."""
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def footprint(files: Iterable["Placed"]) -> bytes:
    """What stands for everything that one distribution installs: all marks, then all contents; folders included."""
    told = {file.path: file.member.crc if file.member else zlib.crc32(file.content or b"") for file in files}
    told |= dict.fromkeys(list(tar.directories(told)), _FOLDER)
    return struct.pack(f"<{len(told)}Q{len(told)}I", *map(mark, told), *told.values())


def collisions(brought: Sequence[tuple[str, bytes]]) -> list[Collision]:
    """Each pair of distributions of which one hides what the other brings, and where.

    ``brought`` has their names and footprints in the order in which they are laid over each other.
    """
    above: list[tuple[str, dict[int, int]]] = []
    seen: dict[int, int] = {}
    found: dict[tuple[str, str], tuple[set[int], set[int]]] = {}
    for owner, marks in reversed(brought):
        own = _read(marks)
        common = {path: seen[path] for path in own.keys() & seen.keys()}
        for path in (path for path, content in common.items() if content != own[path]):
            upper = next(name for name, paths in above if path in paths)
            files, folders = found.setdefault((owner, upper), (set(), set()))
            (folders if _FOLDER in (own[path], seen[path]) else files).add(path)
        above.append((owner, own))
        seen |= own
        seen |= common
    return [Collision(*pair, frozenset(files), frozenset(folders)) for pair, (files, folders) in sorted(found.items())]


def _read(marks: bytes) -> dict[int, int]:
    count = len(marks) // 12
    numbers = struct.unpack(f"<{count}Q{count}I", marks[: 12 * count])
    return dict(zip(numbers[:count], numbers[count:], strict=True))
