"""pydantic's errors in the words of someone who writes the file."""

import json
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from wardian.errors import Fault
from wardian.spec import shape
from wardian.spec.models import Spec
from wardian.spec.paths import Path, lookup, text

PATTERNS = {
    r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$": "must be lower-case letters and digits, with single . _ - between them",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "must be the name of an environment variable",
    r"^/": "must be an absolute path",
    r"^(?:/|@site-packages/[^/])": "must be an absolute path, or @site-packages/PACKAGE",
    r"^3\.[0-9]+$": 'must be a Python version such as "3.11"',
    r"^(host|root|[0-9]+:[0-9]+)$": 'must be "host", "root" or "uid:gid"',
    r"^linux/[a-z0-9]+(?:/v[0-9])?$": 'must be a platform such as "linux/amd64"',
}
KINDS = {
    "string_type": "a string", "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "bool_type": "true or false", "bool_parsing": "true or false",
    "tuple_type": "a list", "dict_type": "a table", "model_type": "a table", "float_type": "a number",
    "float_parsing": "a number",
}  # fmt: skip
# A fault in one of these keys leaves nothing certain about the image, so its variants are not looked at.
DECISIVE = {"matrix", "python", "tags"}


def explain(error: ValidationError, data: dict[str, Any]) -> list[Fault]:
    """One fault for each error, with its path and a suggestion where there is one."""
    return [_fault(details, data) for details in error.errors(include_url=False, include_context=True)]


def _fault(details: ErrorDetails, data: dict[str, Any]) -> Fault:
    path: Path = details["loc"]
    kind, context = details["type"], details.get("ctx", {})
    if path and path[-1] == "[key]":
        path = path[:-1]
        return Fault(text(path), _pattern(context, f"the name {path[-1]!r} "))
    value = lookup(data, path)
    if kind == "extra_forbidden":
        return Fault(text(path), "unknown key", hint=_meant(path))
    if kind == "missing":
        return Fault(text(path), "is missing", hint=_example(path))
    if kind in KINDS:
        return Fault(text(path), f"must be {KINDS[kind]}, not {_shown(path, value)}", hint=_write(kind, value))
    if kind == "string_pattern_mismatch":
        return Fault(text(path), f"{_pattern(context, '')}, not {_shown(path, value)}")
    if kind == "literal_error":
        choices = str(context.get("expected", "")).replace("'", '"')
        return Fault(text(path), f"must be {choices}, not {_shown(path, value)}")
    if kind == "too_short" and path == ("images",):
        return Fault("images", "there is no image", hint=_example(path))
    if kind == "value_error":
        return Fault(text(path), str(context.get("error", details["msg"])))
    if kind in {"less_than_equal", "greater_than_equal"}:
        bound = f"most {context['le']}" if "le" in context else f"least {context['ge']}"
        return Fault(text(path), f"must be at {bound}, not {_shown(path, value)}")
    return Fault(text(path), f"{details['msg'][:1].lower()}{details['msg'][1:]}, not {_shown(path, value)}")


def _pattern(context: dict[str, Any], what: str) -> str:
    return what + PATTERNS.get(str(context.get("pattern")), f"must match {context.get('pattern', 'its pattern')}")


def _shown(path: Path, value: object) -> str:
    """The value for a message, short; never one of an environment table, which may be a secret."""
    if "env" in path[:-1]:
        return "this value"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    words = json.dumps(value, ensure_ascii=False, default=str)
    return words if len(words) <= 60 else f"{words[:57]}…"


def _write(kind: str, value: object) -> str | None:
    """What to type instead of a value of the wrong type."""
    if kind == "string_type" and isinstance(value, float):
        return "write it in quotes; without them 3.10 is the number 3.1"
    if kind == "string_type" and isinstance(value, int) and not isinstance(value, bool):
        return "write it in quotes"
    if kind == "tuple_type" and isinstance(value, str):
        return f"write [{json.dumps(value, ensure_ascii=False)}]"
    if kind in {"model_type", "dict_type"} and isinstance(value, str):
        return "write { key = value }"
    return None


def _meant(path: Path) -> str | None:
    """The key that was probably meant: of this table, or of the table next to it."""
    key, known = str(path[-1]), shape.keys(path[:-1])
    same = [name for name in known if name == key.replace("_", "-")]
    near = same or get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(known)}" if known else None


def _example(path: Path) -> str | None:
    last = path[-1] if path else ""
    examples = {
        "name": 'write name = "…"',
        "from": 'write from = "bootstrap:debian:bookworm", an image reference, or "@image"',
        "project": 'write [project] and name = "…"',
        "images": "write [images.NAME] and from = …",
    }
    return examples.get(str(last))


def salvage(data: dict[str, Any]) -> tuple[Spec | None, set[str]]:
    """What is left when everything malformed is taken out, and the images about which too little is certain."""
    left: dict[str, Any] = deepcopy(data)
    doubtful: set[str] = set()
    for _ in range(20):
        try:
            return Spec.model_validate(left, by_alias=True, by_name=False), doubtful
        except ValidationError as error:
            for details in error.errors(include_url=False, include_context=False, include_input=False):
                _take_out(left, details["type"], details["loc"], doubtful)
    return None, doubtful


def _take_out(left: dict[str, Any], kind: str, path: Path, doubtful: set[str]) -> None:
    if path[:1] == ("project",):
        left["project"] = {"name": "unnamed"}
        return
    if path[:1] == ("images",) and len(path) > 1:
        whole = len(path) == 2 or (len(path) == 3 and (kind == "missing" or path[2] in {"[key]", "from"}))
        if whole or path[2] in DECISIVE:
            doubtful.add(str(path[1]))
            path = path[:2] if whole else path[:3]
    if path[:1] == ("services",):
        path = path[:3]  # what is left of a broken part of a service says nothing
    if path[-1:] == ("[key]",) or kind == "missing":
        path = path[:-1]
    while path and isinstance(path[-1], int):
        path = path[:-1]
    if not path:
        return
    table = lookup(left, path[:-1])
    if isinstance(table, dict):
        table.pop(path[-1], None)
