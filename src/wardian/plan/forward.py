"""What of the caller's session a program may use: the X11 display, the SSH agent. Only what ``[run] forward`` names.

Sources: X(7) "Display names", Xsecurity(7), ssh-agent(1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wardian.plan.containers import Bind

AGENT = "/run/wardian/ssh-agent"  # fixed places in the container: the host's have a new name in each session
COOKIES = "/run/wardian/xauthority"


@dataclass(frozen=True, slots=True)
class Session:
    """What is there on this machine. None: it is not."""

    display: str | None = None  # DISPLAY
    socket: str | None = None  # of a display on this machine; None for one that is reached by TCP
    cookies: str | None = None  # the file that XAUTHORITY names, or ~/.Xauthority
    agent: str | None = None  # the socket that SSH_AUTH_SOCK names
    missing: tuple[tuple[str, str], ...] = ()  # ("x11", why it is not there)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Sockets to bind and variables that name them; a line for each thing that is not there."""

    binds: tuple[Bind, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def forwarded(wanted: Sequence[str], session: Session) -> Forwarded:
    """What a run gets of a session. What is absent is left out: no bind without a source, no variable without a value.

    >>> forwarded(["ssh-agent"], Session(agent="/tmp/ssh-1/agent.2")).env
    {'SSH_AUTH_SOCK': '/run/wardian/ssh-agent'}
    """
    binds: list[Bind] = []
    env: dict[str, str] = {}
    if "x11" in wanted and session.display:
        env["DISPLAY"] = session.display
        if session.socket:
            binds.append(Bind(session.socket, session.socket))
        if session.cookies:
            binds.append(Bind(session.cookies, COOKIES, read_only=True))
            env["XAUTHORITY"] = COOKIES
    if "ssh-agent" in wanted and session.agent:
        binds.append(Bind(session.agent, AGENT))
        env["SSH_AUTH_SOCK"] = AGENT
    notes = tuple(f"no {what}: {why}" for what, why in session.missing if what in wanted)
    return Forwarded(tuple(binds), env, notes)
