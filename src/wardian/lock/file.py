"""``wardian.lock`` as text: TOML in a stable order, one line for each package, so that a diff can be read."""

import json
import tomllib
from collections.abc import Collection, Iterator

from pydantic import BaseModel, ValidationError

from wardian.errors import Fault, SpecError
from wardian.lock.model import Lock, LockedImage

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
    return (
        HEADING
        + f"version = {lock.version}\n"
        + "".join(
            "\n" + "\n".join(_image(f"images.{_key(name)}", lock.images[name])) + "\n" for name in sorted(lock.images)
        )
    )


def _image(path: str, image: LockedImage) -> Iterator[str]:
    """The tables of one image: scalars first, then what is long."""
    yield f"[{path}]"
    yield from _fields(image, leave={"wants", "base", "built"})
    if image.wants:
        yield f"\n[{path}.wants]"
        yield from (f"{_key(name)} = {_value(values)}" for name, values in sorted(image.wants.items()))
    if image.base:
        yield f"\n[{path}.base]"
        yield from _fields(image.base)
    for built in image.built:
        yield f"\n[[{path}.built]]"
        yield from _fields(built)


def _fields(pin: BaseModel, leave: Collection[str] = ()) -> Iterator[str]:
    for name, value in pin:
        if name not in leave and value is not None and value != ():
            yield f"{name} = {_value(value)}"


def _value(value: object) -> str:
    """A TOML value; a list of tables, or a long list, takes a line for each entry."""
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, BaseModel):
        return "{ " + ", ".join(_fields(value)) + " }"
    if isinstance(value, tuple):
        items = [_value(item) for item in value]
        short = f"[{', '.join(items)}]"
        if len(short) <= 100 and not any(isinstance(item, BaseModel) for item in value):
            return short
        return "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    return str(value)


def _string(text: str) -> str:
    """A TOML basic string. JSON's escapes are a subset of TOML's, save for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return (
        name
        if name and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)
        else _string(name)
    )
