"""``[services]`` → what is started, in which order, on which ports, and what each is told of the others. Pure."""

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from typing import Any

from wardian.errors import Fault, SpecError
from wardian.plan.launch import port_variable
from wardian.spec.models import Ready, Service
from wardian.spec.services import Volume, volume

FORMAT = 1  # of a definition: raised when the same words start another container
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-[^{}$]*)?\}")
PORT = '"$WARDIAN_PORT"'
LISTEN = '"$WARDIAN_LISTEN"'

# Source: jupyter_server's ServerApp options (JUPYTER_TOKEN is read from the environment; /api needs no token),
# `tensorboard --helpfull`, debugpy's command-line reference.
READY_MADE = {
    "jupyter": Service(
        command=(
            "sh",
            "-c",
            f"exec jupyter lab --no-browser --allow-root --ip={LISTEN} --port={PORT} --ServerApp.port_retries=0",
        ),
        ports={"jupyter": 8888},
        ready=Ready(http="/api"),
        env_pass=("JUPYTER_TOKEN",),
    ),
    "tensorboard": Service(
        command=("sh", "-c", f"exec tensorboard --logdir . --host {LISTEN} --port {PORT}"),
        ports={"tensorboard": 6006},
        ready=Ready(http="/"),
    ),
    "debugpy": Service(ports={"debugpy": 5678}, ready=Ready(tcp=0)),
}
DEBUGPY = f"exec python -Xfrozen_modules=off -m debugpy --listen {LISTEN}:{PORT} --wait-for-client "
NEEDS = {"jupyter": "jupyterlab", "tensorboard": "tensorboard", "debugpy": "debugpy"}  # the distribution it is in


@dataclass(frozen=True, slots=True)
class Network:
    """How services reach each other. ``listen``: the address a service must listen on."""

    listen: str
    host: str | None  # None: each by its own name, at the port it listens on

    @property
    def own(self) -> bool:
        """Whether the services have a network of their own, where no port of the machine is taken."""
        return self.host is None


MACHINE = Network(listen="127.0.0.1", host="127.0.0.1")  # the sandbox: this machine's network
COMPOSE = Network(listen="0.0.0.0", host=None)  # noqa: S104 - inside the network of the project alone


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service: the one it was written with, the one it listens on, the one of this machine."""

    name: str
    written: int
    inside: int
    outside: int

    @property
    def moved(self) -> bool:
        """Whether this machine's port is another than the one that was written."""
        return self.outside != self.written


@dataclass(frozen=True, slots=True)
class Planned:
    """One service, ready to be started by an engine."""

    name: str
    service: Service  # complete: what is ready-made is filled in
    image: str  # as the file names it
    digest: str  # of its manifest
    ports: tuple[Port, ...]
    env: Mapping[str, str]  # of the service, and what it is told; the image's own is not in it
    definition: str  # a digest: another one means that what runs is not what is written
    python: bool = False  # whether the image is known to have one

    @property
    def url(self) -> str | None:
        """Where the service is reached from this machine."""
        return f"http://127.0.0.1:{self.ports[0].outside}" if self.ports else None

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """The volumes of the service."""
        return tuple(volume(written) for written in self.service.volumes)


def complete(service: Service) -> Service:
    """A service with what its ready-made one says where the file says nothing."""
    if service.use is None:
        return service
    made = READY_MADE[service.use]
    said = {name: getattr(service, name) for name in service.model_fields_set}
    if service.use == "debugpy" and service.command:
        said["command"] = _debugged(service.command)
    if made.env_pass:
        said["env_pass"] = tuple(dict.fromkeys((*made.env_pass, *service.env_pass)))
    return made.model_copy(update=said)


def _debugged(command: Sequence[str]) -> tuple[str, ...]:
    """The words or the line that follow ``python -m debugpy … ``."""
    if tuple(command[:2]) == ("sh", "-c") and len(command) == 3:
        return ("sh", "-c", DEBUGPY + command[2])
    return ("sh", "-c", DEBUGPY + '"$@"', "debugpy", *command)


def select(services: Mapping[str, Service], names: Sequence[str], profiles: Sequence[str]) -> tuple[str, ...]:
    """The services that are meant, each after those it depends on.

    By name, or all without a profile and all with one of ``profiles``; what they depend on comes along whatever its
    profile. Raises ``SpecError`` for names that lead nowhere, and when nothing is meant.
    """
    if not services:
        raise SpecError("there is no service in the file", hint="write [services.NAME] and command = …")
    known = sorted({profile for service in services.values() for profile in service.profiles})
    faults = [_unknown("service", name, services) for name in names if name not in services]
    faults += [_unknown("profile", name, known) for name in profiles if name not in known]
    if faults:
        raise SpecError(faults)
    wanted = list(names)
    if not names or profiles:
        wanted += [
            name
            for name, one in services.items()
            if (not names and not one.profiles) or set(one.profiles) & {*profiles}
        ]
    if not wanted:
        raise SpecError("every service has a profile", hint=f"type: wardian up --profile {known[0]}")
    return ordered(services, wanted)


def ordered(services: Mapping[str, Service], wanted: Iterable[str]) -> tuple[str, ...]:
    """The wanted ones and all they depend on, dependencies first, otherwise in the file's order."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in found:
            for other in services[name].depends_on:
                add(other)
            found[name] = None

    chosen = set(wanted)
    for name in services:
        if name in chosen:
            add(name)
    return tuple(found)


def _unknown(what: str, name: str, known: Iterable[str]) -> Fault:
    near = get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known) or 'none'}"
    return Fault("", f"there is no {what} {name!r}", hint=hint)


def port_variables(data: Mapping[str, object], service: str) -> dict[int, str]:
    """Place of a port → the variable it is written as: ``${ENV_PORT:-36001}``. ``data`` is the file as it was written.

    >>> port_variables({"services": {"qa": {"ports": [80, "${QA:-81}"]}}}, "qa")
    {1: 'QA'}
    """
    ports: Any = data
    for key in ("services", service, "ports"):
        ports = ports.get(key) or {}
    written = ports.values() if isinstance(ports, Mapping) else ports
    found = ((at, VARIABLE.fullmatch(one)) for at, one in enumerate(written) if isinstance(one, str))
    return {at: match[1] for at, match in found if match}


def told(name: str, host: str, ports: Mapping[str, object]) -> dict[str, str]:
    """The variables that tell others of a service.

    >>> told("search-qa", "127.0.0.1", {"http": 36001})["WARDIAN_SERVICE_SEARCH_QA_URL"]
    'http://127.0.0.1:36001'
    """
    prefix = "WARDIAN_SERVICE_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    if not ports:
        return {f"{prefix}_HOST": host}
    first, *more = ports.items()
    found = {f"{prefix}_HOST": host, f"{prefix}_PORT": str(first[1]), f"{prefix}_URL": f"http://{host}:{first[1]}"}
    return found | {port_variable(port).replace("WARDIAN", prefix, 1): str(number) for port, number in more}


def variables(
    network: Network, ports: Mapping[str, object], others: Mapping[str, Mapping[str, object]]
) -> dict[str, str]:
    """What a service is told: where to listen, on which ports, and where those are that it depends on."""
    env = {"WARDIAN_LISTEN": network.listen}
    if ports:
        env["WARDIAN_PORT"] = str(next(iter(ports.values())))
    env |= {port_variable(name): str(port) for name, port in ports.items()}
    for name, theirs in others.items():
        env |= told(name, network.host or name, theirs)
    return env


def plan(
    name: str,
    service: Service,
    *,
    image: str,
    digest: str,
    written: Service,
    outside: Sequence[int],
    others: Mapping[str, "Planned"],
    network: Network,
    definition: str,
    python: bool = False,
) -> Planned:
    """One service. ``service`` and ``written`` are complete, with and without the ports that had to move filled in.

    ``outside``: the port of this machine for each of ``written``'s, by place; ``others``: all it depends on.
    """
    numbers = zip(written.ports.items(), service.ports.values(), outside, strict=True)
    ports = tuple(Port(key, before, inside if network.own else free, free) for (key, before), inside, free in numbers)
    known = {other.name: {port.name: port.inside for port in other.ports} for other in others.values()}
    env = variables(network, {port.name: port.inside for port in ports}, known)
    return Planned(name, service, image, digest, ports, {**env, **service.env}, definition, python)


def definition(service: Service, **rest: object) -> str:
    """The digest of all that decides what is started; when it changes, what runs is started anew."""
    said = service.model_dump(mode="json", exclude={"ready", "profiles", "depends_on"})
    text = json.dumps({"format": FORMAT, "service": said, **rest}, sort_keys=True, default=str)
    return "sha256:" + sha256(text.encode()).hexdigest()


def dependencies(services: Mapping[str, Service], name: str) -> tuple[str, ...]:
    """All that a service depends on, directly or not."""
    return ordered(services, services[name].depends_on)


def bind_source(volume: Volume, service: str, folder: str) -> str:
    """Where a volume lies when it is a folder: named ones beneath ``folder``."""
    return posixpath.join(folder, volume.kept_as(service)) if volume.named else volume.source
