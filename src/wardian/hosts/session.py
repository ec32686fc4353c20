"""What this machine knows of whoever called: ids, name, terminal, free ports."""

import os
import pwd
import re
import socket
from collections.abc import Mapping

from wardian.errors import Unavailable
from wardian.plan.launch import Caller


def caller() -> Caller:
    """The user of this process. A uid without an entry (as clusters and containers have) gets a made-up name."""
    uid, gid = os.getuid(), os.getgid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Caller(uid, gid, f"u{uid}", os.environ.get("HOME", "/"))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", entry.pw_name)  # "DOMAIN\\user" would break the passwd file
    return Caller(uid, gid, name, os.environ.get("HOME") or entry.pw_dir)


def free_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """For each name the port it wants, or the next one that nobody listens on and no other name has.

    The port is free when it was looked at: a program that comes first may still take it.
    """
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        candidates = (one for one in range(port, min(port + 200, 65536)) if one not in chosen.values() and _free(one))
        found = next(candidates, None)
        if found is None:
            raise Unavailable(f"no free port for {name} from {port} on")
        chosen[name] = found
    return chosen


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a socket in TIME_WAIT does not hold the port
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
