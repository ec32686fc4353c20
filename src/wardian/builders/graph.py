"""Which layers are missing, in which order they can be made, and making them: in parallel, each key once.

Layers of all images go into one pool. A layer that executes something waits for what lies beneath it, any other starts
at once. A key is guarded by a lock in the store, so two processes never make the same layer side by side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from wardian.builders.base import Beneath, Site, Stopped
from wardian.builders.image import Made, base_config, environment_of, finished, whole, write
from wardian.builders.stack import builder, records_of
from wardian.errors import WardianError
from wardian.plan.bins import ALL_LAYERS
from wardian.plan.images import ImagePlan
from wardian.plan.layers import (
    Apt,
    BaseLayers,
    Bootstrap,
    Environment,
    Files,
    Layer,
    ProjectCode,
    Pylock,
    RunStep,
    Wheels,
    title,
)
from wardian.registry.progress import Progress
from wardian.spec.units import human_size
from wardian.store.files import disk_error
from wardian.store.store import LayerRecord

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

STANDING = (Apt, RunStep)  # layers that are made on top of the ones beneath


@dataclass(frozen=True, slots=True)
class Outcome:
    """One image after a build."""

    plan: ImagePlan
    image: Made
    new: tuple[LayerRecord, ...]  # made by this build
    reused: int  # layers that were there
    seconds: float  # from the start of the build until the image was there
    warnings: tuple[str, ...] = ()  # files of one wheel that hide another's


@dataclass
class _Work:
    """A layer to make, for every image that has it."""

    layer: Layer
    image: ImagePlan  # the first image that has it: names it in messages and gives what lies beneath
    needs: set[str]
    fresh: bool  # make it even when the store has it


@dataclass
class Graph:
    """One build of some images. ``plans`` come with the ones they stand on, parents first."""

    plans: Sequence[ImagePlan]
    site: Site
    jobs: int
    fresh: frozenset[str] = frozenset()  # ids of images whose own layers are made again
    records: dict[str, tuple[LayerRecord, ...]] = field(default_factory=dict)  # layer key → what it became
    made: dict[str, LayerRecord] = field(default_factory=dict)  # by this build
    done: set[str] = field(default_factory=set)  # ids of images that need nothing

    def missing(self) -> dict[str, _Work]:
        """The layers that must be made, by key; notes the ones that are there."""
        work: dict[str, _Work] = {}
        for plan in self.plans:
            if plan.id in self.done:
                continue
            inherited = self._inherited(plan)
            for at, layer in enumerate(plan.layers):
                if layer.key in work or layer.key in self.records:
                    continue
                fresh = plan.id in self.fresh and at >= inherited and not isinstance(layer, BaseLayers)
                known = None if fresh else self._known(layer)
                if known:
                    self.records[layer.key] = known
                    continue
                work[layer.key] = _Work(layer, plan, _needs(layer, plan.layers[:at]), fresh)
        return work

    def run(self, display: Progress) -> Iterator[Outcome]:
        """Make what is missing; each image comes as soon as it is whole. The first failure stops the rest."""
        start = monotonic()
        for plan in self.plans:
            if plan.id not in self.fresh and (image := finished(self.site, plan)):
                self.done.add(plan.id)
                yield Outcome(plan, image, (), image.layers, monotonic() - start)
        waiting = [plan for plan in self.plans if plan.id not in self.done]
        if not waiting:
            return
        self.site.sweep()
        work = self.missing()
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.jobs, thread_name_prefix="layer") as pool:
            try:
                for _ in self._completed(work, pool, display):
                    for plan in [plan for plan in waiting if all(layer.key in self.records for layer in plan.layers)]:
                        waiting.remove(plan)
                        yield self._finish(plan, start)
            except BaseException:
                self.site.stopping.set()
                stop = getattr(self.site.host, "stop", None)
                if stop:
                    stop()
                raise

    def _completed(self, work: dict[str, _Work], pool: "ThreadPoolExecutor", display: Progress) -> Iterator[None]:
        """Run all work in the order it becomes possible; yields at the start and after each piece."""
        from concurrent.futures import FIRST_COMPLETED, Future, wait

        waiting = dict(sorted(work.items(), key=lambda item: _weight(item[1].layer)))
        running: dict[Future[tuple[LayerRecord, ...]], str] = {}
        yield None
        while waiting or running:
            for key in [key for key, one in waiting.items() if one.needs <= self.records.keys()]:
                running[pool.submit(self._make, waiting.pop(key), display)] = key
            if not running:
                raise AssertionError(f"layers wait for each other: {list(waiting)}")
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda one: isinstance(one.exception(), Stopped)):
                self.records[running.pop(future)] = future.result()
            yield None

    def _make(self, work: _Work, display: Progress) -> tuple[LayerRecord, ...]:
        layer, site = work.layer, self.site
        site.check()
        if isinstance(layer, BaseLayers):
            return self._base(layer)
        with site.store.lock(f"layer-{layer.key}"):
            if not work.fresh and (known := site.store.layer(layer.key)):
                return (known,)
            with display.task(f"{work.image.id}: {title(layer)}") as task, _named(work):
                record = builder(layer, site.engine)(layer, self._beneath(work), site, task.say)
                site.store.remember(layer.key, record)
                task.say(human_size(record.size))
        self.made[layer.key] = record
        return (record,)

    def _beneath(self, work: _Work) -> Beneath:
        plan = work.image
        if not isinstance(work.layer, STANDING):
            return Beneath((), {}, plan.id)
        at = next(at for at, layer in enumerate(plan.layers) if layer.key == work.layer.key)
        records = [record for layer in plan.layers[:at] for record in self.records[layer.key]]
        env = environment_of(base_config(self.site.store, plan))
        return Beneath(tuple(records), env, plan.id, plan.platform)

    def _base(self, layer: BaseLayers) -> tuple[LayerRecord, ...]:
        self.site.sources.base(layer.base, layer.platform)
        return records_of(self.site.store, layer, layer.base.digest or "")

    def _known(self, layer: Layer) -> tuple[LayerRecord, ...] | None:
        if isinstance(layer, BaseLayers):
            digest = layer.base.digest or ""
            return records_of(self.site.store, layer, digest) if whole(self.site.store, digest) else None
        found = self.site.store.layer(layer.key)
        return (found,) if found else None

    def _inherited(self, plan: ImagePlan) -> int:
        parent = next((other for other in self.plans if other.id == plan.parent), None)
        return len(parent.layers) if parent else 0

    def _finish(self, plan: ImagePlan, start: float) -> Outcome:
        records = [record for layer in plan.layers for record in self.records[layer.key]]
        if len(records) > ALL_LAYERS:
            raise WardianError(
                f"image {plan.id} would have {len(records)} layers, {len(self.records[plan.layers[0].key])} of them "
                f"of its base; engines take at most {ALL_LAYERS}",
                hint="use a base with fewer layers",
            )
        from wardian.builders.collisions import hidden_files

        warnings = hidden_files(self.site.store, records, plan.id)
        new = tuple(self.made[layer.key] for layer in plan.layers if layer.key in self.made)
        image = write(self.site, plan, records)
        return Outcome(plan, image, new, len(records) - len(new), monotonic() - start, warnings)


def _needs(layer: Layer, beneath: Sequence[Layer]) -> set[str]:
    """The keys of what must be there before a layer can be made."""
    if isinstance(layer, STANDING):
        return {below.key for below in beneath}
    if isinstance(layer, ProjectCode) and layer.building:
        return {below.key for below in layer.building.system} & {below.key for below in beneath}
    return set()


def _weight(layer: Layer) -> tuple[int, int]:
    """Slow layers first, so that the others fill the gaps."""
    order: Sequence[type[Layer]] = (
        *(BaseLayers, Bootstrap, Apt, RunStep, ProjectCode),
        *(Wheels, Environment, Pylock, Files),
    )
    size = sum(wheel.size or 1 << 24 for wheel in layer.wheels) if isinstance(layer, Wheels) else 0
    return order.index(type(layer)), -size


class _named:  # noqa: N801 - used as a context manager
    """Puts image and layer before a failure that does not name them."""

    def __init__(self, work: _Work) -> None:
        self._work = work

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        failure = disk_error(error) if isinstance(error, OSError) else error
        if isinstance(failure, WardianError) and not isinstance(failure, Stopped):
            name = f"image {self._work.image.id}, "
            if not failure.message.startswith(name):
                failure.message = f"{name}{title(self._work.layer)}: {failure.message}"
                failure.args = (failure.message,)
        if failure is not error and failure is not None:
            raise failure from error
