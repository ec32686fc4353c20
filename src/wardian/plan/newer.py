"""Which tags are newer versions of one."""

import re
from collections.abc import Iterable

_VERSION = re.compile(r"([^0-9]*)([0-9]{1,99}(?:\.[0-9]{1,99})*)(.*)", re.DOTALL)


def newer(tag: str, tags: Iterable[str]) -> list[str]:
    """The tags that say the same with a higher version, the newest last; none where the tag is no version.

    What stands before and behind the version must be equal, and so the number of its parts: ``12.4-base`` has nothing
    to do with ``12.5-devel``, nor with ``12.4.1-base``.

    >>> newer("12.4.1-base-ubuntu22.04", ["12.6.0-base-ubuntu22.04", "12.6.0-base-ubuntu24.04", "latest", "12.4.1"])
    ['12.6.0-base-ubuntu22.04']
    """
    own = _parts(tag)
    if own is None:
        return []
    found = [
        (parts[1], one) for one in set(tags) if (parts := _parts(one)) and parts[0] == own[0] and parts[2] == own[2]
    ]
    return [one for version, one in sorted(found) if len(version) == len(own[1]) and version > own[1]]


def _parts(tag: str) -> tuple[str, tuple[int, ...], str] | None:
    match = _VERSION.fullmatch(tag)
    if not match:
        return None
    return match[1], tuple(int(part) for part in match[2].split(".")), match[3]
