"""Which items are played: AgentGym's lists (AgentEval, AgentItemId), or the first so many."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wardian.errors import SpecError


@dataclass(frozen=True, slots=True)
class Items:
    """The numbers, in order, and the categories: name → numbers."""

    numbers: tuple[int, ...]
    categories: Mapping[str, frozenset[int]] = field(default_factory=dict)


def read(path: Path, limit: int | None) -> Items:
    """The items of a list, ``[{"item_id": "babyai_0"}, …]``; other lists beside it are categories of it.

    Raises ``SpecError`` for a file that is no list of items.
    """
    numbers = _numbers(path)
    if not numbers:
        raise SpecError(f"{path} names no item")
    chosen = tuple(numbers[:limit])
    categories = {}
    for other in sorted(path.parent.glob("*.json")):
        if other != path and not other.stem.endswith(("_train", "_test")):
            inside = frozenset(_numbers(other)) & frozenset(chosen)
            if inside:
                categories[other.stem] = inside
    return Items(chosen, categories)


def first(count: int | None, limit: int | None) -> Items:
    """The first items of an environment with so many; without a limit, 200 as AgentGym's runner."""
    wanted = 200 if limit is None else limit
    return Items(tuple(range(wanted if count is None else min(wanted, count))))


def number(item_id: str) -> int:
    """The number in an item's id: what follows the last underscore.

    >>> number("webshop_a_17")
    17
    """
    return int(item_id.rpartition("_")[2])


def _numbers(path: Path) -> list[int]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return list(dict.fromkeys(number(str(one["item_id"])) for one in said))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"{path} is no list of items: {type(error).__name__} {error}", hint='as in [{"item_id": "babyai_0"}]'
        ) from error
