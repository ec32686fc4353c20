"""A whole project → its lock: every variant's base, packages, distributions and built wheels, parents first.

What was asked for last time in the same words is not asked again. What must be asked keeps its versions where it may.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from wardian.hosts.machine import bare
from wardian.lock.model import Built, Lock, LockedImage, Tool
from wardian.lock.pylock import Pinned, Target, filename, normalised, read, write
from wardian.lock.requirements import build_system, requested
from wardian.lock.stale import PYPROJECT, Wants, differing, inputs
from wardian.registry.progress import Progress
from wardian.resolvers.python import Learn, Uv, Wanted, resolve
from wardian.resolvers.sizes import sized
from wardian.resolvers.systems import PYLOCK, System, Systems
from wardian.resolvers.upgrade import packages, tools
from wardian.spec.matrix import Variant

# The wants that decide which distributions an image gets, beside requirement files.
_PYTHON = frozenset({"from", "substitute", "platform", "python", "requirements", "index", "pyproject.toml", "sdists"})


@dataclass(frozen=True)
class Locked:
    """One variant, locked: its entry, its lock of distributions, and the system that it was resolved for."""

    entry: LockedImage
    pins: tuple[Pinned, ...] = ()
    text: str = ""  # of the pylock; "" when it has none of its own
    system: System | None = None


@dataclass(frozen=True)
class Chain:
    """A variant and what it stands on: the one at the bottom, and the entries of all beneath it, from the bottom up."""

    variant: Variant
    bottom: Variant
    beneath: tuple[LockedImage, ...]


class Backends(Protocol):
    """What a lock needs build backends for."""

    def learn(self, chain: Chain, so_far: Locked) -> Learn:
        """What asks a source distribution of a variant what it requires."""
        ...

    def wheels(self, chain: Chain, so_far: Locked, before: LockedImage | None) -> tuple[Built, ...]:
        """The wheels of the source distributions that the variant's parent has not; ``before``: its old entry."""
        ...

    def tools(
        self, chain: Chain, so_far: Locked, before: LockedImage | None, requires: tuple[str, ...]
    ) -> tuple[Tool, ...]:
        """What the project's own wheel is built with."""
        ...


@dataclass(frozen=True)
class Locking:
    """One run of ``wardian lock`` over a project."""

    systems: Systems
    uv: Uv
    wanted: Mapping[str, Wants]
    texts: Mapping[str, str]  # requirement files and pyproject.toml, by path
    before: Lock
    pylocks: Mapping[str, str]  # the locks of distributions on disk, by file name
    backends: Backends
    progress: Progress
    variants: Sequence[Variant]
    done: dict[str, Locked] = field(default_factory=dict)

    def run(self) -> tuple[Lock, dict[str, str]]:
        """The lock, and the texts of the pylocks by file name."""
        for variant in self.variants:
            old = self.before.images.get(variant.id)
            if old is not None and self._fresh(variant, old):
                self.done[variant.id] = self._kept(old)
                continue
            with self.progress.task(f"locking {variant.id}"):
                self.done[variant.id] = self._lock(variant, old)
        lock = Lock(images={name: one.entry for name, one in self.done.items()})
        return lock, {one.entry.pylock: one.text for one in self.done.values() if one.entry.pylock}

    def system(self, name: str) -> System:
        """The system of a variant that is done. One that was kept as it was is put together again; nothing is asked."""
        kept = self.done[name]
        if kept.system is None:
            variant = next(one for one in self.variants if one.id == name)
            kept = replace(kept, system=self._system(variant, kept.entry))
            self.done[name] = kept
        assert kept.system is not None
        return kept.system

    def _fresh(self, variant: Variant, old: LockedImage) -> bool:
        """Whether nothing that decides this variant is different from last time."""
        upgrade = self.systems.upgrade
        text = self._text(old)
        return (
            old.inputs == inputs(self.wanted[variant.id])
            and text is not None
            and not (upgrade.base(variant) or upgrade.packages(packages(old)))
            and not (upgrade.python(text) or upgrade.tools(tools(old)))
            and (variant.parent is None or self.done[variant.parent].entry == self.before.images.get(variant.parent))
        )

    def _text(self, old: LockedImage) -> str | None:
        """The lock of distributions that an entry names; None when the file is not that one."""
        if old.pylock is None:
            return ""
        text = self.pylocks.get(old.pylock)
        return text if text is not None and _sha256(text) == old.pylock_sha256 else None

    def _kept(self, old: LockedImage) -> Locked:
        text = self._text(old) or ""
        return Locked(old, read(text, source=old.pylock or "") if text else (), text)

    def _lock(self, variant: Variant, old: LockedImage | None) -> Locked:
        system = self._system(variant, old)
        entry = LockedImage(
            inputs=inputs(self.wanted[variant.id]),
            wants=self.wanted[variant.id],
            base=system.base if variant.parent is None else None,
            debs=system.own,
            python=system.python[0] if system.python else None,
            interpreter=system.python[1] if system.python else None,
        )
        so_far = Locked(entry, system=system)
        if system.python:
            so_far = self._with_distributions(variant, old, so_far, system)
        if variant.image.project != "wheel":
            return so_far
        requires = build_system(self.texts.get(PYPROJECT, "")).requires
        build = self.backends.tools(self._chain(variant), so_far, old, requires)
        return replace(so_far, entry=so_far.entry.model_copy(update={"build": build}))

    def _system(self, variant: Variant, old: LockedImage | None) -> System:
        beneath = self.system(variant.parent) if variant.parent else None
        image = variant.image
        needs = bool(image.python) or image.project != "none" or self._asks(variant)
        return self.systems.resolve(variant, old, beneath, python=needs or bool(beneath and beneath.python))

    def _asks(self, variant: Variant) -> bool:
        """Whether a variant asks for distributions."""
        return bool(variant.image.requirements or variant.image.files or self.wanted[variant.id].get("pyproject.toml"))

    def _with_distributions(self, variant: Variant, old: LockedImage | None, so_far: Locked, system: System) -> Locked:
        parent = self.done[variant.parent] if variant.parent else None
        foreign = system.foreign.pylock if system.foreign and parent is None else ""
        inherited = parent.pins if parent else read(foreign, source=f"{PYLOCK} of the base") if foreign else ()
        names = parent.entry.inherited if parent else tuple(f"{one.name}=={one.version}" for one in inherited)
        built = parent.entry.built if parent else ()
        if not self._asks(variant):
            if parent is not None:  # the environment is the parent's
                same = {"pylock": parent.entry.pylock, "pylock_sha256": parent.entry.pylock_sha256}
                entry = so_far.entry.model_copy(update={**same, "built": built, "inherited": names})
                return Locked(entry, parent.pins, parent.text, system)
            if not inherited:
                return so_far
        known = so_far.entry.model_copy(update={"built": built, "inherited": names})
        so_far = replace(so_far, entry=known, pins=inherited)
        target = Target(known.python or "", variant.image.platform, system.glibc)
        pins = self._kept_pins(variant, old, known, system) or self._pins(variant, old, so_far, target)
        text = write(pins, target)
        entry = known.model_copy(update={"pylock": filename(variant.id), "pylock_sha256": _sha256(text)})
        so_far = Locked(entry, pins, text, system)
        made = self.backends.wheels(self._chain(variant), so_far, old)
        return replace(so_far, entry=entry.model_copy(update={"built": (*built, *made)}))

    def _chain(self, variant: Variant) -> Chain:
        known = {one.id: one for one in self.variants}
        line = [variant]
        while line[0].parent:
            line.insert(0, known[line[0].parent])
        return Chain(variant, line[0], tuple(self.done[one.id].entry for one in line[:-1]))

    def _kept_pins(
        self, variant: Variant, old: LockedImage | None, now: LockedImage, system: System
    ) -> tuple[Pinned, ...]:
        """The pins of last time, when nothing that decides them is different; a package that was added is not."""
        text = self._text(old) if old else None
        if old is None or not text or old.pylock != filename(variant.id) or old.python != now.python:
            return ()
        if any(name in _PYTHON or name.startswith("file ") for name in differing(old.wants, now.wants)):
            return ()
        if self.systems.upgrade.python(text) or (system.foreign and old.base != now.base):
            return ()
        if variant.parent:
            before, after = self.before.images.get(variant.parent), self.done[variant.parent].entry
            if before is None or before.pylock_sha256 != after.pylock_sha256:
                return ()
        return read(text, source=old.pylock)

    def _pins(self, variant: Variant, old: LockedImage | None, so_far: Locked, target: Target) -> tuple[Pinned, ...]:
        image = variant.image
        if not self._asks(variant):
            return so_far.pins
        lines = (*image.requirements, *self.wanted[variant.id].get("pyproject.toml", ()))
        wanted = Wanted(
            image=variant.id,
            target=target,
            requirements=lines,
            files=image.files,
            requested=requested(lines, image.files, self.texts),
            inherited=so_far.pins,
            beneath=f"@{variant.parent}" if variant.parent else image.from_,
            indexes=image.index,
            from_source=frozenset(map(normalised, image.sdists)),
        )
        previous = self.pylocks.get(old.pylock or "", "") if old else ""
        pins = resolve(
            wanted,
            self.uv,
            learn=self.backends.learn(self._chain(variant), so_far),
            previous=previous,
            upgrade=self.systems.upgrade.distributions,
        )
        return sized(pins, self.systems.fetcher, read(previous) if previous else ())


def mirrors(substitutes: Mapping[str, str]) -> Callable[[str], str]:
    """What gives a mirror's address back its canonical prefix: ``[substitutes]`` read from right to left."""
    pairs = [
        (value.rstrip("*/"), key.rstrip("*/")) for key, value in substitutes.items() if "://" in key and "://" in value
    ]
    pairs = sorted(((bare(value), key) for value, key in pairs), key=lambda pair: -len(pair[0]))

    def canonical(url: str) -> str:
        plain = bare(url)
        return next((key + plain[len(value) :] for value, key in pairs if plain.startswith(value + "/")), url)

    return canonical


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
