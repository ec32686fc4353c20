"""The names an image gets: templates filled from its lock, never typed twice. ``expand`` has filled the axes in.

{python}         the version the lock has; {python:nodot} is the same without the dot: 3.11 → 311
{version:DIST}   the version of a locked distribution
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardian.errors import Fault, SpecError
from wardian.lock.pylock import normalised
from wardian.spec.check import TAG
from wardian.spec.matrix import PLACEHOLDER, Axes


@dataclass(frozen=True, slots=True)
class Wish:
    """The tags that one variant asks for, and what they may speak of."""

    id: str
    image: str
    templates: tuple[str, ...]
    axes: Axes
    python: str | None
    versions: Mapping[str, str]  # normalised distribution name → version


def assign(wishes: Sequence[Wish]) -> dict[str, tuple[str, ...]]:
    """Variant id → its tags. Raises ``SpecError`` with every template that cannot be filled.

    A tag that several variants of one image ask for ("latest") goes to the first. A variant that is left without a tag
    gets one made of its axes, "python3.11-cuda12.4.1".
    """
    taken: set[tuple[str, str]] = set()
    made: dict[str, tuple[str, ...]] = {}
    faults: dict[Fault, None] = {}
    for wish in wishes:
        own: dict[str, None] = {}
        for at, template in enumerate(wish.templates):
            try:
                own[tag(template, wish)] = None
            except ValueError as error:
                faults[Fault(f"images.{wish.image}.tags[{at}]", str(error))] = None
        names = [name for name in own if (wish.image, name) not in taken]
        if not names and wish.axes:
            names = ["-".join(f"{axis}{value}" for axis, value in wish.axes)]
        made[wish.id] = tuple(names)
        taken |= {(wish.image, name) for name in made[wish.id]}
    if faults:
        raise SpecError(list(faults))
    return made


def tag(template: str, wish: Wish) -> str:
    """A template filled in. Raises ``ValueError`` that says why it cannot be.

    >>> tag("{version:torch}-py{python:nodot}", Wish("train", "train", (), (), "3.11", {"torch": "2.4.0+cpu"}))
    '2.4.0-cpu-py311'
    """
    made = PLACEHOLDER.sub(lambda found: _value(found, wish), template)
    if not TAG.fullmatch(made):
        message = f"{made!r} is no tag: letters, digits, '_', '.', '-', at most 128, not starting with '.' or '-'"
        raise ValueError(message)
    return made


def _value(place: re.Match[str], wish: Wish) -> str:
    """A locked version, with what tags cannot hold ("+" of local versions, "!" of epochs) as "-"."""
    name, form = place.groups()
    if name == "version" and form:
        if found := wish.versions.get(normalised(form)):
            return re.sub(r"[^A-Za-z0-9_.-]+", "-", found)
        message = f"{place[0]}: the lock has no distribution {form!r} for this image"
    elif name == "python" and form in {None, "nodot"}:
        if wish.python:
            return wish.python.replace(".", "") if form else wish.python
        message = f"{place[0]}: the image has no Python"
    else:
        message = f"{place[0]} is not known; there is {{python}}, {{python:nodot}} and {{version:DISTRIBUTION}}"
    raise ValueError(message)
