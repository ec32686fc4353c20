"""Configuration classes."""

import copy
import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")


def configclass(cls: type[T]) -> type[T]:
    """A dataclass whose fields need no annotation, may be mutable, and are copied for each instance."""
    for name, value in list(vars(cls).items()):
        if name.startswith("_") or callable(value) or isinstance(value, (property, staticmethod, classmethod)):
            continue
        cls.__annotations__.setdefault(name, type(value))
        if isinstance(value, dataclasses.Field):
            continue
        setattr(cls, name, dataclasses.field(default_factory=lambda value=value: copy.deepcopy(value)))
    cls.to_dict = _to_dict
    return dataclasses.dataclass(cls)


def _to_dict(self: Any) -> dict[str, Any]:
    return dataclasses.asdict(self)
