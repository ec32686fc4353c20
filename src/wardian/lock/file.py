"""``wardian.lock`` as text: TOML in a stable order, one line for each package, so that a diff can be read."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from wardian.errors import Fault, SpecError
from wardian.lock.model import Lock, LockedImage
from wardian.spec import toml

HEADING = "# Written by `wardian lock`. Commit it; do not edit it.\n"
_MEND = "restore the file or delete it, then type: wardian lock"


def read(text: str, source: str) -> Lock:
    """Parse a lock; no text is an empty lock. Raises ``SpecError`` that names ``source`` and, if known, the line."""
    if not text.strip():
        return Lock()
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = next((at for at, row in enumerate(text.splitlines(), 1) if row.startswith(("<<<<<<<", ">>>>>>>"))), None)
        what = "it holds both sides of a merge" if line else f"it is not TOML: {error}"
        raise SpecError([Fault("", what, source, line)], hint=_MEND) from error
    version = data.get("version")
    if version != 1:
        raise SpecError([Fault("version", f"format {version!r} is not known to this Wardian", source)], hint=_MEND)
    try:
        return Lock.model_validate(data)
    except ValidationError as error:
        faults = [Fault(".".join(map(str, one["loc"])), one["msg"], source) for one in error.errors()]
        raise SpecError(faults, hint=_MEND) from error


def write(lock: Lock) -> str:
    """The lock as TOML; ``read(write(lock)) == lock``."""
    tables = (_image(f"images.{toml.key(name)}", lock.images[name]) for name in sorted(lock.images))
    return HEADING + f"version = {lock.version}\n" + "".join("\n" + "\n".join(table) + "\n" for table in tables)


def _image(path: str, image: LockedImage) -> Iterator[str]:
    """The tables of one image: scalars first, then what is long."""
    data = image.model_dump(exclude_none=True, exclude_defaults=True)
    inner = {name: data.pop(name, None) for name in ("wants", "base", "built")}
    yield f"[{path}]"
    yield from _fields(data)
    if inner["wants"]:
        yield f"\n[{path}.wants]"
        yield from _fields(dict(sorted(inner["wants"].items())))
    if inner["base"]:
        yield f"\n[{path}.base]"
        yield from _fields(inner["base"])
    for built in inner["built"] or ():
        yield f"\n[[{path}.built]]"
        yield from _fields(built)


def _fields(data: Mapping[str, Any]) -> Iterator[str]:
    return (f"{toml.key(name)} = {toml.value(value)}" for name, value in data.items())
