"""What an image needs build backends for: its source distributions become wheels, and their tools are locked.

Most images need none: what builds is imported when there is something to build.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from wardian.builders.base import Site
from wardian.errors import WardianError
from wardian.lock.model import Built, LockedImage, Tool
from wardian.lock.pylock import Pinned
from wardian.registry.progress import Progress
from wardian.resolvers.fetch import Fetcher, pinned_file
from wardian.resolvers.project import Chain, Locked
from wardian.resolvers.python import Learn, Static, Uv
from wardian.resolvers.systems import Systems
from wardian.resolvers.tools import Job, Tools, agree, locked

if TYPE_CHECKING:
    from wardian.resolvers.learn import Learning


@dataclass(frozen=True)
class Sdists:
    """Builds what ``wardian lock`` found no wheel for, and locks it by its hash."""

    systems: Systems
    uv: Uv
    fetcher: Fetcher
    site: Site
    display: Progress

    @cached_property
    def _tools(self) -> Tools:
        return Tools(self.uv, self.systems.upgrade)

    @cached_property
    def _learning(self) -> "Learning":
        from wardian.resolvers.learn import Learning

        return Learning(self.systems, self._tools, self.fetcher, self.site, self.display)

    def learn(self, chain: Chain, so_far: Locked) -> Learn:
        """What asks a source distribution of an image what it requires."""

        def learn(name: str, place: str) -> Static:
            return self._learning.of(Job(chain, so_far, None))(name, place)

        return learn

    def tools(
        self, chain: Chain, so_far: Locked, before: LockedImage | None, requires: tuple[str, ...]
    ) -> tuple[Tool, ...]:
        """What the project's own wheel is built with, by name. What was asked for in the same words stays."""
        job = Job(chain, so_far, before)
        if before is not None and self._stay(before, job):
            return before.build
        hint = "change [build-system].requires of pyproject.toml, or the image's requirements"
        old = before.build if before else ()
        pins = self._tools.resolve("the project", requires, hint, job, before=old, learn=self._learning.of(job))
        whose = f"{job.image}: the project"
        return tuple(locked(pin, so_far.entry.built, whose=whose, hint=hint) for pin in pins)

    def _stay(self, before: LockedImage, job: Job) -> bool:
        now = job.so_far.entry
        same = all(
            before.wants.get(name) == now.wants.get(name) for name in ("build-system.requires", "platform", "index")
        )
        return (
            same
            and "build-system.requires" in now.wants
            and before.python == now.python
            and not self.systems.upgrade.tools(before.build)
            and agree(before.build, job.so_far.pins, now.built)
        )

    def wheels(self, chain: Chain, so_far: Locked, before: LockedImage | None) -> tuple[Built, ...]:
        """The wheels of one variant's own source distributions, by name. What was built in the same way stays."""
        have = {built.name for built in so_far.entry.built} | {pin.split("==")[0] for pin in so_far.entry.inherited}
        own = {pin.name: pin for pin in so_far.pins if pin.kind == "sdist" and pin.name not in have}
        made: dict[str, Built] = {built.name: built for built in so_far.entry.built}
        for name in own:
            self._build(name, own, made, Job(chain, so_far, before), ())
        return tuple(made[name] for name in sorted(own))

    def _build(
        self, name: str, own: Mapping[str, Pinned], made: dict[str, Built], job: Job, above: tuple[str, ...]
    ) -> Built:
        from wardian.builders.stack import stacked
        from wardian.resolvers.sdist import Recipe, build_system_of, make

        if name in made:
            return made[name]
        pin = own[name]
        old = next((built for built in job.before.built if built.name == name), None) if job.before else None
        if old is not None and self._same(old, pin, job, made):
            made[name] = old
            return old
        table = job.sdist(name)
        source = pinned_file(pin)
        requires = table.requires
        if requires is None:
            requires = build_system_of(self.fetcher.fetch(source)).requires
        hint = (
            f"`requires` in [images.{job.chain.variant.name}.sdists.{name}] replaces what it says that it is built with"
        )
        before = old.build if old else ()
        pins = self._tools.resolve(name, requires, hint, job, before=before, learn=self._learning.of(job))
        for one in pins:  # one of the image that is itself built of source comes first
            if one.kind == "sdist" and one.name in own:
                if one.name in {name, *above}:
                    ring = " → ".join((*above, name, one.name))
                    raise WardianError(
                        f"{job.image}: source distributions are built with each other: {ring}", hint=hint
                    )
                self._build(one.name, own, made, job, (*above, name))
        whose = f"{job.image}: {name} {pin.version}"
        tools = tuple(locked(one, made.values(), whose=whose, hint=hint) for one in pins)
        debs = self.systems.build_packages(job.image, job.system, table.apt, old.debs if old else ())
        wanted = Recipe(name, pin.version, source, tools, job.interpreter, table.env)
        records = stacked(job.layers(debs, self.site.epoch), self.site, self.display, job.image)
        with self.display.task(f"{job.image}: building {name} {pin.version} from source") as task:
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
            env=table.env,
        )
        return made[name]

    def _same(self, old: Built, pin: Pinned, job: Job, made: Mapping[str, Built]) -> bool:
        """Whether building would be done with the very same things as last time."""
        upgrade = self.systems.upgrade
        if upgrade.distributions is None or old.name in upgrade.distributions or upgrade.tools(old.build):
            return False
        wants = job.before.wants if job.before else {}
        return (
            agree(old.build, job.so_far.pins, made.values())
            and job.system.same
            and old.sdist_sha256 == pin.sha256
            and wants.get("sdists") == job.so_far.entry.wants.get("sdists")
        )
