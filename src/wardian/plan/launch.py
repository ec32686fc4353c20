"""An image's config, ``[run]`` and the flags of one call → a container. Pure: what the machine knows is handed in."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wardian.errors import Fault, SpecError
from wardian.plan.containers import Bind, Container, User
from wardian.plan.forward import Forwarded
from wardian.plan.labels import EDITABLE
from wardian.plan.mounts import Sites, absolute
from wardian.plan.mounts import binds as mounted
from wardian.spec.models import Mount, Run

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WORKSPACE = "/workspace"  # where the project is bound when the image names no folder
LARGEST = 2**32 - 2  # the last uid; -1 means "no change" to setuid(2)
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called: the ids that files of a run must belong to."""

    uid: int
    gid: int
    name: str
    home: str  # on the host


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one call asks for, over what ``[run]`` says. None: as ``[run]`` has it."""

    argv: tuple[str, ...] = ()
    user: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_pass: tuple[str, ...] = ()
    mounts: tuple[Bind, ...] = ()
    shm: int | None = None
    network: bool = True
    workdir: str | None = None
    project: str | None = None  # the project's folder on the host, bound at the workdir; None: not bound
    entrypoint: bool = True  # False: argv is all there is (shell, test)
    tty: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found on this machine for this call."""

    caller: Caller
    root: str  # the folder that relative mount sources start from
    ports: Mapping[str, int] = field(default_factory=dict)  # name in [run].ports → the port that is free
    gpus: tuple[str, ...] = ()  # CDI device names
    term: str | None = None  # TERM of the caller's terminal
    services: Mapping[str, str] = field(default_factory=dict)  # variables that tell of the services that run
    sites: Sites = field(default_factory=dict)  # of the image; needed where its config does not tell, see plan.mounts
    forwarded: Forwarded = field(default_factory=Forwarded)


def container(
    image: str, config: Mapping[str, Any], run: Run, *, mounts: Mapping[str, Mount], wishes: Wishes, machine: Machine
) -> Container:
    """Everything a runtime must arrange. ``config`` is the "config" object of the image's config (OCI image-spec)."""
    user = identity(wishes.user or run.user, machine.caller)
    home = config.get("WorkingDir") or "/"
    workdir = home if home != "/" else WORKSPACE
    binds = {bind.target: bind for bind in _binds(config, mounts, wishes, machine, workdir)}
    return Container(
        image=image,
        argv=arguments(config, wishes.argv, entrypoint=wishes.entrypoint),
        user=user,
        env={"WARDIAN_IMAGE": image, **environment(config, run, wishes, machine, user)},  # for a program's own records
        env_pass=tuple(dict.fromkeys([*run.env_pass, *wishes.env_pass])),
        workdir=wishes.workdir or (workdir if wishes.project else home),
        binds=tuple(binds.values()),
        shm=run.shm if wishes.shm is None else wishes.shm,
        gpus=machine.gpus,
        network=wishes.network,
        tty=wishes.tty,
        read_only=wishes.read_only,
    )


def arguments(config: Mapping[str, Any], argv: Sequence[str], *, entrypoint: bool) -> tuple[str, ...]:
    """Entrypoint and arguments as Docker joins them: what the user typed replaces the image's command.

    Raises ``SpecError`` when there is nothing to run.
    """
    first = tuple(config.get("Entrypoint") or ()) if entrypoint else ()
    whole = (*first, *(argv or config.get("Cmd") or ()))
    if not whole:
        raise SpecError("the image names no command", hint="type: wardian run -- PROGRAM ARGUMENTS…")
    return whole


def environment(config: Mapping[str, Any], run: Run, wishes: Wishes, machine: Machine, user: User) -> dict[str, str]:
    """The whole environment: the image's, then what a user session needs, then ``[run]``, ports, flags."""
    image = dict(line.split("=", 1) for line in config.get("Env") or () if "=" in line)
    session = {"HOME": user.home, "USER": user.name, "PYTHONNOUSERSITE": "1"}
    if wishes.tty:
        session["TERM"] = machine.term or "xterm"
    ports = {port_variable(name): str(port) for name, port in machine.ports.items()}
    given = {**session, **machine.forwarded.env, **machine.services}
    return {"PATH": PATH, **image, **given, **run.env, **ports, **wishes.env}


def port_variable(name: str) -> str:
    """The variable that tells a program its port.

    >>> port_variable("tensor-board")
    'WARDIAN_PORT_TENSOR_BOARD'
    """
    return "WARDIAN_PORT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def identity(mode: str, caller: Caller) -> User:
    """Who the program is: ``host`` (the caller), ``root``, or ``uid:gid``."""
    if mode == "root" or (mode == "host" and caller.uid == 0):
        return User("root" if mode == "root" else "host", 0, 0, "root", "/root")
    if mode == "host":
        return User("host", caller.uid, caller.gid, caller.name, f"/home/{caller.name}")
    found = re.fullmatch(r"([0-9]+):([0-9]+)", mode)
    if not found or max(int(found[1]), int(found[2])) > LARGEST:
        raise SpecError([Fault("--user", f"{mode!r} is none of host, root, UID:GID", hint="as in: --user 2000:2000")])
    uid, gid = int(found[1]), int(found[2])
    name, home = ("root", "/root") if uid == 0 else (f"u{uid}", f"/home/u{uid}")
    return User("ids", uid, gid, name, home)


def mount(text: str) -> Bind:
    """A bind of ``SOURCE:TARGET[:ro|:rw]``. The source may hold colons; the target may not.

    >>> mount("/data/a:b:/data:ro")
    Bind(source='/data/a:b', target='/data', read_only=True)
    """
    rest, _, last = text.rpartition(":")
    read_only = last == "ro"
    source, _, target = rest.rpartition(":") if last in ("ro", "rw") else (rest, "", last)
    if not source or not target.startswith("/"):
        raise SpecError([Fault("--mount", f"{text!r} is not SOURCE:TARGET[:ro] with an absolute target")])
    return Bind(source, posixpath.normpath(target), read_only)


def setting(text: str) -> tuple[str, str]:
    """A name and a value of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not ENV_NAME.fullmatch(name):
        hint = f"to hand on a variable of this shell: --env-pass {name}" if ENV_NAME.fullmatch(name) else None
        raise SpecError([Fault("--env", f"{text.partition('=')[0]!r} is not NAME=VALUE", hint=hint)])
    return name, value


def project_binds(config: Mapping[str, Any], project: str | None, workdir: str | None) -> tuple[Bind, ...]:
    """The project where the image works, and where an editable link in the image leads when that is elsewhere."""
    editable = (config.get("Labels") or {}).get(EDITABLE)
    places = dict.fromkeys([workdir, editable]) if project and workdir else {}
    return tuple(Bind(project, place) for place in places if project and place)


def _binds(
    config: Mapping[str, Any], mounts: Mapping[str, Mount], wishes: Wishes, machine: Machine, workdir: str
) -> Sequence[Bind]:
    """The project, the mounts of the file that are on, the session's, those of the flags: the last at a target wins."""
    root, home = machine.root, machine.caller.home
    project = project_binds(config, wishes.project, workdir)
    found = mounted(mounts, config, machine.sites, root=root, home=home)
    typed = [Bind(absolute(one.source, root, home), one.target, one.read_only) for one in wishes.mounts]
    return [*project, *found, *machine.forwarded.binds, *typed]
