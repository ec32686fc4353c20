"""The merged configuration as a list: each value with the place it came from, nothing secret in it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wardian.spec.check import SECRET
from wardian.spec.load import Loaded
from wardian.spec.paths import Path, leaves, text

PASSWORD = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@")
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the configuration. ``value`` is as it was written: variables are not filled in."""

    path: str
    value: Any
    source: str  # "wardian.toml", "WARDIAN_RUN__SHM", "--set", "default"
    line: int | None = None

    def __str__(self) -> str:
        return json.dumps(self.value, ensure_ascii=False)


def values(loaded: Loaded) -> list[Value]:
    """Every value that was set, in the order of the file, then the defaults that are not empty."""
    found = [_value(loaded, path, value) for path, value in leaves(loaded.data)]
    return found + [_value(loaded, path, value) for path, value in _defaults(loaded)]


def _value(loaded: Loaded, path: Path, value: object) -> Value:
    name = text(path)
    return Value(name, _safe(path, value), loaded.origin.get(name, "default"), loaded.lines.get(name))


def _defaults(loaded: Loaded) -> Iterator[tuple[Path, object]]:
    said = {path[:end] for path, _ in leaves(loaded.data) for end in range(1, len(path) + 1)}
    written = {path for path, _ in leaves(loaded.data)}
    for path, value in leaves(loaded.spec.model_dump(mode="json", by_alias=True)):
        known = path in said or any(path[:end] in written for end in range(1, len(path)))
        if not known and value not in (None, [], {}, ""):
            yield path, value


def _safe(path: Path, value: Any) -> Any:
    """The value without what looks like a password. A variable that is passed by name has no value here at all."""
    if isinstance(value, list):
        return [_safe(path, inner) for inner in value]
    if not isinstance(value, str):
        return value
    if len(path) > 1 and path[-2] == "env" and value and SECRET.search(str(path[-1]).upper()):
        return HIDDEN
    return PASSWORD.sub("***@", value)
