"""What this machine knows of whoever called: ids, name, terminal, free ports, display and agent."""

import os
import pwd
import re
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from wardian.errors import Unavailable
from wardian.plan.forward import Session
from wardian.plan.launch import Caller

DISPLAY = re.compile(r"(?:unix)?:(\d+)(?:\.\d+)?")  # of this machine; others have a host's name in front
UNPRIVILEGED = 1024  # the first port that everybody may open. Source: ip(7), ip_unprivileged_port_start
ROOTS = "open to root alone"


def caller() -> Caller:
    """The user of this process. A uid without an entry (as clusters and containers have) gets a made-up name."""
    uid, gid = os.getuid(), os.getgid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Caller(uid, gid, f"u{uid}", os.environ.get("HOME", "/"))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", entry.pw_name)  # "DOMAIN\\user" would break the passwd file
    return Caller(uid, gid, name, os.environ.get("HOME") or entry.pw_dir)


def free_ports(wanted: Mapping[str, int], *, taken: Collection[int] = (), own: Collection[int] = ()) -> dict[str, int]:
    """For each name the port it wants, or the next one that nobody listens on and no other name has.

    ``taken`` ports are given away already; who listens on one of ``own`` is about to leave it. Where a port is open to
    root alone, the search goes on where it is not.

    The port is free when it was looked at: a program that comes first may still take it.
    """
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        first = port if port in own or hindered(port) != ROOTS else max(port, UNPRIVILEGED)
        every = range(first, min(first + 200, 65536))
        given = {*chosen.values(), *taken}
        candidates = (one for one in every if one not in given and (one in own or not hindered(one)))
        found = next(candidates, None)
        if found is None:
            raise Unavailable(f"no free port for {name} from {port} on")
        chosen[name] = found
    return chosen


def hindered(port: int) -> str | None:
    """Why one cannot listen on a port of this machine; None: one can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a socket in TIME_WAIT does not hold the port
        try:
            probe.bind(("", port))
        except PermissionError:
            return ROOTS
        except OSError:
            return "taken"
    return None


def session(environ: Mapping[str, str], sockets: str = "/tmp/.X11-unix") -> Session:  # noqa: S108 - X11's own place
    """The display and the SSH agent of the caller, as far as they are there, and why not where they are not."""
    missing = []
    agent = environ.get("SSH_AUTH_SOCK") or None
    if agent is None or not Path(agent).is_socket():
        why = f"SSH_AUTH_SOCK names {agent}, where none listens" if agent else "SSH_AUTH_SOCK is not set"
        missing.append(("ssh-agent", why))
        agent = None
    display, socket_ = environ.get("DISPLAY") or None, None
    if display is None:
        missing.append(("x11", "DISPLAY is not set"))
    elif found := DISPLAY.fullmatch(display):
        socket_ = f"{sockets}/X{found[1]}"
        if not Path(socket_).is_socket():
            missing.append(("x11", f"DISPLAY is {display}, and there is no {socket_}"))
            display = socket_ = None
    cookies = Path(environ.get("XAUTHORITY") or Path(environ.get("HOME") or "/", ".Xauthority"))
    return Session(display, socket_, str(cookies) if cookies.is_file() else None, agent, tuple(missing))
