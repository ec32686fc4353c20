"""Places in the file: ``images.train.tests."torch imports".run``, ``images.train.apt[1]``."""

from collections.abc import Iterator, Mapping
from typing import Any

from wardian.spec import toml

Path = tuple[str | int, ...]


def text(path: Path) -> str:
    """A path as people write it; keys that are not bare in TOML are quoted.

    >>> text(("images", "train", "tests", "a b", "run"))
    'images.train.tests."a b".run'
    >>> text(("images", "train", "apt", 1))
    'images.train.apt[1]'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{toml.key(part)}" for part in path).removeprefix(".")


def lookup(data: Any, path: Path) -> Any:
    """The value at a path of nested tables and lists, or None."""
    for part in path:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def leaves(data: Any, prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is not a table, with its path. A list is one value; an empty table is one too."""
    if isinstance(data, Mapping) and (data or not prefix):
        for key, value in data.items():
            yield from leaves(value, (*prefix, key))
    else:
        yield prefix, data


def nested(path: Path, value: Any) -> dict[str, Any]:
    """Tables around one value.

    >>> nested(("run", "shm"), "16g")
    {'run': {'shm': '16g'}}
    """
    for part in reversed(path):
        value = {str(part): value}
    return dict(value)
