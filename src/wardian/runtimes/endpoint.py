"""Where the docker client finds its daemon, as the client itself decides it, without starting it.

Source: https://docs.docker.com/engine/manage-resources/contexts/ and docker(1), "Environment": DOCKER_HOST wins over
DOCKER_CONTEXT, that over the context in ``config.json``.
"""

import json
import os
import socket
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

DEFAULT = "unix:///var/run/docker.sock"


def endpoint(environ: Mapping[str, str]) -> str:
    """The address of the daemon, as ``unix:///var/run/docker.sock`` or ``ssh://host``."""
    if host := environ.get("DOCKER_HOST"):
        return host
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/") / ".docker")
    name = environ.get("DOCKER_CONTEXT") or _json(folder / "config.json").get("currentContext")
    if not isinstance(name, str) or name in ("", "default"):
        return DEFAULT
    meta = _json(folder / "contexts" / "meta" / sha256(name.encode()).hexdigest() / "meta.json")
    try:
        return str(meta["Endpoints"]["docker"]["Host"])
    except (KeyError, TypeError):
        return DEFAULT


def elsewhere(address: str) -> bool:
    """Whether the daemon may be on another machine, where no folder of this one can be bound."""
    return not address.startswith("unix://")


def rootless(address: str) -> bool:
    """Whether the daemon is a plain user's own: uid 0 in its containers is that user."""
    try:
        seen = Path(address.removeprefix("unix://")).stat()
    except OSError:
        return False
    return stat.S_ISSOCK(seen.st_mode) and seen.st_uid != 0 and seen.st_uid == os.getuid()


def image_id(address: str, name: str) -> str | None:
    """The id by which the daemon at a socket knows an image; None: it has none of this name."""
    body = ask(address, "GET", f"/images/{quote(name, safe=':')}/json")
    return None if body is None else str(json.loads(body)["Id"])


def ask(address: str, method: str, path: str) -> bytes | None:
    """What the daemon at a socket answers; None: it has no such thing.

    Asked on the socket itself: its client takes ten times as long to start. Raises ``OSError`` where the daemon does
    not answer, ``ValueError`` where it refuses; the client then says what is wrong.
    """
    if elsewhere(address):
        raise ValueError(f"{address} is no socket of this machine")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.settimeout(120)
        daemon.connect(address.removeprefix("unix://"))
        daemon.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b"".join(iter(lambda: daemon.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status == [b"404"]:
        return None
    if status not in ([b"200"], [b"201"]):
        raise ValueError(head.decode("latin-1").partition("\r\n")[0])
    return body


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
