"""TOML values as text: strings, numbers, arrays, inline tables, each always written the same way."""

import json
import re
from collections.abc import Mapping

BARE = re.compile(r"[A-Za-z0-9_-]+")
WIDTH = 100  # an array that is longer takes a line for each entry


def key(name: str) -> str:
    """A bare key where TOML allows one, else a quoted one.

    >>> key("train[python=3.11]")
    '"train[python=3.11]"'
    """
    return name if BARE.fullmatch(name) else string(name)


def string(text: str) -> str:
    """A basic string. JSON's escapes are a subset of TOML's, save for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def value(data: object) -> str:
    """A value; an array of tables, or a long one, takes a line for each entry."""
    if isinstance(data, str):
        return string(data)
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, int):
        return str(data)
    if isinstance(data, Mapping):
        return "{ " + ", ".join(f"{key(name)} = {value(inner)}" for name, inner in data.items()) + " }"
    if isinstance(data, list | tuple):
        return _array([value(item) for item in data], wide=any(isinstance(item, Mapping) for item in data))
    raise TypeError(f"{type(data).__name__} has no place in a file of Wardian's")


def _array(items: list[str], *, wide: bool) -> str:
    short = f"[{', '.join(items)}]"
    if len(short) <= WIDTH and not wide:
        return short
    return "[\n" + "".join(f"  {item},\n" for item in items) + "]"
