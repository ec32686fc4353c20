"""What `up`, `down`, `status` and `logs` share: the services as they are planned here, and the wait for each."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, Protocol

from wardian.errors import EngineFailed, SpecError, Unavailable, WardianError
from wardian.hosts.session import free_ports
from wardian.plan.services import (
    NEEDS,
    Network,
    Planned,
    complete,
    definition,
    dependencies,
    plan,
    port_variables,
    select,
)
from wardian.runs.shelf import Run, Shelf
from wardian.spec.matrix import Variant
from wardian.spec.matrix import select as select_variants
from wardian.spec.models import Service
from wardian.verbs._choose import choose, default_image
from wardian.workspace import Workspace

State = Literal["running", "exited", "lost"]
GRACE = 1.0  # seconds that a service without a probe must stay alive
TOKENS = {"jupyter": "JUPYTER_TOKEN"}  # what is kept secret, and told once


@dataclass(frozen=True, slots=True)
class Seen:
    """A service as its engine has it now."""

    state: State
    definition: str | None = None
    ports: tuple[int, ...] = ()  # of this machine, in the file's order
    code: int | None = None
    run: str | None = None  # the run's id, or the container's
    since: str | None = None  # RFC 3339


class Engine(Protocol):
    """Where services run."""

    name: str
    network: Network

    def seen(self) -> Mapping[str, Seen]:
        """Every service of this project that runs or has ended, by name."""
        ...

    def start(self, planned: Planned, workspace: Workspace) -> None:
        """Start one. Raises ``WardianError`` when it cannot be."""
        ...

    def ready(self, planned: Planned) -> bool:
        """One look at whether it can be used."""
        ...

    def tail(self, name: str) -> Sequence[str]:
        """The last lines that it wrote."""
        ...

    def stop(self, names: Sequence[str]) -> None:
        """End these, and wait until they are gone."""
        ...

    def volumes(self) -> list[str]:
        """The volumes that are kept for this project here."""
        ...

    def clear(self, *, volumes: bool) -> None:
        """Remove what is left when all services have ended; ``volumes``: these too."""
        ...


@dataclass(frozen=True)
class Plans:
    """The services of one call, dependencies first, and what was found of them."""

    services: tuple[Planned, ...]
    kept: frozenset[str]  # they run as they are planned
    changed: frozenset[str]  # they run, and are planned otherwise now
    workspace: Workspace  # with moved ports, and secrets that were made, among its variables
    tokens: Mapping[str, str] = field(default_factory=dict)  # service → a secret that was made now


@contextmanager
def own_failure() -> Iterator[None]:
    """Make an engine's failure this command's, with exit code 1: only where a program's code comes back is it 125."""
    try:
        yield
    except EngineFailed as error:
        raise WardianError(error.message, hint=error.hint) from error


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """Hold back other calls of `up` and `down` in this project until the block ends.

    A POSIX lock: the processes that are forked to watch services do not hold it. Raises ``SpecError`` where there is no
    project, and makes nothing there.
    """
    if not workspace.state.is_dir():
        _ = workspace.spec
    try:
        workspace.state.mkdir(exist_ok=True)
        descriptor = os.open(workspace.state / "services.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Unavailable(f"{workspace.state} cannot be written to: {error.strerror}") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def planned(
    workspace: Workspace, names: Sequence[str], profiles: Sequence[str], network: Network, seen: Mapping[str, Seen]
) -> Plans:
    """The services that are meant, with ports that are free; one that runs as it is written keeps its own."""
    order = select(workspace.spec.services, names, profiles)
    written = {name: complete(workspace.spec.services[name]) for name in order}
    words = {name: written[name].image or default_image(workspace) for name in order}
    digests = {word: choose(workspace, word).digest for word in dict.fromkeys(words.values())}
    outside: dict[str, tuple[int, ...]] = {}
    definitions: dict[str, str] = {}
    kept, changed = set(), set()
    for name in order:
        beside = {other: outside[other] for other in dependencies(workspace.spec.services, name)}
        definitions[name] = _definition(workspace, written[name], digests[words[name]], beside)
        found = seen.get(name)
        if found and found.state == "running" and found.definition == definitions[name]:
            kept.add(name)
            outside[name] = found.ports
            continue
        if found and found.state != "exited":
            changed.add(name)
        own = found.ports if found and found.state != "exited" else ()
        taken = [port for ports in outside.values() for port in ports]
        taken += [port for one in seen if one not in order for port in seen[one].ports if seen[one].state == "running"]
        outside[name] = tuple(free_ports(_labelled(name, written[name]), taken=taken, own=own).values())
    filled, tokens = _filled(workspace, written, outside, network), {}
    for name in order:
        if (
            (variable := TOKENS.get(written[name].use or ""))
            and name not in kept
            and not filled.variables.get(variable)
        ):
            tokens[name] = secrets.token_urlsafe(24)
            filled = replace(filled, environ={**filled.environ, variable: tokens[name]})
    done: dict[str, Planned] = {}
    for name in order:
        done[name] = plan(
            name,
            complete(filled.spec.services[name]),
            image=words[name],
            digest=digests[words[name]],
            written=written[name],
            outside=outside[name],
            others={other: done[other] for other in dependencies(workspace.spec.services, name)},
            network=network,
            definition=definitions[name],
            python=has_python(workspace, words[name]),
        )
    return Plans(tuple(done.values()), frozenset(kept), frozenset(changed), filled, tokens)


def _labelled(name: str, service: Service) -> dict[str, int]:
    return {f"{name} {port}": number for port, number in service.ports.items()}


def _definition(workspace: Workspace, service: Service, image: str, beside: Mapping[str, object]) -> str:
    run = workspace.spec.run
    mounts = {name: mount.model_dump(mode="json") for name, mount in workspace.spec.mounts.items()}
    return definition(service, image=image, beside=beside, mounts=mounts, user=run.user, shm=run.shm)


def _filled(
    workspace: Workspace, written: Mapping[str, Service], outside: Mapping[str, Sequence[int]], network: Network
) -> Workspace:
    """The workspace whose variables hold the ports that had to move: ``${ENV_PORT:-36001}`` is the same everywhere."""
    moved: dict[str, str] = {}
    for name, service in written.items() if not network.own else ():
        variables = port_variables(workspace.loaded.data, name)
        for at, port in enumerate(service.ports.values()):
            if outside[name][at] != port and at in variables:
                moved.setdefault(variables[at], str(outside[name][at]))
    return replace(workspace, environ={**workspace.environ, **moved}) if moved else workspace


def as_seen(workspace: Workspace, name: str, found: Seen, network: Network) -> Planned | None:
    """A service of the file as it runs, to be asked whether it is ready; None when it is written otherwise by now."""
    service = complete(workspace.spec.services[name])
    word = service.image or default_image(workspace)
    if len(found.ports) != len(service.ports):
        return None
    return plan(
        name,
        service,
        image=word,
        digest="",
        written=service,
        outside=found.ports,
        others={},
        network=network,
        definition=found.definition or "",
        python=has_python(workspace, word),
    )


def has_python(workspace: Workspace, word: str) -> bool:
    """Whether an image of this project has a Python, as the file says."""
    found = variant(workspace, word)
    return found is not None and found.image.python is not None


def variant(workspace: Workspace, word: str) -> Variant | None:
    """The variant of this project that a word means; None for an image of others."""
    try:
        found = select_variants(workspace.images, [word])
    except SpecError:
        return None
    return found[0] if len(found) == 1 else None


def service_runs(workspace: Workspace) -> dict[str, Run]:
    """The latest run of each service in the sandbox."""
    every = Shelf(workspace.state, workspace.home).all()
    return {run.record.service: run for run in every if run.record.service}


def await_ready(engine: Engine, one: Planned, started: float) -> None:
    """Wait until a service is ready. Raises ``WardianError`` when it dies, or is not ready in its time."""
    ready = one.service.ready
    limit = started + (ready.timeout if ready else GRACE)
    while True:
        found = engine.seen().get(one.name)
        if found is None or found.state != "running":
            raise died(engine, one, found)
        if ready and engine.ready(one):
            return
        if time.monotonic() >= limit:
            if ready is None:
                return
            lines = engine.tail(one.name)
            said = "\n".join(["its last lines:", *lines]) if lines else "it wrote nothing"
            raise WardianError(
                f"service {one.name} is not ready after {ready.timeout:g} s ({way(one)}); {said}",
                hint=f"type: wardian logs {one.name}, or give it more time: ready.timeout",
            )
        time.sleep(min(ready.interval if ready else 0.1, max(0.0, limit - time.monotonic()) + 0.01))


def died(engine: Engine, one: Planned, found: Seen | None) -> WardianError:
    """What to say of a service that ended by itself."""
    code = f"exited with {found.code}" if found and found.code is not None else "ended"
    lines = list(engine.tail(one.name))
    hint = f"type: wardian logs {one.name}"
    if one.service.use and any(words in line for line in lines for words in ("not found", "No module named")):
        hint = f'is it in image {one.image}? add "{NEEDS[one.service.use]}" to its requirements'
    said = "; its last lines:\n" + "\n".join(lines) if lines else ", and wrote nothing"
    return WardianError(f"service {one.name} {code}{said}", hint=hint)


def way(one: Planned) -> str:
    """How one knows that it is ready, in a few words."""
    ready = one.service.ready
    if ready is None:
        return "it runs"
    if ready.http:
        return f"GET {one.url}{ready.http}"
    if ready.command:
        return "its command ready.command"
    if ready.log:
        return f"{ready.log!r} in its log"
    return f"port {tcp_port(one, ready.tcp or 0)} listens"


def tcp_port(one: Planned, written: int) -> int:
    """The port of this machine for one that was written; 0 stands for the first."""
    return next(port.outside for port in one.ports if written in (0, port.written))


def described(one: Planned, state: str, found: Seen | None) -> dict[str, object]:
    """A service for --json."""
    return {
        "service": one.name,
        "state": state,
        "image": one.image,
        "url": one.url,
        "ports": {port.name: asdict(port) for port in one.ports},
        "run": found.run if found else None,
        "since": found.since if found else None,
        "exit_code": found.code if found else None,
    }
