"""``wardian.local.toml``: one mount's values changed in its text, everything else as it was."""

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from wardian.errors import WardianError
from wardian.spec import toml
from wardian.spec.sources import merge

if TYPE_CHECKING:
    from tomlkit.items import Table

HEADING = "# Of this machine and this person alone: not for git. `wardian mount` writes here; comments stay.\n"


def changed(document: str, name: str, values: Mapping[str, str | bool]) -> str:
    """The text with ``[mounts.NAME]`` holding ``values``. Comments, order and formatting of the rest stay.

    Raises ``WardianError`` for a text that is not TOML, or that cannot be changed so without changing more.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text = document.removeprefix("\ufeff") or HEADING
    try:
        expected = tomllib.loads(text)
        known = deepcopy(expected)
        merge(expected, {"mounts": {name: dict(values)}})
        if known == expected:
            return document
        parsed = tomlkit.parse(text)
        table = _table(_table(parsed, "mounts", inner=False), name, inner=True)
        for key, value in values.items():
            table[key] = value
        written = tomlkit.dumps(parsed)
        written += "" if written.endswith("\n") else "\n"
        if tomllib.loads(written) == expected:
            return written
    except (tomllib.TOMLDecodeError, TOMLKitError, TypeError, AttributeError, KeyError) as error:
        raise _by_hand(name, values) from error
    raise _by_hand(name, values)


def _table(parent: Any, key: str, *, inner: bool) -> "Table":
    import tomlkit

    if key not in parent:
        parent[key] = tomlkit.table(is_super_table=not inner)
    found: Table = parent[key]
    return found


def _by_hand(name: str, values: Mapping[str, str | bool]) -> WardianError:
    lines = "; ".join(f"{key} = {toml.value(value)}" for key, value in values.items())
    return WardianError(
        "wardian.local.toml cannot be changed without changing more of it",
        hint=f"write into [mounts.{toml.key(name)}] by hand: {lines}",
    )
