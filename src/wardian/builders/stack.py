"""Layers one on another: which builder makes each kind, and stacks of packages alone, that wheels are built over."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from wardian.builders.base import Beneath, Builder, Engine, Site
from wardian.builders.image import environment_of
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
from wardian.registry.progress import Progress, Task
from wardian.spec.units import human_size
from wardian.store.store import LayerRecord, Store

# Where the builder of each kind of layer is. A build that has nothing to do imports none of them.
BUILDERS: Mapping[type[Layer], tuple[str, str]] = {
    Bootstrap: ("bootstrap", "bootstrap"),
    Apt: ("system", "apt"),
    RunStep: ("system", "run"),
    Environment: ("assembler", "environment"),
    Wheels: ("assembler", "wheels"),
    Pylock: ("assembler", "pylock"),
    Files: ("assembler", "files"),
    ProjectCode: ("project", "code"),
}
STEPS: Mapping[Engine, str] = {"sandbox": "system", "docker": "buildkit", "podman": "buildah"}


def builder(layer: Layer, engine: Engine) -> Builder[Layer]:
    """The function that makes a layer of this kind; what executes in an image is left to ``engine``."""
    from importlib import import_module

    module, name = BUILDERS[type(layer)]
    if isinstance(layer, Apt | RunStep):
        module = STEPS[engine]
    return cast("Builder[Layer]", getattr(import_module(f"wardian.builders.{module}"), name))


def stacked(layers: Sequence[Layer], site: Site, display: Progress, image: str) -> tuple[LayerRecord, ...]:
    """Layers of packages, from the bottom up, in the store; those that are missing are made now."""
    records: list[LayerRecord] = []
    env: Mapping[str, str] = {}
    bottom = layers[0]
    platform = bottom.platform if isinstance(bottom, BaseLayers | Bootstrap) else "linux/amd64"
    for layer in layers:
        if isinstance(layer, BaseLayers):
            found = site.sources.base(layer.base, layer.platform)
            records += records_of(site.store, layer, found.digest)
            env = environment_of(site.store.config(found.digest).get("config") or {})
            continue
        with site.store.lock(f"layer-{layer.key}"):
            record = site.store.layer(layer.key)
            if record is None:
                with display.task(f"{image}: {title(layer)}") as task:
                    below = Beneath(tuple(records), env, image, platform)
                    record = builder(layer, site.engine)(layer, below, site, task.say)
                    site.store.remember(layer.key, record)
                    task.say(human_size(record.size))
        records.append(record)
    return tuple(records)


def records_of(store: Store, layer: BaseLayers, digest: str) -> tuple[LayerRecord, ...]:
    """The layers of a base that is in the store, its manifest being ``digest``."""
    return tuple(
        LayerRecord(blob.digest, diff_id, blob.size, 0, title(layer))
        for blob, diff_id in zip(store.manifest(digest).layers, store.diff_ids(digest), strict=True)
    )


@dataclass(frozen=True)
class Saying:
    """A display that hands every line on."""

    tell: Callable[[str], None]

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Task]:
        """Say what begins."""
        del total
        self.tell(title)
        yield self

    def advance(self, amount: float) -> None:
        """Say nothing of how far it is."""

    def say(self, text: str) -> None:
        """Hand a line on."""
        self.tell(text)
