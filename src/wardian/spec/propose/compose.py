"""What a compose file says of the service that runs the project: how it is started, not how it is built."""

import re
import shlex
from typing import Any

from wardian.spec.check import SECRET
from wardian.spec.propose.draft import Draft

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
PORT = re.compile(r"(?:.*:)?([0-9]{1,5})(?:/tcp)?")
VOLUME = re.compile(r"([./~$].*):(/[^:]*)(?::(ro|rw|z|Z|cached|delegated|consistent))?")
# What a sandbox does anyway: nothing is built, published or restarted, and every GPU that is there is given.
BESIDE = frozenset({"build", "container_name", "deploy", "gpus", "init", "ipc", "network_mode", "restart", "runtime"})
BESIDE |= {"image", "stdin_open", "tty", "user"}


def add_compose(draft: Draft, name: str, content: str) -> None:
    """A compose file: the first service that is built here, else the first; the others are said."""
    table = draft.read_yaml(name, content).get("services")
    every = table.items() if isinstance(table, dict) else ()
    services = {str(key): value for key, value in every if isinstance(value, dict)}
    chosen = next((key for key, value in services.items() if "build" in value), next(iter(services), None))
    draft.left += [f"{name}: the service {key} is not read" for key in services if key != chosen]
    service = services.get(chosen or "", {})
    if "build" not in service and "image" in service:
        draft.base = draft.base or str(service["image"])
    for key, value in service.items():
        parts = value if key in {"ports", "volumes"} and isinstance(value, list) else [value]
        lost = [part for part in parts if key not in BESIDE and not _taken(draft, str(key), part)]
        draft.left += [f"{name}: {chosen}.{key}" + (f" {part}" if parts is value else "") for part in lost]


def _taken(draft: Draft, key: str, value: Any) -> bool:
    """Put a setting of the service, or an entry of its lists, where it belongs; False when it has no place."""
    if key in {"command", "entrypoint"} and value is not None:
        try:
            setattr(draft, key, shlex.split(value) if isinstance(value, str) else [str(word) for word in value])
        except (ValueError, TypeError):
            return False
    elif key == "working_dir":
        draft.workdir = str(value)
    elif key == "shm_size":
        draft.shm = str(value)
    elif key == "environment" and isinstance(value, dict | list):
        _environment(draft, value)
    else:
        return (key == "ports" and _port(draft, value)) or (key == "volumes" and _volume(draft, value))
    return True


def _environment(draft: Draft, value: Any) -> None:
    """What is written is written again; what is handed on, and what may be a secret, goes by name."""
    pairs = value.items() if isinstance(value, dict) else (str(row).partition("=")[::2] for row in value)
    for variable, given in ((str(name), given) for name, given in pairs):
        if given in (None, "") or SECRET.search(variable.upper()):
            draft.env_pass.append(variable)
        else:
            draft.run_env[variable] = str(given)


def _port(draft: Draft, port: Any) -> bool:
    found = PORT.fullmatch(str(port.get("target") if isinstance(port, dict) else port))
    if found:
        draft.ports[f"port-{int(found[1])}"] = int(found[1])
    return found is not None


def _volume(draft: Draft, volume: Any) -> bool:
    found = VOLUME.fullmatch(volume) if isinstance(volume, str) else None
    if not found:
        return False
    source, target, how = found.groups()
    if source in {".", "./"}:
        draft.workdir = target  # the project itself
        return True
    name = re.sub(r"[^a-z0-9]+", "-", target.lower()).strip("-") or "root"
    draft.mounts[name] = {"source": source, "target": target} | ({"read-only": True} if how == "ro" else {})
    return True
