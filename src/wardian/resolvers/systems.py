"""What lies beneath an image's Python environment: a base by digest or by packages, and what ``apt`` adds to it."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from wardian.errors import SpecError, WardianError
from wardian.hosts.base import Host
from wardian.hosts.machine import Machine
from wardian.lock.model import Base, Deb, LockedImage
from wardian.lock.pylock import GLIBC
from wardian.registry.client import Registry
from wardian.registry.progress import Progress
from wardian.resolvers import images
from wardian.resolvers.apt import Apt, checked, glibc_in, glibc_of, python_in
from wardian.resolvers.fetch import Fetcher, deb_file
from wardian.resolvers.suites import BOOTSTRAP, PYTHON, Suite, suite_of, suite_of_release
from wardian.resolvers.upgrade import Upgrade
from wardian.spec.matrix import Variant
from wardian.spec.models import Image
from wardian.spec.substitute import substitute
from wardian.store.contents import Contents, contents, read
from wardian.store.files import explained, write_file
from wardian.store.store import Store

PYLOCK = "/opt/env/pylock.toml"


@dataclass(frozen=True)
class Foreign:
    """A base that others built, in the store; read when something of it is needed."""

    store: Store
    base: Base
    platform: str
    bring: Callable[[], object]

    @cached_property
    def digest(self) -> str:
        """The digest of its manifest, whose layers are all in the store."""
        self.bring()
        return self.base.digest or ""

    @cached_property
    def whole(self) -> Contents:
        """Its files; made once, since every layer is read for it."""
        return contents(self.store, self.digest)

    def read(self, path: str) -> bytes:
        """A file of it; empty where there is none. Kept: a digest's files never change, and finding one is slow."""
        key = hashlib.sha256(f"{self.digest} {path}".encode()).hexdigest()
        kept = self.store.root / "cache" / "files" / key
        if kept.is_file():
            return kept.read_bytes()
        content = read(self.store, self.digest, self.whole, path) or b""
        with explained(self.store.root):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_file(kept, content, scratch=kept.parent)
        return content

    def _text(self, path: str) -> str:
        return self.read(path).decode(errors="replace")

    @cached_property
    def status(self) -> str:
        """Dpkg's list of what is installed; "" where there is none."""
        return self._text("/var/lib/dpkg/status")

    @cached_property
    def suite(self) -> Suite:
        """The suite that its packages come from."""
        return suite_of_release(self._text("/etc/os-release") or self._text("/usr/lib/os-release"), self.platform)

    @cached_property
    def python(self) -> tuple[str, str] | None:
        """Version and path of its Python."""
        return images.python_of(self.store, self.digest, lambda: self.whole)

    @cached_property
    def pylock(self) -> str:
        """The lock of the distributions that it holds, when Wardian made it."""
        return self._text(PYLOCK)

    @cached_property
    def glibc(self) -> int:
        """N of its glibc 2.N."""
        found = re.search(r"^Package: libc6\n(?:.+\n)*?Version: (.+)$", self.status, re.MULTILINE)
        return (glibc_of(found[1]) if found else None) or GLIBC


@dataclass(frozen=True)
class System:
    """All that lies beneath the environment of one image, its parents' packages included."""

    platform: str
    base: Base | None  # of the image at the bottom
    own: tuple[Deb, ...]  # what this image's ``apt`` adds
    debs: tuple[Deb, ...]  # everything, from the bottom up
    python: tuple[str, str] | None = None  # version and interpreter, when there is one and somebody asked
    foreign: Foreign | None = None
    suite: Suite | None = None
    same: bool = False  # nothing of it moved since the last lock

    @property
    def glibc(self) -> int:
        """N of its glibc 2.N."""
        return glibc_in(reversed(self.debs)) or (self.foreign.glibc if self.foreign else GLIBC)


@dataclass(frozen=True)
class Systems:
    """Resolves bases and packages; asks each archive once."""

    host: Host
    store: Store
    machine: Machine
    registry: Registry
    fetcher: Fetcher
    substitutes: Mapping[str, str]
    upgrade: Upgrade = field(default_factory=Upgrade)
    progress: Progress | None = None
    known: tuple[tuple[Base, str], ...] = ()  # what is locked already, with its platform: a new image joins it
    apts: dict[tuple[Suite, str], Apt] = field(default_factory=dict)
    bases: dict[tuple[str, ...], Base] = field(default_factory=dict)  # resolved in this lock: images share them

    def resolve(self, variant: Variant, before: LockedImage | None, parent: System | None, *, python: bool) -> System:
        """The system of a variant. ``before`` is what was locked; ``python``: the image needs an interpreter."""
        system = self._beneath(variant, before, python=python) if parent is None else replace(parent, own=())
        missing = python and system.python is None and not self._has_python(system)
        if python and not missing:
            system = replace(system, python=system.python or (system.foreign.python if system.foreign else None))
        packages = (*variant.image.apt, *(PYTHON if missing else ()))
        if packages:
            system = self._add(variant, before, system, checked(packages, variant.id))
        elif before and before.debs:
            system = replace(system, same=False)
        if python:
            system = replace(system, python=system.python or python_in(system.debs))
            _agrees(variant, system)
        return system

    def build_packages(
        self, image: str, system: System, packages: tuple[str, ...], keep: tuple[Deb, ...]
    ) -> tuple[Deb, ...]:
        """The packages that are there only while a source distribution is built."""
        if not packages:
            return ()
        apt = self.apt(self._suite(system), system)
        status = system.foreign.status if system.foreign else ""
        return apt.solve(checked(packages, image), installed=system.debs, status=status, keep=self.upgrade.held(keep))

    def apt(self, suite: Suite, system: System | None = None) -> Apt:
        """The private apt for a suite; for a foreign base with that base's own keys."""
        keyring = Path(suite.keyring)
        origin = ""
        if system and system.foreign:
            origin = system.foreign.digest
            own = system.foreign.read(suite.keyring)
            if own:
                keyring = self._keep_keys(own)
        if (suite, origin) not in self.apts:
            words = f"{suite.distribution}-{suite.name}-{suite.architecture}"
            folder = self.store.root / "cache" / "apt" / (f"{words}-{origin[7:19]}" if origin else words)
            self.apts[suite, origin] = Apt(
                host=self.host,
                machine=self.machine,
                folder=folder,
                suite=suite,
                keyring=keyring,
                fetch=lambda deb: self.fetcher.fetch(deb_file(deb)),
                substitute=lambda url: substitute(self.substitutes, url),
            )
        return self.apts[suite, origin]

    def _keep_keys(self, keys: bytes) -> Path:
        folder = self.store.root / "cache" / "keys"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(keys).hexdigest()[:16]}.gpg"
        path.write_bytes(keys)
        return path

    def _beneath(self, variant: Variant, before: LockedImage | None, *, python: bool) -> System:
        """The base of an image that stands on nothing of the project."""
        image = variant.image
        instead = substitute(self.substitutes, image.from_)
        name = instead or image.from_
        old = self._locked(before, image, instead, python=python)
        if name.startswith(BOOTSTRAP):
            system = self._bootstrap(variant, old, instead, suite_of(name, image.platform), python=python)
            return replace(system, same=before is not None and system.base == before.base)
        key = (image.from_, instead or "", image.platform, str(self.upgrade.base(variant)))
        if key not in self.bases:
            fresh = old is None or old.digest is None or self.upgrade.base(variant)
            self.bases[key] = self._asked(image) if fresh or old is None else old
        base = self.bases[key]
        same = before is not None and base == before.base
        return System(image.platform, base, (), (), None, self._foreign(base, image.platform), None, same=same)

    def _locked(self, before: LockedImage | None, image: Image, instead: str | None, *, python: bool) -> Base | None:
        """The base as it is locked: for this image, else for another one that stands on the same."""
        own = [(before.base, platform_of(before))] if before and before.base else []
        wanted = (image.from_, instead, image.platform)
        same = [base for base, platform in (*own, *self.known) if (base.reference, base.substitute, platform) == wanted]
        fitting = (base for base in same if base.digest or (python_in(base.debs) is not None) == python)
        return next(fitting, same[0] if same else None)

    def _asked(self, image: Image) -> Base:
        return images.resolve(
            image.from_, image.platform, substitutes=self.substitutes, store=self.store, registry=self.registry
        )

    def _foreign(self, base: Base, platform: str) -> Foreign:
        return Foreign(
            self.store,
            base,
            platform,
            lambda: images.ensure(base, platform, store=self.store, registry=self.registry, progress=self.progress),
        )

    def _bootstrap(
        self, variant: Variant, old: Base | None, instead: str | None, suite: Suite, *, python: bool
    ) -> System:
        image = variant.image
        again = self.upgrade.base(variant)
        key = (image.from_, instead or "", image.platform, str(python), str(again))
        if key not in self.bases:
            fits = old is not None and bool(old.debs) and (python_in(old.debs) is not None) == python
            if old is not None and fits and not again and not self.upgrade.packages(old.debs):
                self.bases[key] = old
            else:
                keep = self.upgrade.held(old.debs if old else (), all_of=again)
                debs = self.apt(suite).bootstrap(python=python, keep=keep)
                self.bases[key] = Base(reference=image.from_, substitute=instead, debs=debs)
        base = self.bases[key]
        return System(image.platform, base, (), base.debs, python_in(base.debs), None, suite)

    def _add(self, variant: Variant, before: LockedImage | None, system: System, packages: tuple[str, ...]) -> System:
        """Add packages to a system; those that are locked already stay as they are."""
        old = before.debs if before else ()
        asked = before is not None and before.wants.get("apt", ()) == tuple(sorted(set(variant.image.apt)))
        if asked and system.same and bool(old) and not self.upgrade.packages(old):
            own, same = old, True
        else:
            status = system.foreign.status if system.foreign else ""
            if system.foreign and not status:
                raise WardianError(
                    f"{variant.id}: packages can be added to Debian and Ubuntu; this base has no dpkg",
                    hint="use `run` steps for it",
                )
            apt = self.apt(self._suite(system), system)
            try:
                own = apt.solve(packages, installed=system.debs, status=status, keep=self.upgrade.held(old))
            except WardianError as error:
                error.message = f"{variant.id}: {error.message}"
                raise
            same = False
        debs = (*system.debs, *own)
        return replace(system, own=own, debs=debs, python=system.python or python_in(own), same=same)

    def _suite(self, system: System) -> Suite:
        if system.suite is not None:
            return system.suite
        if system.foreign is None:
            raise WardianError("packages need a base")
        return system.foreign.suite

    def _has_python(self, system: System) -> bool:
        return system.foreign is not None and system.foreign.python is not None


def platform_of(entry: LockedImage) -> str:
    """The platform that an image was locked for."""
    return next(iter(entry.wants.get("platform", ())), "")


def _agrees(variant: Variant, system: System) -> None:
    """Raise unless the system has the Python that the image asks for."""
    asked = variant.image.python
    place = f"images.{variant.name}.python"
    where = system.base.substitute or system.base.reference if system.base else "the base"
    if system.python is None:
        raise SpecError(
            f"{place}: {where} has no Python", hint='add it with apt = ["python3"], or take a base that has it'
        )
    if asked and asked != system.python[0]:
        raise SpecError(
            f"{place}: {where} has Python {system.python[0]}, not {asked}",
            hint=f'write python = "{system.python[0]}", or take a base that has Python {asked}',
        )
