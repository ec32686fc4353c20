"""The names an image gets: templates filled from its axes and its lock, never typed twice.

{NAME}           the value of an axis of the matrix, or "python": the version the lock has
{NAME:nodot}     the same without dots: 3.11 → 311
{version:DIST}   the version of a locked distribution
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardian.errors import Fault, SpecError

_PLACE = re.compile(r"\{([^{}]*)\}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # OCI distribution-spec, "Pulling manifests"
_NAME = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a template may speak of."""

    axes: Mapping[str, str]
    python: str | None
    versions: Mapping[str, str]  # normalised distribution name → version


def tag(template: str, facts: Facts) -> str:
    """A template filled in. Raises ``ValueError`` that says why it cannot be.

    >>> tag("{version:torch}-py{python:nodot}", Facts({}, "3.11", {"torch": "2.4.0+cpu"}))
    '2.4.0-cpu-py311'
    """
    made = _PLACE.sub(lambda found: _value(found[1], facts), template)
    if not _TAG.fullmatch(made):
        message = f"{made!r} is no tag: letters, digits, '_', '.', '-', at most 128, not starting with '.' or '-'"
        raise ValueError(message)
    return made


def _value(place: str, facts: Facts) -> str:
    name, _, rest = place.partition(":")
    if name == "version" and rest:
        return _tagged(_version(rest, facts))
    if rest not in ("", "nodot"):
        message = f"{{{place}}}: the only form is {{{name}:nodot}}"
        raise ValueError(message)
    found = facts.axes.get(name, facts.python if name == "python" else None)
    if found is None:
        known = sorted({*facts.axes, *(["python"] if facts.python else []), "version:DISTRIBUTION"})
        message = f"{{{place}}} is not known; there is {', '.join(known)}"
        raise ValueError(message)
    return _tagged(found.replace(".", "") if rest else found)


def _version(distribution: str, facts: Facts) -> str:
    """The locked version: a tag cannot claim one that is not in the image."""
    found = facts.versions.get(_NAME.sub("-", distribution).lower())
    if found is None:
        message = f"{{version:{distribution}}}: the lock has no distribution {distribution!r} for this image"
        raise ValueError(message)
    return found


def _tagged(value: str) -> str:
    """A value with what tags cannot hold ("+" of local versions, "!" of epochs, "/" and ":" of references) as "-"."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", value)


@dataclass(frozen=True, slots=True)
class Wish:
    """The tags that one variant asks for."""

    id: str
    image: str
    templates: tuple[str, ...]
    facts: Facts


def assign(wishes: Sequence[Wish]) -> dict[str, tuple[str, ...]]:
    """Variant id → its tags. Raises ``SpecError`` with every template that cannot be filled.

    A tag that several variants of one image ask for ("latest") goes to the first. A variant that is left without a tag
    gets one made of its axes, "python3.11-cuda12.4.1".
    """
    taken: set[tuple[str, str]] = set()
    made: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    for wish in wishes:
        own: list[str] = []
        for at, template in enumerate(wish.templates):
            try:
                name = tag(template, wish.facts)
            except ValueError as error:
                faults.append(Fault(f"images.{wish.image}.tags[{at}]", str(error)))
                continue
            if (wish.image, name) not in taken and name not in own:
                own.append(name)
        if not own and wish.facts.axes:
            own.append(_tagged("-".join(f"{axis}{value}" for axis, value in wish.facts.axes.items())))
        taken |= {(wish.image, name) for name in own}
        made[wish.id] = tuple(own)
    if faults:
        raise SpecError(list(dict.fromkeys(faults)))
    return made
