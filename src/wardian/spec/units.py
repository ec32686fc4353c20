"""Durations and sizes as people write them."""

import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]+(?:\.[0-9]+)?)([smhd])"
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def seconds(value: object) -> float:
    """Seconds of ``90``, ``"60s"``, ``"1h30m"``.

    >>> seconds("1h30m")
    5400.0
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if isinstance(value, str) and re.fullmatch(f"(?:{_PART})+", value):
        return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, value))
    message = f"{value!r} is not a duration; write 90, '60s', '5m' or '1h30m'"
    raise ValueError(message)


def size(value: object) -> int:
    """Bytes of ``1024``, ``"512m"``, ``"16g"``, ``"16GB"`` or ``"16GiB"`` (all binary, as Docker reads them).

    >>> size("16g") == 16 * 1024**3
    True
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (
        found := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", value.strip().lower())
    ):
        return int(float(found[1]) * _BYTES[found[2]])
    message = f"{value!r} is not a size; write a number of bytes, '512m' or '16g'"
    raise ValueError(message)


def human_size(count: float) -> str:
    """Bytes for people, in SI units.

    >>> human_size(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
