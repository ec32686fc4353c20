"""What kind of value each place of the file takes, read off the models."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from wardian.spec.models import Name, Spec
from wardian.spec.paths import Path

Kind = Literal["table", "mapping", "list", "text", "value"]


def plain(annotation: Any) -> Any:
    """An annotation without ``Annotated`` and ``| None``."""
    if get_origin(annotation) is Annotated:
        return plain(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        some = [part for part in get_args(annotation) if part is not type(None)]
        return plain(some[0]) if len(some) == 1 else annotation
    return annotation


def at(path: Path) -> Any:
    """The annotation of a place, or None when the models have no such place."""
    annotation: Any = Spec
    for part in path:
        annotation = _inner(plain(annotation), part)
        if annotation is None:
            return None
    return plain(annotation)


def _inner(annotation: Any, part: str | int) -> Any:
    if is_table(annotation):
        found = [field.annotation for field in annotation.model_fields.values() if field.alias == part]
        return found[0] if found else None
    arguments = get_args(annotation)
    if get_origin(annotation) is dict and isinstance(part, str):
        return arguments[1]
    if get_origin(annotation) is tuple and isinstance(part, int):
        return arguments[0]
    return None


def kind(path: Path) -> Kind | None:
    """What a place takes: a table of known keys, a mapping of free ones, a list, a string, or another value."""
    annotation = at(path)
    if annotation is None:
        return None
    if is_table(annotation):
        return "table"
    origin = get_origin(annotation)
    if origin is dict:
        return "mapping"
    if origin is tuple:
        return "list"
    return "text" if annotation is str or origin is Literal else "value"


def is_table(annotation: Any) -> bool:
    """Whether an annotation is one of the file's tables."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def keys(path: Path) -> list[str]:
    """The keys a table may have; empty for anything else."""
    annotation = at(path)
    return [field.alias or "" for field in annotation.model_fields.values()] if is_table(annotation) else []


def spoken(words: list[str], data: Mapping[str, Any]) -> tuple[Path, int]:
    """The path that the words of an environment variable mean, and how many of them were understood.

    A word of ``WARDIAN_RUN__ENV_PASS`` may stand for a key with hyphens or dots. Of free keys that ``data`` lacks,
    a name is written in lower case with hyphens, anything else (an environment variable) as it is.
    """
    path: Path = ()
    here: Any = data
    for at_word, word in enumerate(words):
        annotation = at(path)
        if is_table(annotation):
            known = keys(path)
        elif get_origin(annotation) is dict:
            known = list(here) if isinstance(here, Mapping) else []
        else:
            return path, at_word
        same = [key for key in known if _folded(key) == _folded(word)]
        if not same and is_table(annotation):
            return path, at_word
        free = _folded(word).replace("_", "-") if get_args(annotation)[:1] == (Name,) else word
        path = (*path, word if word in same else same[0] if same else free)
        here = here.get(path[-1]) if isinstance(here, Mapping) else None
    return path, len(words)


def _folded(key: str) -> str:
    return key.lower().replace("-", "_").replace(".", "_")
