"""Which wheels of an image must be built from source distributions, with what, and over which layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from wardian.builders.base import Beneath, Site
from wardian.builders.graph import builder
from wardian.builders.image import environment_of
from wardian.builders.sources import Locked as Files
from wardian.errors import WardianError
from wardian.hosts.sandbox import namespace
from wardian.lock.model import Built, Deb, Lock, LockedImage, Tool
from wardian.lock.pylock import Pinned, Target, normalised, write
from wardian.plan.images import system as system_layers
from wardian.plan.keys import EPOCH
from wardian.plan.layers import BaseLayers, Layer, title
from wardian.resolvers.fetch import Fetcher, pinned_file
from wardian.resolvers.project import Chain, Locked
from wardian.resolvers.python import Uv, Wanted, resolve
from wardian.resolvers.sdist import Recipe, again, build_requires, make
from wardian.resolvers.systems import System, Systems
from wardian.spec.matrix import Variant
from wardian.spec.models import Sdist
from wardian.spec.units import human_size
from wardian.store.store import LayerRecord


class Line(Protocol):
    """One line of a progress display."""

    def say(self, text: str) -> None:
        """Replace the words beside it."""
        ...

    def advance(self, amount: float) -> None:
        """Move on by so many bytes."""
        ...


class Display(Protocol):
    """What ``Console.progress`` yields."""

    def task(self, title: str, total: float | None = None) -> AbstractContextManager[Line]:
        """Show one piece of work."""
        ...


@dataclass(frozen=True)
class Sdists:
    """Builds what ``wardian lock`` found no wheel for, and locks it by its hash."""

    systems: Systems
    uv: Uv
    fetcher: Fetcher
    site: Site
    display: Display

    def __call__(self, chain: Chain, so_far: Locked, before: LockedImage | None) -> tuple[Built, ...]:
        """The wheels of one variant's own source distributions, by name. What was built in the same way stays."""
        have = {built.name for built in so_far.entry.built} | {pin.split("==")[0] for pin in so_far.entry.inherited}
        own = {pin.name: pin for pin in so_far.pins if pin.kind == "sdist" and pin.name not in have}
        made: dict[str, Built] = {built.name: built for built in so_far.entry.built}
        for name in own:
            self._build(name, own, made, _Job(chain, so_far, before))
        return tuple(made[name] for name in sorted(own))

    def _build(self, name: str, own: Mapping[str, Pinned], made: dict[str, Built], job: "_Job") -> Built:
        if name in made:
            return made[name]
        pin = own[name]
        old = next((built for built in job.before.built if built.name == name), None) if job.before else None
        if old is not None and self._same(old, pin, job):
            made[name] = old
            return old
        config = job.config(name)
        source = pinned_file(pin)
        requires = config.requires if config.requires is not None else build_requires(self.fetcher.fetch(source))
        tools = tuple(self._tool(tool, name, own, made, job) for tool in self._tools(name, requires, old, job))
        debs = self.systems.build_packages(job.chain.variant.id, job.system, config.apt, old.debs if old else ())
        wanted = Recipe(name, pin.version, source, tools, job.so_far.entry.interpreter or "python3", config.env)
        layers = job.layers(debs, self.site.epoch)
        records = stacked(layers, self.site, self.display, job.chain.variant.id)
        with self.display.task(f"{job.chain.variant.id}: building {name} {pin.version} from source") as task:
            wheel = make(wanted, records, self.site, self.fetcher, task.say)
            task.say(wheel.filename)
        made[name] = Built(
            name=name,
            version=pin.version,
            sdist_url=pin.url or pin.filename,
            sdist_sha256=pin.sha256,
            filename=wheel.filename,
            sha256=wheel.sha256,
            build=tools,
            debs=debs,
            env=config.env,
        )
        return made[name]

    def _same(self, old: Built, pin: Pinned, job: "_Job") -> bool:
        """Whether building would be done with the very same things as last time."""
        upgrade = self.systems.upgrade
        if upgrade.distributions is None or old.name in upgrade.distributions:
            return False
        locked = {one.name: one for one in job.so_far.pins}
        tools = all(tool.name not in locked or locked[tool.name].version == tool.version for tool in old.build)
        wants = job.before.wants if job.before else {}
        return (
            tools
            and job.system.same
            and old.sdist_sha256 == pin.sha256
            and wants.get("sdists") == job.so_far.entry.wants.get("sdists")
        )

    def _tools(self, name: str, requires: tuple[str, ...], old: Built | None, job: "_Job") -> tuple[Pinned, ...]:
        if not requires:
            return ()
        variant = job.chain.variant
        target = Target(job.so_far.entry.python or "", variant.image.platform, job.system.glibc)
        wanted = Wanted(
            image=f"{variant.id}, building {name}",
            target=target,
            requirements=requires,
            preferred=job.so_far.pins,
            indexes=variant.image.index,
            for_build=name,
        )
        previous = (
            [Pinned(one.name, one.version, "wheel", one.filename, one.url, one.sha256) for one in old.build]
            if old
            else []
        )
        upgrade = self.systems.upgrade.distributions
        return resolve(wanted, self.uv, previous=write(previous, target) if previous else "", upgrade=upgrade)

    def _tool(self, pin: Pinned, name: str, own: Mapping[str, Pinned], made: dict[str, Built], job: "_Job") -> Tool:
        """A build requirement as it is locked; one of the image that is itself built from source is built first."""
        if pin.kind == "wheel":
            return Tool(name=pin.name, version=pin.version, filename=pin.filename, url=pin.url, sha256=pin.sha256)
        if pin.name == name or (pin.name not in own and pin.name not in made):
            raise WardianError(
                f"{job.chain.variant.id}: {pin.name} {pin.version}, which {name} is built with, has no wheel itself",
                hint=f"require another version of it in [images.{job.chain.variant.name}.sdists.{name}]",
            )
        built = self._build(pin.name, own, made, job)
        return Tool(name=built.name, version=built.version, filename=built.filename, sha256=built.sha256)


@dataclass(frozen=True)
class _Job:
    chain: Chain
    so_far: Locked
    before: LockedImage | None

    @property
    def system(self) -> System:
        assert self.so_far.system is not None
        return self.so_far.system

    def config(self, name: str) -> Sdist:
        tables = {normalised(key): table for key, table in self.chain.variant.image.sdists.items()}
        return tables.get(name, Sdist())

    def layers(self, debs: Sequence[Deb], epoch: int) -> tuple[Layer, ...]:
        return system_layers(self.chain.bottom, (*self.chain.beneath, self.so_far.entry), debs, epoch)


def stacked(layers: Sequence[Layer], site: Site, display: Display, image: str) -> tuple[LayerRecord, ...]:
    """Layers of packages, from the bottom up, in the store; those that are missing are made now."""
    records: list[LayerRecord] = []
    env: Mapping[str, str] = {}
    for layer in layers:
        if isinstance(layer, BaseLayers):
            found = site.sources.base(layer.base, layer.platform)
            blobs, diff_ids = site.store.manifest(found.digest).layers, site.store.diff_ids(found.digest)
            records += [
                LayerRecord(blob.digest, diff_id, blob.size, 0, title(layer))
                for blob, diff_id in zip(blobs, diff_ids, strict=True)
            ]
            env = environment_of(site.store.config(found.digest).get("config") or {})
            continue
        with site.store.lock(f"layer-{layer.key}"):
            record = site.store.layer(layer.key)
            if record is None:
                with display.task(f"{image}: {title(layer)}") as task:
                    record = builder(layer)(layer, Beneath(tuple(records), env, image), site, task.say)
                    site.store.remember(layer.key, record)
                    task.say(human_size(record.size))
        records.append(record)
    return tuple(records)


@dataclass(frozen=True)
class Rebuilding:
    """Builds a locked wheel again on a machine that lacks it: for ``wardian build``."""

    variants: Sequence[Variant]  # parents first
    lock: Lock
    site: Site
    fetcher: Fetcher
    display: Display

    def __call__(self, built: Built) -> Path:
        """The wheel in the store. Raises ``DigestMismatch`` when other bytes come out."""
        variant = next(one for one in self.variants if built in self.lock.images[one.id].built)
        known = {one.id: one for one in self.variants}
        line = [variant]
        while line[0].parent:
            line.insert(0, known[line[0].parent])
        entries = [self.lock.images[one.id] for one in line]
        layers = system_layers(line[0], entries, built.debs, self.site.epoch)
        records = stacked(layers, self.site, self.display, variant.id)
        with self.display.task(f"{variant.id}: building {built.name} {built.version} from source") as task:
            interpreter = entries[-1].interpreter or "python3"
            return again(built, records, interpreter=interpreter, site=self.site, fetcher=self.fetcher, say=task.say)


def rebuilding(sources: Files, variants: Sequence[Variant], lock: Lock, say: Callable[[str], None]) -> Rebuilding:
    """What builds a locked wheel again for a build that has ``sources``."""
    inside = cache(lambda: namespace(sources.host))
    site = Site(sources.store, sources.host, sources.machine, sources, inside, EPOCH, Path("/"), sources.environ)
    return Rebuilding(variants, lock, site, sources.fetcher, _Saying(say))


@dataclass(frozen=True)
class _Saying:
    """A display that hands every line on."""

    tell: Callable[[str], None]

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Line]:
        self.tell(title)
        yield self

    def say(self, text: str) -> None:
        self.tell(text)

    def advance(self, amount: float) -> None:
        """Nothing moves: only words are handed on."""
