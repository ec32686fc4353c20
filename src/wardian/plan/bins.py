"""Which wheels share a layer.

A big wheel is a layer of its own. The small ones go into bins by a hash of the name alone, never by size, order or
count: adding, removing or upgrading one wheel then touches one bin, and the other layers keep their digests.
"""

from collections.abc import Sequence
from hashlib import sha256

from wardian.errors import WardianError
from wardian.lock.wheel import Wheel

BIG = 2_000_000  # bytes of a wheel that gets its own layer
BINS = 8
LAYERS = 100  # of ours in one image
ALL_LAYERS = 120  # with the base's; engines stop at 125 to 127

Group = tuple[str, tuple[Wheel, ...]]  # title, wheels sorted by name


def groups(wheels: Sequence[Wheel], *, room: int) -> tuple[Group, ...]:
    """The layers for some wheels: big ones by name, then the bins that are not empty; at most ``room``.

    Where there is not room enough, the size from which a wheel counts as big grows until there is, then the number
    of bins is halved. Should two wheels bring the same path, the order of the layers decides, which is always the same.
    """
    if not wheels:
        return ()
    if room < 1:
        raise WardianError(f"no room for the wheels: an image has at most {LAYERS} layers of its own")
    for big, bins in _ladder(wheels):
        made = _group(wheels, big, bins)
        if len(made) <= room:
            return made
    return (("wheels", tuple(sorted(wheels, key=_name))),)


def _ladder(wheels: Sequence[Wheel]) -> list[tuple[int, int]]:
    """The (threshold, bins) to try, from fine to coarse."""
    largest = max(_size(wheel) for wheel in wheels)
    steps, big = [], BIG
    while big <= largest:
        steps.append((big, BINS))
        big = big * 5 // 4
    return [*steps, (big, BINS), (big, 4), (big, 2), (big, 1)]


def _group(wheels: Sequence[Wheel], big: int, bins: int) -> tuple[Group, ...]:
    alone: list[Group] = []
    small: dict[int, list[Wheel]] = {}
    for wheel in sorted(wheels, key=_name):
        if _size(wheel) >= big:
            alone.append((f"{wheel.name} {wheel.version}", (wheel,)))
        else:
            small.setdefault(bin_of(wheel.name, bins), []).append(wheel)
    binned: list[Group] = [(_bin_title(at, bins, group), tuple(group)) for at, group in sorted(small.items())]
    return (*alone, *binned)


def bin_of(name: str, bins: int = BINS) -> int:
    """The bin of a distribution, from 0."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") % bins


def _bin_title(at: int, bins: int, wheels: Sequence[Wheel]) -> str:
    count = f"{len(wheels)} wheels" if len(wheels) > 1 else wheels[0].name
    return f"bin {at + 1} of {bins} ({count})"


def _size(wheel: Wheel) -> int:
    """An index that tells no size leaves a wheel alone in its layer, first to be merged when room is short."""
    return BIG if wheel.size is None else wheel.size


def _name(wheel: Wheel) -> str:
    return wheel.name
