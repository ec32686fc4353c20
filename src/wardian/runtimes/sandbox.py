"""The runtime that needs no engine: unpacked layers in an overlay, bubblewrap around the program."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from wardian.command import Command
from wardian.errors import EngineFailed
from wardian.hosts import sandbox
from wardian.hosts.base import Host
from wardian.hosts.cdi import FOLDERS, devices, sonames
from wardian.hosts.rootfs import Tree
from wardian.plan.containers import Bind, Container, User
from wardian.plan.devices import Edits
from wardian.plan.identity import group, passwd, renamed
from wardian.runs.processes import end_all, program
from wardian.runs.record import Record
from wardian.runtimes.base import Missing, Place, Ready, engine
from wardian.runtimes.bytecode import with_bytecode
from wardian.runtimes.owners import restore_as_root
from wardian.runtimes.program import KERNELS, UNKNOWN, on_host
from wardian.runtimes.program import missing as program_missing
from wardian.store import unpacked
from wardian.store.listing import LARGEST, Seen

HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")


@contextmanager
def ready(
    container: Container,
    place: Place,
    *,
    name: str | None = None,  # noqa: ARG001 - a sandbox needs none
    status_fd: int | None = None,
    die_with_parent: bool = True,
) -> Iterator[Ready]:
    """Unpack the image where it is not yet, make a scratch folder, and yield the command; the scratch ends with it."""
    with engine():
        inside = sandbox.namespace(place.host)
        lowers = with_bytecode(layers(container.image, place, inside), container.env.get("PATH", ""), place, inside)
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


def enter(
    record: Record,
    argv: tuple[str, ...],
    workdir: str | None,
    env: Mapping[str, str],
    *,
    tty: bool,  # noqa: ARG001 - a terminal is handed through
) -> Command:
    """Join the namespaces of the sandbox's first process; see ``runs.enter``."""
    init = record.sandbox
    if init is None:
        starting = record.state == "running"
        state, hint = ("only starting", "type it again") if starting else (record.state, "type: wardian ps")
        raise EngineFailed(f"run {record.id} is not running: it is {state}", hint=hint)
    program = (sys.executable, "-P", "-m", "wardian.runs.enter", str(init.pid), workdir or record.workdir)
    return Command((*program, *argv), env=sandbox.carried(env), changes=True)


def alive(records: Sequence[Record], host: Host) -> set[str]:  # noqa: ARG001 - the kernel is asked, not the host
    """Which of these runs still have a first process."""
    return {record.id for record in records if record.sandbox}


def send(record: Record, number: int, host: Host) -> None:  # noqa: ARG001 - as above
    """Send the program a signal; SIGKILL ends all that is in the sandbox."""
    init = record.sandbox  # asked once: it may end at any time
    if init is None:
        return
    target = init.pid if number == signal.SIGKILL else program(init.pid)
    try:
        if target:
            os.kill(target, number)
    except ProcessLookupError:
        pass
    except PermissionError:  # it became another user of its range of ids
        end_all(init.pid)


def restore(container: Container, since: float, place: Place) -> None:
    """Only a real root's sandbox has real other users; in a plain user's, all files are the caller's already."""
    if os.getuid() == 0 and container.user.uid:
        restore_as_root(container, since, place)


def shell(image: str, place: Place) -> tuple[str, ...]:
    """The image's bash, or its sh where it has none."""
    with engine():
        tree = Tree(layers(image, place, sandbox.namespace(place.host)))
        found = next((path for path in SHELLS if tree.find(path)), None)
    if found is None:
        raise EngineFailed("the image has no shell", hint="type: wardian run -- PROGRAM")
    return (found,)


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
    return user if os.getuid() == 0 else renamed(user)


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
    """A small file of the image, "" where there is none. An image of others may have anything there, a FIFO too."""
    found = tree.find(path)
    if found is None or not found.is_file():
        return ""
    if found.stat().st_size > LARGEST:
        raise EngineFailed(f"{path} of the image has {found.stat().st_size} bytes: too many to read at once")
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
    """What is wrong with the program of a sandbox, seen through its layers and binds."""
    tree = Tree(made.lowers)
    for bind in sandbox.ordered(made.binds):
        there, source = tree.find(bind.target), Path(bind.source)
        if there is not None and source.exists() and there.is_dir() != source.is_dir():
            raise EngineFailed(f"cannot bind {source} to {bind.target}: only one of them is a folder")
        tree = tree.over(tree.resolve(bind.target), bind.source)

    def look(path: str) -> Seen | None:
        if tree.resolve(path).startswith(KERNELS):
            return UNKNOWN
        found = tree.find(path)
        return on_host(found) if found else None

    return program_missing(made.argv, made.env, made.workdir, look)
