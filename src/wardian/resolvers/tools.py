"""What wheels are built with: build requirements, locked for the Python of the image that builds."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardian.errors import WardianError
from wardian.lock.model import Built, Deb, LockedImage, Tool
from wardian.lock.pylock import Pinned, Target, normalised, write
from wardian.resolvers.project import Chain, Locked
from wardian.resolvers.python import Learn, Uv, Wanted, resolve
from wardian.resolvers.systems import System
from wardian.resolvers.upgrade import Upgrade
from wardian.spec.models import Sdist

if TYPE_CHECKING:
    from wardian.plan.layers import Layer


@dataclass(frozen=True, slots=True)
class Job:
    """One image while it is locked."""

    chain: Chain
    so_far: Locked
    before: LockedImage | None

    @property
    def image(self) -> str:
        """Its id, for messages."""
        return self.chain.variant.id

    @property
    def system(self) -> System:
        """What lies beneath its Python environment."""
        assert self.so_far.system is not None
        return self.so_far.system

    @property
    def target(self) -> Target:
        """What its wheels are for."""
        return Target(self.so_far.entry.python or "", self.chain.variant.image.platform, self.system.glibc)

    @property
    def interpreter(self) -> str:
        """Its Python."""
        return self.so_far.entry.interpreter or "python3"

    def sdist(self, name: str) -> Sdist:
        """What the project says of how a distribution is built."""
        tables = {normalised(key): table for key, table in self.chain.variant.image.sdists.items()}
        return tables.get(name, Sdist())

    def layers(self, debs: Sequence[Deb], epoch: int) -> "tuple[Layer, ...]":
        """Its packages, and ``debs`` on top of them."""
        from wardian.plan.images import system

        return system(self.chain.bottom, (*self.chain.beneath, self.so_far.entry), debs, epoch)


@dataclass(frozen=True, slots=True)
class Tools:
    """Resolves build requirements. What the image itself has of them is taken as it is there."""

    uv: Uv
    upgrade: Upgrade

    def resolve(
        self, name: str, requires: tuple[str, ...], hint: str, job: Job, *, before: Sequence[Tool], learn: Learn
    ) -> tuple[Pinned, ...]:
        """The closure of what ``name`` is built with. Raises ``WardianError`` with ``hint`` when there is none."""
        if not requires:
            return ()
        wanted = Wanted(
            image=f"{job.image}, building {name}",
            target=job.target,
            requirements=requires,
            preferred=job.so_far.pins,
            indexes=job.chain.variant.image.index,
            hint=hint,
        )
        previous = [Pinned(one.name, one.version, "wheel", one.filename, one.url, one.sha256) for one in before]
        return resolve(
            wanted,
            self.uv,
            learn=learn,
            previous=write(previous, job.target) if previous else "",
            upgrade=self.upgrade.distributions,
        )


def locked(pin: Pinned, built: Iterable[Built], *, whose: str, hint: str) -> Tool:
    """A build requirement as it is locked; one without a wheel must be among those that were ``built`` of source."""
    if pin.kind == "wheel":
        return Tool(name=pin.name, version=pin.version, filename=pin.filename, url=pin.url, sha256=pin.sha256)
    made = next((one for one in built if one.name == pin.name), None)
    if made is None:
        raise WardianError(f"{whose} is built with {pin.name} {pin.version}, which has no wheel itself", hint=hint)
    return Tool(name=made.name, version=made.version, filename=made.filename, sha256=made.sha256)


def agree(tools: Iterable[Tool], pins: Collection[Pinned], built: Iterable[Built]) -> bool:
    """Whether build requirements are what the image has of them: their versions, and wheels that it built itself."""
    versions, made = {one.name: one.version for one in pins}, {one.name: one.sha256 for one in built}
    return all(
        versions.get(tool.name, tool.version) == tool.version and made.get(tool.name, tool.sha256) == tool.sha256
        for tool in tools
    )
