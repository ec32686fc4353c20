"""The runtime that needs no engine: unpacked layers in an overlay, bubblewrap around the program."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from wardian.command import Command
from wardian.errors import EngineFailed
from wardian.hosts import sandbox
from wardian.hosts.cdi import FOLDERS, devices, sonames
from wardian.hosts.rootfs import Tree
from wardian.plan.containers import Bind, Container, User
from wardian.plan.devices import Edits
from wardian.plan.identity import group, passwd
from wardian.runs.record import Record
from wardian.runtimes.base import Missing, Place, Ready, engine
from wardian.store import unpacked

HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
LARGEST = 2**31 - 1  # bwrap reads --uid as an int
STAND_IN = 1000  # inside, for a caller whose uid bwrap cannot read; on the host everything stays the caller's


@contextmanager
def ready(
    container: Container, place: Place, *, status_fd: int | None = None, die_with_parent: bool = True
) -> Iterator[Ready]:
    """Unpack the image where it is not yet, make a scratch folder, and yield the command; the scratch ends with it."""
    with engine():
        inside = sandbox.namespace(place.host)
        lowers = layers(container.image, place, inside)
        edits = device_edits(container)
        scratch = place.store.temporary()
    run_dir = None
    try:
        with engine():
            upper, work = scratch / "upper", scratch / "work"
            for one in (upper, work):
                one.mkdir()
            upper.chmod(0o755)
            run_dir = sandbox.make_folder(lowers, upper=str(upper), work=str(work))
            made = _sandbox(container, lowers, edits, scratch, run_dir)
            made = replace(made, status_fd=status_fd, die_with_parent=die_with_parent)
            started = Ready(sandbox.command(made, inside), missing(made))
        yield started
    finally:
        if run_dir:
            sandbox.remove_folder(run_dir)
        place.host.run(inside.command("rm", "-rf", "--", str(scratch)))


def enter(record: Record, argv: tuple[str, ...], workdir: str | None, env: Mapping[str, str]) -> Command:
    """Join the namespaces of the sandbox's first process; see ``runs.enter``."""
    if record.sandbox is None:
        state = "only starting" if record.state == "running" else record.state
        raise EngineFailed(f"run {record.id} is not running: it is {state}")
    program = (sys.executable, "-P", "-m", "wardian.runs.enter", str(record.sandbox.pid), workdir or record.workdir)
    return Command((*program, *argv), env=sandbox.carried(env), changes=True)


def shell(image: str, place: Place) -> str:
    """The image's bash, or its sh where it has none."""
    with engine():
        tree = Tree(layers(image, place, sandbox.namespace(place.host)))
        found = next((path for path in SHELLS if tree.find(path)), None)
    if found is None:
        raise EngineFailed("the image has no shell", hint="type: wardian run -- PROGRAM")
    return found


def layers(image: str, place: Place, inside: sandbox.Namespace) -> tuple[str, ...]:
    """The unpacked folders of an image, as overlayfs wants them."""
    return unpacked.stack(place.store, place.host, inside, unpacked.layers_of(place.store, image))


def device_edits(container: Container) -> Edits:
    """What the container's devices add to it."""
    if not container.gpus:
        return Edits()
    known = devices(FOLDERS)
    chosen = Edits()
    for name in container.gpus:
        if name not in known.edits:
            raise EngineFailed(f"device {name} is not in the CDI specifications any more")
        chosen += known.edits[name]
    return chosen + sonames(chosen.mounts)


def _sandbox(
    container: Container, lowers: tuple[str, ...], edits: Edits, scratch: Path, run_dir: str
) -> sandbox.Sandbox:
    tree = Tree(lowers)
    user = _fitting(container.user)
    env = {**container.env, **dict(edits.env)}
    if edits.libraries:
        env["LD_LIBRARY_PATH"] = ":".join([*filter(None, [env.get("LD_LIBRARY_PATH")]), *edits.libraries])
    return sandbox.Sandbox(
        lowers=lowers,
        run_dir=run_dir,
        argv=container.argv,
        env=env,
        env_pass=container.env_pass,
        workdir=container.workdir,
        upper=str(scratch / "upper"),
        work=str(scratch / "work"),
        upper_optional=True,
        binds=(*edits.mounts, *container.binds),
        files=_files(tree, user, scratch),
        folders=_folders(tree, container, user),
        links=edits.links,
        devices=edits.nodes,
        uid=user.uid,
        gid=user.gid,
        shm=container.shm,
        network=container.network,
        read_only=container.read_only,
    )


def _fitting(user: User) -> User:
    """The user with ids that bwrap can read. A real root needs no such help: its programs run with the real ids."""
    if os.getuid() == 0 or max(user.uid, user.gid) <= LARGEST:
        return user
    uid, gid = (one if one <= LARGEST else STAND_IN for one in (user.uid, user.gid))
    return User(user.mode, uid, gid, user.name, user.home)


def _files(tree: Tree, user: User, scratch: Path) -> tuple[Bind, ...]:
    """Name resolution as on the host, and passwd and group with the user in them."""
    found = [Bind(path, path) for path in HOST_FILES if Path(path).is_file()]
    login = "/bin/bash" if tree.find("/bin/bash") else "/bin/sh"
    passwd_text = passwd(_text(tree, "/etc/passwd"), user, login)
    for name, text in (("passwd", passwd_text), ("group", group(_text(tree, "/etc/group"), user))):
        path = scratch / name
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        found.append(Bind(str(path), f"/etc/{name}"))
    return tuple(found)


def _text(tree: Tree, path: str) -> str:
    found = tree.find(path)
    if found is None:
        return ""
    with suppress(OSError):
        return found.read_text(encoding="utf-8", errors="surrogateescape")
    return ""


def _folders(tree: Tree, container: Container, user: User) -> tuple[tuple[str, int], ...]:
    """The home, for the user alone, and the workdir where the image has none."""
    needed = [(user.home, 0o700)] if user.home != "/root" or tree.find("/root") is None else []
    bound = any(bind.target == container.workdir for bind in container.binds)
    if not bound and tree.find(container.workdir) is None:
        needed.append((container.workdir, 0o755))
    return tuple(needed)


def missing(made: sandbox.Sandbox) -> Missing | None:
    """What execvp(3) would fail with, found before anything starts, so that the exit code is a shell's."""
    tree = Tree(made.lowers)
    for bind in sandbox.ordered(made.binds):
        there, source = tree.find(bind.target), Path(bind.source)
        if there is not None and source.exists() and there.is_dir() != source.is_dir():
            raise EngineFailed(f"cannot bind {source} to {bind.target}: only one of them is a folder")
        tree = tree.over(tree.resolve(bind.target), bind.source)
    program = made.argv[0]
    if not program:
        return Missing("the program's name is empty: command not found", 127)
    if "/" in program:
        return _at(tree, program if program.startswith("/") else f"{made.workdir}/{program}", program)
    faults = []
    for folder in made.env.get("PATH", "/bin:/usr/bin").split(":"):
        path = f"{folder if folder.startswith('/') else made.workdir + '/' + folder}/{program}"
        fault = _at(tree, path, program)
        if fault is None:
            return None
        faults.append(fault)
    return next((fault for fault in faults if fault.code == 126), faults[0])


def _at(tree: Tree, path: str, name: str) -> Missing | None:
    """What is wrong with one file as a program; None when nothing is, or when it cannot be told from here."""
    if tree.resolve(path).startswith(("/proc/", "/dev/", "/sys/", "/tmp/")):  # noqa: S108 - inside the sandbox
        return None
    found = tree.find(path)
    if found is None:
        return Missing(f"{name}: command not found in the image", 127)
    if found.is_dir():
        return Missing(f"{name}: is a directory", 126)
    try:
        if not found.stat().st_mode & 0o111:
            return Missing(f"{name}: not executable", 126)
        with found.open("rb") as file:
            start = file.read(256)
    except OSError:
        return None
    if start.startswith(b"#!"):
        words = start[2:].split(b"\n", 1)[0].split()
        interpreter = os.fsdecode(words[0]) if words else ""
        if interpreter.startswith("/") and tree.find(interpreter) is None:
            return Missing(f"{name}: its interpreter {interpreter} is not in the image", 127)
    return None
