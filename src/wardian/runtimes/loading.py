"""An image of the store brought to an engine: only the layers it lacks, and under the image's own names.

The engine pulls from a registry that we serve on loopback for that moment. Where it cannot reach our loopback (it runs
on another machine, or in a network namespace of its own), it gets an archive as a stream, which holds every layer. An
image is known by the digest of its config or, in an engine that keeps manifests, of its manifest: so what it has under
such an id is what the store has, whatever its name.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import BinaryIO, Protocol

from wardian.command import Command, Result
from wardian.errors import DigestMismatch, EngineFailed, Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.oci.reference import Reference
from wardian.runtimes.base import Loaded, Place
from wardian.store.export import blobs, stream_docker
from wardian.store.store import Tagged

UNREACHABLE = ("connection refused", "no route to host", "i/o timeout", "network is unreachable")


class Client(Protocol):
    """An engine's program."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def fault(self, said: str) -> EngineFailed:
        """What it said, in one line with the next thing to type."""
        ...


class Loader(Client, Protocol):
    """What is asked of an engine here."""

    def present(self, ids: Sequence[str], host: Host) -> str | None:
        """The one of these image ids that it has."""
        ...

    def pull(self, reference: str) -> Command:
        """What makes it pull from a registry on loopback."""
        ...

    def archive_only(self) -> bool:
        """Whether it cannot reach our loopback."""
        ...

    def tag(self, image: str, name: str, host: Host) -> None:
        """Give the image with this id a name."""
        ...

    def untag(self, name: str, host: Host) -> None:
        """Take a name from its image; there may be none."""
        ...


def load(self: Loader, image: str, place: Place) -> Loaded:
    """Bring the image with this manifest digest to the engine, if it lacks it. The second call moves nothing."""
    ids = known_as(image, place)
    if found := self.present(ids, place.host):
        return Loaded(found)
    descriptor = place.store.resolve(image)
    if descriptor is None:
        raise WardianError(f"image {image} is not in the store", hint="build or pull it again")
    wanted = names(place, image)
    tagged = Tagged(wanted[0], descriptor)
    total = sum(blob.size for blob in blobs(place.store, descriptor))
    sent = 0
    with place.progress() as tasks, tasks.task(f"{wanted[0]} to {self.name}", total) as task:

        def count(amount: int) -> None:
            nonlocal sent
            sent += amount
            task.advance(amount)

        found = None if self.archive_only() else _pulled(self, place, tagged, wanted, count)
        pulled = found is not None
        if found is None:
            _streamed(self, place, tagged, count)
            found = _named(self, place, tagged, wanted)
        task.say(f"{sent / 1e6:.1f} of {total / 1e6:.1f} MB sent")
    return Loaded(found, wanted, sent, "pulled" if pulled else "archive")


def load_and_name(self: Loader, image: str, place: Place) -> Loaded:
    """The same, and every name that the store has for it by now."""
    loaded = load(self, image, place)
    if loaded.names:
        return loaded
    wanted = names(place, image)
    _name(self, place, loaded.id, wanted)
    return replace(loaded, names=wanted)


def has(self: Loader, image: str, place: Place) -> bool:
    """Whether the engine has this image."""
    return self.present(known_as(image, place), place.host) is not None


def known_as(image: str, place: Place) -> tuple[str, str]:
    """The ids that an engine may know an image by: the digests of its config and of its manifest."""
    return place.store.manifest(image).config.digest, image


def names(place: Place, image: str) -> tuple[str, ...]:
    """What an engine shall call an image: its names in the store, or one made of its digest."""
    found = []
    for entry in place.store.references():
        if entry.descriptor.digest == image:
            try:
                found.append(Reference.parse(entry.reference).familiar)
            except WardianError:
                continue
    return tuple(found) or (f"wardian:{image[7:19]}",)


def _pulled(
    self: Loader, place: Place, image: Tagged, wanted: Sequence[str], count: Callable[[int], None]
) -> str | None:
    """The engine's id of the image that it pulled; None when it cannot reach us. It pulls by digest, and compares."""
    from wardian.registry.server import serving

    with serving(place.store, image.descriptor, count) as reference:
        asked = place.host.run(self.pull(reference))
    said = asked.stderr.decode(errors="replace")
    if asked.code:
        if any(word in said for word in UNREACHABLE):
            return None
        raise self.fault(said)
    found = _named(self, place, image, wanted)  # first its own names: with its last name an image goes
    self.untag(reference, place.host)
    return found


def _named(self: Loader, place: Place, image: Tagged, wanted: Sequence[str]) -> str:
    """Give the image that has just come its names; the engine's id of it."""
    found = self.present(known_as(image.descriptor.digest, place), place.host)
    if found is None:
        raise DigestMismatch(f"{self.name} has another image now than the store's {image.descriptor.digest}")
    _name(self, place, found, wanted)
    return found


def _streamed(self: Loader, place: Place, image: Tagged, count: Callable[[int], None]) -> None:
    """`load` from a pipe: an image never lies on the disk a second time."""

    def write(out: BinaryIO) -> None:
        stream_docker(place.store, image, out, count)

    result = place.host.feed(Command((self.name, "load", "--quiet"), changes=True), write)
    if result.code:
        raise self.fault(result.stderr.decode(errors="replace"))


def _name(self: Loader, place: Place, found: str, wanted: Sequence[str]) -> None:
    for one in wanted:
        self.tag(found, one, place.host)


def ask(self: Client, host: Host, *words: str, timeout: float = 60) -> Result:
    """What a command of the client answers. Raises ``EngineFailed`` in the engine's words, with what to type."""
    try:
        asked = host.run(Command((self.name, *words)), timeout=timeout)
    except Unavailable as error:
        raise EngineFailed(error.message, hint=absent(self.name)) from error
    if asked.code:
        raise self.fault(asked.stderr.decode(errors="replace"))
    return asked


def absent(name: str) -> str:
    """What to type where an engine's program is not there."""
    package = "docker.io" if name == "docker" else name
    return f"type: sudo apt-get install {package}, or use --engine sandbox"
