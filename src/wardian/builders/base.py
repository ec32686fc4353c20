"""What a builder is given, and what it gives back."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from wardian.errors import Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.hosts.machine import Machine
from wardian.lock.model import Base
from wardian.lock.wheel import Wheel
from wardian.oci.layer import LayerBlob
from wardian.oci.model import Descriptor
from wardian.store.files import Guarded, creating
from wardian.store.store import LayerRecord, Store

if TYPE_CHECKING:
    from wardian.hosts.sandbox import Namespace
    from wardian.plan.layers import Layer

Engine = Literal["sandbox", "docker", "podman"]
L_contra = TypeVar("L_contra", contravariant=True)


class Stopped(WardianError):
    """Another part of the build failed, or was interrupted: this one ends without a word of its own."""


class Sources(Protocol):
    """Where locked files come from; each call returns once they are in the store, verified."""

    def debs(self, debs: Sequence[Any], say: Callable[[str], None]) -> tuple[Path, ...]:
        """Debian packages, in the order given, under the names dpkg gives them."""
        ...

    def wheels(self, wheels: Sequence[Wheel], say: Callable[[str], None]) -> tuple[Path, ...]:
        """Wheels, in the order given, under their own names."""
        ...

    def base(self, base: Base, platform: str) -> Descriptor:
        """A base image's manifest."""
        ...

    def close(self) -> None:
        """End the connections that were opened."""
        ...


@dataclass(frozen=True)
class Site:
    """Where layers are made: the store, the host, what the machine is set to, where locked files come from."""

    store: Store
    host: Host
    machine: Machine
    sources: Sources
    namespace: "Callable[[], Namespace]"  # asked by the first step that needs one
    epoch: int
    root: Path  # the project
    environ: Mapping[str, str] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    engine: Engine = "sandbox"  # what executes system steps

    def owners(self, what: str) -> "Namespace":
        """The namespace where files can have several owners. Raises ``Unavailable`` for a user with a single id."""
        inside = self.namespace()
        if inside.kind == "single":
            hint = "type: wardian doctor, which has the line that gives some"
            raise Unavailable(f"this user has no subordinate ids, which {what}", hint=hint)
        return inside

    def check(self) -> None:
        """Raise ``Stopped`` once the build is to end."""
        if self.stopping.is_set():
            raise Stopped("the build was stopped")

    def write(self, layer: "Layer", fill: Callable[[Guarded], LayerBlob], packages: Sequence[str] = ()) -> LayerRecord:
        """Make one blob: ``fill`` writes it; nothing is left of it when it fails."""
        from wardian.plan.layers import title

        with self.store.growing() as path:
            with creating(path, self.store.root, self.check) as out:
                blob = fill(out)
            self.store.adopt(path, blob.digest)
        return LayerRecord.of(blob, title(layer), packages)

    def temporary(self) -> AbstractContextManager[Path]:
        """A folder of the store's file system that is removed at the end, whoever owns what is in it."""
        from wardian.builders.scratch import scratch

        return scratch(self.store, self.host, self.namespace)

    def sweep(self) -> None:
        """Remove what builds that were killed have left here."""
        from wardian.builders.scratch import sweep

        chosen = self.environ.get("TMPDIR")
        sweep(self.store, self.host, self.namespace, Path(chosen) if chosen else None)


def namespace_of(host: Host) -> "Callable[[], Namespace]":
    """What finds the namespace of a host when it is first asked, which most builds never do."""

    @cache
    def found() -> "Namespace":
        from wardian.hosts.sandbox import namespace

        return namespace(host)

    return found


@dataclass(frozen=True, slots=True)
class Beneath:
    """What a system step stands on: layers from the bottom up, and the environment of the base image's config."""

    layers: tuple[LayerRecord, ...]
    env: Mapping[str, str]
    image: str  # for messages
    platform: str = "linux/amd64"


class Builder(Protocol[L_contra]):
    """One kind of layer: plan → blob. It says what it is doing, a line at a time."""

    def __call__(self, layer: L_contra, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
        """Make the layer."""
        ...
