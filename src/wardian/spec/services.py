"""What is wrong with ``[services]``: names that lead nowhere, circles, volumes and probes that cannot be."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from wardian.errors import Fault
from wardian.spec.models import Ready, Service, Spec
from wardian.spec.paths import text

NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # Source: Docker, "volume create": what a volume may be called
NEEDS_COMMAND = frozenset({"debugpy"})


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of a service: kept by name, or a folder of the host."""

    source: str
    target: str
    read_only: bool = False
    shared: bool = False

    @property
    def named(self) -> bool:
        """Whether it is kept by name, and not a folder that somebody has."""
        return NAMED.fullmatch(self.source) is not None

    def kept_as(self, service: str) -> str:
        """The name it is kept by in the project: a service's own, unless it is shared."""
        return self.source if self.shared else f"{service}-{self.source}"


def volume(written: str) -> Volume:
    """``SOURCE:TARGET[:ro][:shared]``. Raises ``ValueError`` with what is wrong.

    >>> volume("data:/data:ro")
    Volume(source='data', target='/data', read_only=True, shared=False)
    """
    parts = written.split(":")
    options: list[str] = []
    while len(parts) > 2 and parts[-1] in ("ro", "rw", "shared"):
        options.append(parts.pop())
    source, target = ":".join(parts[:-1]), parts[-1]
    if not source or not target.startswith("/"):
        message = f"{written!r} is not SOURCE:/TARGET[:ro][:shared]"
        raise ValueError(message)
    found = Volume(source, target, "ro" in options, "shared" in options)
    if not found.named and not source.startswith(("/", "./", "../", "~")) and source != ".":
        message = f"{source!r} is neither a name nor a path; a path starts with ./, / or ~"
        raise ValueError(message)
    if found.shared and not found.named:
        message = f"{source!r} is a folder of yours: every service that names it shares it"
        raise ValueError(message)
    return found


def check_services(spec: Spec) -> Iterator[Fault]:
    """Every fault of the services of a well-formed file."""
    for name, service in spec.services.items():
        yield from _dependencies(name, service, spec.services)
        yield from _volumes(name, service)
        yield from _command(name, service)
        if service.ready:
            yield from _ready(("services", name, "ready"), service.ready, service)
    yield from _circles(spec.services)
    yield from _sharing(spec.services)


def _dependencies(name: str, service: Service, known: Mapping[str, Service]) -> Iterator[Fault]:
    for at, other in enumerate(service.depends_on):
        if other not in known:
            near = get_close_matches(other, [one for one in known if one != name], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known)}"
            yield Fault(text(("services", name, "depends-on", at)), f"there is no service {other!r}", hint=hint)


def _circles(services: Mapping[str, Service]) -> Iterator[Fault]:
    """Each circle once, at its first service."""
    seen: set[str] = set()

    def walk(name: str, way: Sequence[str]) -> Iterator[Fault]:
        if name in way:
            circle = [*way[way.index(name) :], name]
            yield Fault(text(("services", name, "depends-on")), f"goes in a circle: {' → '.join(circle)}")
        elif name not in seen and name in services:
            seen.add(name)
            for other in services[name].depends_on:
                yield from walk(other, [*way, name])

    for name in services:
        yield from walk(name, [])


def _volumes(name: str, service: Service) -> Iterator[Fault]:
    targets: set[str] = set()
    for at, written in enumerate(service.volumes):
        place = text(("services", name, "volumes", at))
        try:
            found = volume(written)
        except ValueError as error:
            yield Fault(place, str(error))
            continue
        if found.target in targets:
            yield Fault(place, f"there is a volume at {found.target} already")
        targets.add(found.target)


def _sharing(services: Mapping[str, Service]) -> Iterator[Fault]:
    """A name that one service shares and another keeps for itself: one of the two was forgotten."""
    uses: dict[str, list[tuple[str, str, bool]]] = {}
    for name, service in services.items():
        for at, written in enumerate(service.volumes):
            try:
                found = volume(written)
            except ValueError:
                continue
            uses.setdefault(found.source, []).append((name, text(("services", name, "volumes", at)), found.shared))
    for source, users in uses.items():
        sharing = [name for name, _, shared in users if shared]
        for _, place, shared in users:
            if sharing and not shared:
                hint = "add :shared here too, or choose another name"
                yield Fault(place, f"{source!r} is shared in services.{sharing[0]}, and not here", hint=hint)


def _command(name: str, service: Service) -> Iterator[Fault]:
    if service.use in NEEDS_COMMAND and not service.command:
        hint = 'write command = "train.py --lr 3e-4": what follows python -m debugpy'
        yield Fault(text(("services", name, "command")), f"{service.use} needs a program", hint=hint)
    if service.command is not None and not "".join(service.command).removeprefix("sh-c").strip():
        yield Fault(text(("services", name, "command")), "is empty")


def _ready(place: tuple[str, ...], ready: Ready, service: Service) -> Iterator[Fault]:
    ways = [way for way in ("http", "tcp", "command", "log") if getattr(ready, way) is not None]
    if len(ways) != 1:
        said = f"names {' and '.join(ways)}" if ways else "names no way to know"
        yield Fault(text(place), said, hint="write one of http, tcp, command, log")
    if ready.http and not re.fullmatch(r"[!-~]+", ready.http):
        yield Fault(
            text((*place, "http")), f"{ready.http!r} is not the path of an address", hint="write %20 for a blank"
        )
    ports = bool(service.ports) or service.use is not None
    if not ports and (ready.http or ready.tcp == 0):
        yield Fault(text(place), f"the service has no port to ask by {ways[0]}", hint="write ports = [8000]")
    if ready.tcp and ready.tcp not in service.ports.values():
        listed = ", ".join(map(str, service.ports.values())) or "none"
        yield Fault(text((*place, "tcp")), f"{ready.tcp} is not a port of the service", hint=f"ports: {listed}")
    if ready.log is not None:
        try:
            re.compile(ready.log)
        except re.error as error:
            yield Fault(text((*place, "log")), f"is not a regular expression: {error}")
