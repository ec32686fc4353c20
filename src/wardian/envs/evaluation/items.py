"""Which items are played: AgentGym's lists (AgentEval, AgentItemId), or the first so many."""

import json
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wardian.errors import SpecError


@dataclass(frozen=True, slots=True)
class Items:
    """The numbers, in order, and the categories: name → numbers."""

    numbers: tuple[int, ...]
    categories: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def of(self, number: int) -> list[str]:
        """The categories of an item."""
        return [name for name, inside in self.categories.items() if number in inside]


def read(path: Path, limit: int | None, env: str, others: Container[str] = ()) -> Items:
    """The items of a list, ``[{"item_id": "babyai_0"}, …]``; other lists beside it are categories of it.

    Raises ``SpecError`` for a file that is no list of items, or one of another environment (of those in ``others``).
    """
    listed = _listed(path)
    if not listed:
        raise SpecError(f"{path} names no item")
    if foreign := {of for of, _ in listed if of != env and of in others}:
        raise SpecError(f"{path} is a list of {', '.join(sorted(foreign))}, and {env} is played")
    chosen = tuple(dict.fromkeys(number for _, number in listed))[:limit]
    categories = {}
    for other in sorted(path.parent.glob("*.json")):
        if other != path and not other.stem.endswith(("_train", "_test")):
            with suppress(SpecError):  # a file of something else
                inside = frozenset(number for _, number in _listed(other)) & frozenset(chosen)
                if inside:
                    categories[other.stem] = inside
    return Items(chosen, categories)


def first(count: int | None, limit: int | None) -> Items:
    """The first items of an environment with so many; without a limit, 200 as AgentGym's runner."""
    wanted = 200 if limit is None else limit
    return Items(tuple(range(wanted if count is None else min(wanted, count))))


def parted(item_id: str) -> tuple[str, int]:
    """The environment and the number in an item's id: the number follows the last underscore.

    >>> parted("webshop_a_17")
    ('webshop_a', 17)
    """
    env, _, number = item_id.rpartition("_")
    return env, int(number)


def _listed(path: Path) -> list[tuple[str, int]]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return [parted(str(one["item_id"])) for one in said]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"{path} is no list of items: {type(error).__name__} {error}", hint='as in [{"item_id": "babyai_0"}]'
        ) from error
