"""Services → a compose file that works without Wardian.

Source: the Compose specification, https://github.com/compose-spec/compose-spec/blob/main/spec.md
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wardian.plan.containers import Bind
from wardian.plan.services import COMPOSE, complete, variables
from wardian.spec.models import Ready, Service
from wardian.spec.services import volume
from wardian.spec.units import size

HOST_USER = "${HOST_UID:-1000}:${HOST_GID:-1000}"
DEFAULT_SHM = size("64m")  # Source: docker-run(1), --shm-size
LOOK_EVERY = 3  # seconds; a shorter one only while it starts needs an engine of version 25
ROOTS = 1024  # ports below are open to root alone, where a network does not say otherwise. Source: ip(7)
FAILURES = 3  # after the time to start, until it is called unhealthy
HTTP = (
    "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=5); "
    "c.request('GET', {path!r}); sys.exit(c.getresponse().status >= 400)"
)
# Where no Python is known of: what the image has of these.
HTTP_BY_SHELL = (
    "url='http://127.0.0.1:{port}{path}'; if command -v wget; then wget -q -O /dev/null \"$url\"; "
    'elif command -v curl; then curl -fsS -o /dev/null "$url"; '
    'else bash -c \'exec 3<>/dev/tcp/127.0.0.1/{port}; printf "GET %s HTTP/1.0\\r\\n\\r\\n" "{path}" >&3; '
    'read -r _ status _ <&3; [ "$status" -lt 400 ]\'; fi >/dev/null'
)
# A row of proc(5)'s table of sockets in the state LISTEN; nobody is called, which a debugger would take for its client.
TCP = "grep -qs \"$(printf ':%04X 0*:0000 0A' {port})\" /proc/net/tcp /proc/net/tcp6"


@dataclass(frozen=True, slots=True)
class Part:
    """A service in the words of the file. ``binds`` are folders of the host, ``labels`` what an engine keeps of it."""

    name: str
    service: Service
    image: str
    ports: tuple[tuple[str, str], ...]  # (inside, of this machine), as the file has them
    binds: tuple[Bind, ...]
    env: Mapping[str, str]
    user: str
    workdir: str | None
    python: bool  # whether the image is known to have one
    say: Callable[[str], str]  # how a text of the service is written, so that compose reads it as it is meant
    labels: Mapping[str, str] = field(default_factory=dict)
    userns: str | None = None  # podman's


def literal(text: str) -> str:
    """A text that compose must not change.

    >>> literal("echo $HOME")
    'echo $$HOME'
    """
    return text.replace("$", "$$")


def written(text: str) -> str:
    """A text of wardian.toml: ``${NAME:-default}`` is a variable there as here, ``$NAME`` is the shell's.

    >>> written("serve --port ${PORT:-80} --home $HOME $$x")
    'serve --port ${PORT:-80} --home $$HOME $$x'
    """
    return re.sub(r"\$\$|\$(?!\{)", "$$", text)


def as_written(
    services: Mapping[str, Service], data: Mapping[str, Any], name: str
) -> tuple[Service, tuple[tuple[str, str], ...]]:
    """A complete service whose texts are as the file has them, and its ports: inside, and of this machine.

    A port that is a variable stays one; any other gets one, so that whoever has that port taken can choose another.
    """
    raw = data["services"].get(name, {})
    said: dict[str, Any] = {key: raw[key] for key in ("env", "volumes") if key in raw}
    if "command" in raw:
        said["command"] = _words(raw["command"])
    ready = services[name].ready
    if ready and ready.command:
        said["ready"] = ready.model_copy(update={"command": _words(raw["ready"]["command"])})
    service = complete(services[name].model_copy(update=said))
    ports = raw.get("ports", {})
    texts = list(ports.values() if isinstance(ports, Mapping) else ports) or list(service.ports.values())
    found = []
    for at, (port, text) in enumerate(zip(service.ports, texts, strict=True)):
        own = "_PORT" if at == 0 else f"_PORT_{port}"
        variable = re.sub(r"[^A-Z0-9_]", "_", f"{name}{own}".upper())
        varies = isinstance(text, str) and "${" in text
        found.append((str(text), str(text) if varies else f"${{{variable}:-{text}}}"))
    return service, tuple(found)


def _words(said: Any) -> tuple[str, ...]:
    return ("sh", "-c", said) if isinstance(said, str) else tuple(said)


def told(part_ports: Mapping[str, Mapping[str, str]], name: str, others: Sequence[str]) -> dict[str, str]:
    """What a service is told, in the network of the file; ``part_ports``: service → port's name → text."""
    return variables(COMPOSE, part_ports[name], {other: part_ports[other] for other in others})


def document(parts: Sequence[Part], *, standing_alone: bool = True) -> dict[str, Any]:
    """The whole file. ``standing_alone``: it has order and profiles, which `wardian up` minds by itself."""
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    healthy = {part.name for part in parts if health(part)}
    for part in parts:
        body = _service(part)
        kept = [one for one in map(volume, part.service.volumes) if one.named]
        volumes |= {one.kept_as(part.name): {} for one in kept}
        needs = {other: _condition(other in healthy) for other in part.service.depends_on} if standing_alone else {}
        profiles = list(part.service.profiles) if standing_alone else []
        if kept and part.user not in ("0:0", "0"):
            owner = f"{part.name}-volumes"
            services[owner] = _owner(part, body["volumes"][-len(kept) :], profiles)
            if standing_alone:
                needs[owner] = {"condition": "service_completed_successfully"}
        body |= {"depends_on": needs} if needs else {}
        body |= {"profiles": profiles} if profiles else {}
        services[part.name] = body
    if not standing_alone:  # what it needs was brought there; podman-compose would put all of them into one pod
        services = {name: {**body, "pull_policy": "never"} for name, body in services.items()}
    pods = {} if standing_alone else {"x-podman": {"in_pod": False}}
    return {**pods, "services": services} | ({"volumes": volumes} if volumes else {})


def _condition(healthy: bool) -> dict[str, str]:  # noqa: FBT001 - the only word it has
    return {"condition": "service_healthy" if healthy else "service_started"}


def _owner(part: Part, volumes: list[Any], profiles: list[str]) -> dict[str, Any]:
    """A service that gives new volumes, which are root's, to the user of another service, and ends."""
    body: dict[str, Any] = {"image": part.image, "entrypoint": ["chown"]}
    body["command"] = [part.user, *(one["target"] for one in volumes)]
    body |= {"user": "0:0", "network_mode": "none", "restart": "no", "volumes": volumes}
    body |= {"userns_mode": part.userns} if part.userns else {}  # in which the same number is the same user
    return body | ({"profiles": profiles} if profiles else {})


def _service(part: Part) -> dict[str, Any]:
    service, say = part.service, part.say
    body: dict[str, Any] = {"image": part.image, "init": True}
    if service.command:
        body["command"] = [say(word) for word in service.command]
    body |= {"user": part.user} | ({"userns_mode": part.userns} if part.userns else {})
    if part.workdir:
        body["working_dir"] = part.workdir
    env: dict[str, str | None] = {name: say(value) for name, value in service.env.items()}
    home = {} if part.user in ("0:0", "0") else {"HOME": "/tmp"}  # noqa: S108 - no home is made for a uid without a name
    body["environment"] = {**home, **part.env, **env, **dict.fromkeys(service.env_pass)}
    if part.ports:
        body["ports"] = [f"127.0.0.1:{outside}:{inside}" for inside, outside in part.ports]
        if min(service.ports.values(), default=ROOTS) < ROOTS and part.user not in ("0:0", "0"):
            body["sysctls"] = {"net.ipv4.ip_unprivileged_port_start": "0"}  # as docker has it by itself; podman has not
    if volumes := [_bind(one) for one in part.binds] + _volumes(part):
        body["volumes"] = volumes
    if service.shm is not None and service.shm != DEFAULT_SHM:
        body["shm_size"] = service.shm
    if test := health(part):
        body["healthcheck"] = test
    if devices := _devices(service.gpus):
        body["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    return body | ({"labels": dict(part.labels)} if part.labels else {})


def _bind(bind: Bind) -> dict[str, Any]:
    """Compose would make a source that is missing, as root's empty folder."""
    body: dict[str, Any] = {"type": "bind", "source": bind.source, "target": bind.target}
    return body | ({"read_only": True} if bind.read_only else {}) | {"bind": {"create_host_path": False}}


def _volumes(part: Part) -> list[dict[str, Any]]:
    """The named volumes; folders of the host are in ``binds``."""
    kept = [one for one in map(volume, part.service.volumes) if one.named]
    return [
        {"type": "volume", "source": one.kept_as(part.name), "target": part.say(one.target)}
        | ({"read_only": True} if one.read_only else {})
        for one in kept
    ]


def _devices(gpus: str) -> list[dict[str, Any]]:
    """A reservation makes `up` fail on a machine without GPUs: it is made only when they are asked for by all means."""
    if gpus in ("none", "auto"):
        return []
    if "nvidia.com" in gpus:
        return [{"driver": "cdi", "device_ids": gpus.split(","), "capabilities": ["gpu"]}]
    if gpus == "all" or ("," not in gpus and gpus.isdigit()):
        return [{"driver": "nvidia", "count": "all" if gpus == "all" else int(gpus), "capabilities": ["gpu"]}]
    ids = [one.strip() for one in gpus.split(",") if one.strip()]
    return [{"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}]


def health(part: Part) -> dict[str, Any] | None:
    """The health check, with what the image has: no curl is needed. None: one cannot tell from inside."""
    ready = part.service.ready
    test = ready and probe(ready, part)
    if not ready or not test:
        return None
    begin = f"{math.ceil(ready.timeout)}s"
    return {"test": test, "interval": f"{LOOK_EVERY}s", "timeout": "10s", "retries": FAILURES, "start_period": begin}


def probe(ready: Ready, part: Part) -> list[str] | None:
    """What to execute inside the container, in compose's words. None for a line of the log."""
    if ready.http is not None:
        port, path = part.ports[0][0], ready.http
        if part.python:
            return ["CMD", "python", "-c", _filled(HTTP, port, path)]
        return ["CMD-SHELL", _filled(HTTP_BY_SHELL, port, path)]
    if ready.tcp is not None:
        at = list(part.service.ports.values()).index(ready.tcp) if ready.tcp else 0
        return ["CMD-SHELL", _filled(TCP, part.ports[at][0], "")]
    if ready.command is not None:
        return ["CMD", *(part.say(word) for word in ready.command)]
    return None


def _filled(template: str, port: str, path: str) -> str:
    """A template with a port, which may be a variable of compose's, and a path, which may not."""
    path = re.sub(r"['\"$`\\{}]", lambda found: f"%{ord(found[0]):02X}", path)  # the same to a server, and no shell's
    for name, value in (("{path!r}", repr(path)), ("{path}", path)):
        template = template.replace(name, value)
    return literal(template).replace("{port}", port)


def text(header: str, content: Mapping[str, Any]) -> str:
    """The file for people: YAML in the order it was made, with a comment on top."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Words stand beside each other, a text of several lines is written as such, no place refers to another."""

        def ignore_aliases(self, data: object) -> bool:
            return True

        def words(self, data: list[object]) -> yaml.SequenceNode:
            plain = all(isinstance(one, str | int) for one in data)
            return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=plain)

        def text(self, data: str) -> yaml.ScalarNode:
            odd = not data.replace("\n", "").isprintable()
            return self.represent_scalar("tag:yaml.org,2002:str", data, '"' if odd else "|" if "\n" in data else None)

    Dumper.add_representer(str, Dumper.text)
    Dumper.add_representer(list, Dumper.words)
    body = yaml.dump(dict(content), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**9)
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + body
