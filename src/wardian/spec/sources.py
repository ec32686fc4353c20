"""One place that values come from, and how each kind is read: a TOML file, environment variables, a flag."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from wardian.errors import Fault
from wardian.spec import shape
from wardian.spec.lines import lines
from wardian.spec.paths import Path, nested

Kind = Literal["default", "file", "user", "local", "environment", "flag"]

# Variables that steer the program, or that it sets for programs in containers: not settings of a project.
# WARDIAN_IMAGE and WARDIAN_RUN are told to programs; so the whole table [run] has no variable, only its keys have.
RESERVED = frozenset(
    f"WARDIAN_{name}" for name in ("HOME", "CONFIG", "IMAGE", "RUN", "REQUIRE_ENGINES", "COMPLETE", "PORT", "LISTEN")
)
OURS = ("WARDIAN_PORT_", "WARDIAN_SANDBOX_", "WARDIAN_SERVICE_")
POSITION = re.compile(r"\(at line (\d+), column (\d+)\)")
FLAG = re.compile(r"""((?:"(?:\\.|[^"\\])*"|'[^']*'|[^="'])*)=(.*)""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """Where values come from: ``text`` is TOML or ``KEY=VALUE``, ``values`` are tables or variables by name.

    A file that is called pyproject.toml is read at ``[tool.wardian]``.
    """

    name: str
    text: str | None = None
    values: Mapping[str, Any] | None = None
    kind: Kind = "file"


@dataclass(frozen=True, slots=True)
class Said:
    """What one source says: tables, the line and the variable of each key, and what is wrong."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: Mapping[Path, int] = field(default_factory=dict)
    names: Mapping[Path, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    broken: bool = False  # nothing could be read


def read(source: Source, known: Mapping[str, Any]) -> Said:
    """What a source says; ``known`` are the values before it (a variable may name one of their images)."""
    if source.kind == "environment":
        return _environment(source, known)
    if source.kind == "flag":
        return _flag(source)
    if source.text is None:
        return Said(dict(source.values or {}))
    return _document(source)


def _document(source: Source) -> Said:
    document = (source.text or "").removeprefix("\ufeff")
    try:
        data = tomllib.loads(document)
    except tomllib.TOMLDecodeError as error:
        place = POSITION.search(str(error))
        line = int(place[1]) if place else document.rstrip().count("\n") + 1
        message = POSITION.sub("", str(error)).replace("(at end of document)", "at the end of the file").strip()
        column = f" in column {place[2]}" if place else ""
        fault = Fault("", f"not valid TOML{column}: {message[:1].lower()}{message[1:]}", source.name, line)
        return Said(faults=(fault,), broken=True)
    except RecursionError:
        return Said(faults=(Fault("", "not readable: values are nested too deeply", source.name),), broken=True)
    where = lines(document)
    if source.name.rsplit("/", 1)[-1] != "pyproject.toml":
        return Said(data, where)
    inner = data.get("tool", {}).get("wardian", {})
    if not isinstance(inner, dict):
        return Said(
            faults=(Fault("tool.wardian", "must be a table", source.name, where.get(("tool", "wardian"))),), broken=True
        )
    return Said(inner, {path[2:]: line for path, line in where.items() if path[:2] == ("tool", "wardian")})


def _environment(source: Source, known: Mapping[str, Any]) -> Said:
    data: dict[str, Any] = {}
    names: dict[Path, str] = {}
    faults = []
    for variable, value in sorted((source.values or {}).items()):
        if variable in RESERVED or variable.startswith(OURS) or not variable.startswith("WARDIAN_"):
            continue
        words = variable.removeprefix("WARDIAN_").split("__")
        path, understood = shape.spoken(words, known)
        if understood < len(words) or shape.kind(path) is None:
            faults.append(_unknown(variable, path, words, understood))
            continue
        merge(data, nested(path, typed(path, value)))
        names[path] = variable
    return Said(data, names=names, faults=tuple(faults))


def _unknown(variable: str, path: Path, words: list[str], understood: int) -> Fault:
    prefix = "__".join(["WARDIAN_" + "__".join(words[:understood]), ""] if understood else ["WARDIAN_"])
    wanted = words[min(understood, len(words) - 1)]
    keys = [prefix + key.upper().replace("-", "_") for key in shape.keys(path)]
    choices = keys if understood else [*keys, *sorted(RESERVED)]
    near = get_close_matches(prefix + wanted, choices, n=1, cutoff=0.6)
    rest = "".join(f"__{word}" for word in words[understood + 1 :]) if near and near[0] in keys else ""
    hint = (
        f"did you mean {near[0]}{rest}?" if near else "nested keys are joined by two underscores: WARDIAN_RUN__SHM=16g"
    )
    return Fault("", f"{variable} is not a setting of Wardian", source="environment", hint=hint)


def _flag(source: Source) -> Said:
    found = FLAG.fullmatch(source.text or "")
    try:
        key = tomllib.loads(f"{found[1]} = 0") if found else {}
    except tomllib.TOMLDecodeError:
        key = {}
    if not found or len(key) != 1:
        fault = Fault("", f"{source.text!r} is not KEY=VALUE", source.name, hint="example: --set run.shm=16g")
        return Said(faults=(fault,))
    path: Path = ()
    inner: Any = key
    while isinstance(inner, dict) and len(inner) == 1:
        path, inner = (*path, next(iter(inner))), next(iter(inner.values()))
    return Said(nested(path, typed(path, found[2])))


def typed(path: Path, value: str) -> Any:
    """The value that a variable's or a flag's text means at a place: TOML, or the bare text.

    Where a string belongs, ``3.11`` is a string; it may be quoted.
    """
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return value
    if list(parsed) != ["value"]:
        return value
    return value if shape.kind(path) == "text" and not isinstance(parsed["value"], str) else parsed["value"]


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Lay ``values`` over ``into``: tables are merged, anything else is replaced."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            into[key] = inner if isinstance(inner := into.get(key), dict) else {}
            merge(into[key], value)
        else:
            into[key] = value
