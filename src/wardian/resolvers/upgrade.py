"""What ``wardian lock --upgrade [NAME…]`` may move; everything else stays where it is locked. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from wardian.errors import SpecError
from wardian.lock.model import Deb, Lock, LockedImage, Tool
from wardian.lock.pylock import normalised, pins
from wardian.spec.matrix import Variant

_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*")  # Source: PEP 508


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Nothing, everything, or what has one of ``names``: distributions, Debian packages, images, base references."""

    everything: bool = False
    names: frozenset[str] = frozenset()

    @property
    def distributions(self) -> frozenset[str] | None:
        """What uv may move; None is everything."""
        return None if self.everything else frozenset(normalised(name) for name in self.names if _NAME.fullmatch(name))

    def base(self, variant: Variant) -> bool:
        """Whether a variant's base is asked for again."""
        return self.everything or bool(self.names & {variant.id, variant.name, variant.image.from_})

    def held(self, debs: Iterable[Deb], *, all_of: bool = False) -> tuple[Deb, ...]:
        """The packages that keep their version."""
        if self.everything or all_of:
            return ()
        return tuple(deb for deb in debs if deb.name not in self.names)

    def packages(self, debs: Iterable[Deb]) -> bool:
        """Whether one of these packages may move."""
        return self.everything or any(deb.name in self.names for deb in debs)

    def tools(self, tools: Iterable[Tool]) -> bool:
        """Whether one of these build requirements may move."""
        return self.everything or any(tool.name in (self.distributions or ()) for tool in tools)

    def python(self, text: str) -> bool:
        """Whether a distribution of this lock may move."""
        if self.everything or not self.names or not text:
            return self.everything
        return any(normalised(name) in pins(text) for name in self.names)


def upgrade_of(names: Sequence[str], variants: Sequence[Variant], lock: Lock, pylocks: Mapping[str, str]) -> Upgrade:
    """The upgrade that is asked for; raises ``SpecError`` for a name that nothing locked has."""
    known = {normalised(name) for text in pylocks.values() for name in pins(text)}
    known |= {tool.name for image in lock.images.values() for tool in tools(image)}
    known |= {deb.name for image in lock.images.values() for deb in packages(image)}
    known |= {word for variant in variants for word in (variant.id, variant.name, variant.image.from_)}
    for name in names:
        if name not in known and normalised(name) not in known:
            near = get_close_matches(name, sorted(known), n=3)
            raise SpecError(
                f"nothing that is locked is called {name!r}",
                hint=f"did you mean {', '.join(near)}?"
                if near
                else "a distribution, a Debian package, an image or a base can be upgraded",
            )
    return Upgrade(names=frozenset(names))


def packages(image: LockedImage) -> tuple[Deb, ...]:
    """Every package of an image, the base's included."""
    return (*(image.base.debs if image.base else ()), *image.debs)


def tools(image: LockedImage) -> tuple[Tool, ...]:
    """Everything that wheels of an image are built with."""
    return (*image.build, *(tool for built in image.built for tool in built.build))
