"""Where locked files come from: the store, an archive, the machine's indexes and mirrors; loaded when it is asked.

A build that has nothing to do imports no HTTP client, which is most of what it would cost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from wardian.builders.base import Stopped
from wardian.errors import Unavailable
from wardian.hosts.base import Host
from wardian.hosts.machine import Machine
from wardian.lock.model import Base, Built, Deb, Lock
from wardian.lock.wheel import Wheel
from wardian.oci.model import Descriptor
from wardian.spec.matrix import Variant
from wardian.spec.substitute import substitute
from wardian.store.store import Store

if TYPE_CHECKING:
    from wardian.resolvers.fetch import Fetcher, File


@dataclass(frozen=True)
class Locked:
    """Locked files of one project, fetched when they are needed. Safe to use from threads."""

    store: Store
    host: Host
    machine: Machine
    environ: Mapping[str, str]
    substitutes: Mapping[str, str]
    indexes: tuple[str, ...] = ()  # of the project, before the machine's
    archive: Path | None = None  # --from DIR: this folder, and nothing beyond it
    variants: Sequence[
        Variant
    ] = ()  # of the project, parents first; with ``lock``: to build a wheel again that is lost
    lock: Lock | None = None
    stopping: Event = field(default_factory=Event)

    def debs(self, debs: Sequence[Deb], say: Callable[[str], None]) -> tuple[Path, ...]:
        """Debian packages, in the order given, under the names dpkg gives them."""
        from wardian.resolvers.fetch import deb_file

        return self._all([deb_file(deb) for deb in debs], say)

    def wheels(self, wheels: Sequence[Wheel], say: Callable[[str], None]) -> tuple[Path, ...]:
        """Wheels, in the order given, under their own names."""
        from wardian.resolvers.fetch import wheel_file

        for wheel in wheels:
            if wheel.built is not None:
                self._built(wheel_file(wheel), wheel.built, say)
        return self._all([wheel_file(wheel) for wheel in wheels], say)

    def _built(self, file: "File", built: Built, say: Callable[[str], None]) -> None:
        """Have a wheel that no index has: from an archive or a folder of the machine, else built here again."""
        if self.fetcher.has(file):
            return
        try:
            self.fetcher.fetch(file)
        except Unavailable:
            if self.lock is None:
                raise
            from wardian.resolvers.rebuild import rebuilding

            with self.store.lock(f"built-{file.sha256}"):
                if not self.fetcher.has(file):
                    rebuilding(self, self.variants, self.lock, say)(built)

    def base(self, base: Base, platform: str) -> Descriptor:
        """A base image's manifest, all its layers in the store."""
        from wardian.registry.client import open_registry
        from wardian.resolvers.images import complete, ensure

        if self.archive and base.digest and not complete(self.store, base.digest):
            from wardian.resolvers.archive import take_base

            if found := take_base(self.archive, base.digest, self.store):
                return found
            raise Unavailable(
                f"the base {base.reference} is neither in the store nor in {self.archive}; --from allows no network",
                hint="archive it where it is known: wardian lock --archive DIR",
            )
        with open_registry(self.environ, self.host.run, ca_bundle=self.machine.ca_bundle) as registry:
            return ensure(base, platform, store=self.store, registry=registry)

    def close(self) -> None:
        """End the connections that fetching opened."""
        if "fetcher" in self.__dict__:
            self.fetcher.transport.__exit__(None, None, None)

    @cached_property
    def fetcher(self) -> "Fetcher":
        """The one fetcher of this build: it remembers what indexes answered."""
        from wardian.registry.transport import Transport
        from wardian.resolvers.fetch import Fetcher

        bundle = Path(self.machine.ca_bundle) if self.machine.ca_bundle else None
        return Fetcher(
            store=self.store,
            machine=self.machine,
            transport=Transport(self.environ, ca_bundle=bundle),
            substitute=lambda url: substitute(self.substitutes, url),
            archive=self.archive,
            offline=self.archive is not None,
            indexes=self.indexes,
        )

    def _all(self, files: "list[File]", say: Callable[[str], None]) -> tuple[Path, ...]:
        missing = [file for file in files if not self.fetcher.has(file)]
        total = sum(file.size or 0 for file in missing)
        done = 0.0

        def advance(amount: float) -> None:
            nonlocal done
            if self.stopping.is_set():
                raise Stopped("the build was stopped")
            done += amount
            say(f"fetching {done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"fetching {done / 1e6:.1f} MB")

        if missing:
            say(f"fetching {len(missing)} files")
        found = self.fetcher.fetch_all(files, advance)
        return tuple(found[file.sha256] for file in files)
