"""Where the docker client finds its daemon, as the client itself decides it, without starting it.

Source: https://docs.docker.com/engine/manage-resources/contexts/ and docker(1), "Environment": DOCKER_HOST wins over
DOCKER_CONTEXT, that over the context in ``config.json``.
"""

import json
import os
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

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


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
