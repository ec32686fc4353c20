"""Podman: rootful as root, rootless for everybody else; no daemon, so its client is the engine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wardian.command import Command
from wardian.errors import CommandFailed, EngineFailed, Unavailable
from wardian.hosts.base import Host
from wardian.plan.binds import docker_mount
from wardian.plan.containers import Bind, Container, User
from wardian.runs.record import Record
from wardian.runtimes import dockerlike, loading, owners
from wardian.runtimes.base import Loaded, Place, Ready

if TYPE_CHECKING:
    from wardian.hosts.survey import Finding

# Where podman looks for its init. Source: containers.conf(5), init_path and helper_binaries_dir.
INITS = tuple(
    f"{folder}/catatonit"
    for folder in (
        "/usr/libexec/podman",
        "/usr/local/libexec/podman",
        "/usr/lib/podman",
        "/usr/bin",
        "/usr/libexec/catatonit",
    )
)


@dataclass(frozen=True, slots=True)
class Podman:
    """The engine of this user."""

    rootless: bool
    umask: int
    name: str = "podman"
    ended: str = "{{.Status}} {{.ContainerExitCode}}"
    trusted: int = 1  # a client that a signal meets may end with 1
    proxies: bool = False  # rootless, it is two processes, of which the outer one loses signals or dies of them
    tmpfs_owner: bool = False

    @property
    def run(self) -> tuple[str, ...]:
        """Names are resolved as on this machine; what it makes of /etc/hosts and /etc/passwd is not asked for."""
        hosts = docker_mount(Bind("/etc/hosts", "/etc/hosts"))
        words = ("--pull", "never", "--passwd=false", "--no-hosts", "--umask", f"{self.umask:04o}")
        return (*words, "--mount", hosts) if Path("/etc/hosts").is_file() else words

    def user(self, user: User) -> tuple[str, ...]:
        """Rootless, the user is the caller under whatever number it has inside; so files belong to the caller."""
        if not self.rootless or user.uid == 0:
            return ("--user", f"{user.uid}:{user.gid}")
        return ("--userns", f"keep-id:uid={user.uid},gid={user.gid}", "--user", f"{user.uid}:{user.gid}")

    def past(self) -> tuple[str, ...]:
        """Not ``--until``, which it cuts to the second."""
        return ("--stream=false",)

    def renames(self) -> bool:
        """Rootless, the caller is whoever it wants to be."""
        return self.rootless

    def owns(self, uid: int) -> bool:
        """Rootless, each uid that we run as is the caller; rootful, we are root."""
        return True

    def same_files(self) -> bool:
        """It has no daemon that could be elsewhere."""
        return True

    def archive_only(self) -> bool:
        """It is a program of this machine."""
        return False

    def present(self, ids: Sequence[str], host: Host) -> str | None:
        """The first of these ids, the config's, if it has it."""
        try:
            asked = host.run(Command(("podman", "image", "exists", ids[0][7:])), timeout=120)
        except Unavailable as error:
            raise EngineFailed(error.message, hint=loading.absent("podman")) from error
        if asked.code not in (0, 1):
            raise self.fault(asked.stderr.decode(errors="replace"))
        return ids[0][7:] if asked.code == 0 else None

    def pull(self, reference: str) -> Command:
        """From a registry without TLS."""
        return Command(("podman", "pull", "--quiet", "--tls-verify=false", reference), changes=True)

    def tag(self, image: str, name: str, host: Host) -> None:
        """Give an image a name."""
        loading.ask(self, host, "tag", image, name)

    def untag(self, name: str, host: Host) -> None:
        """Take a name from an image; it may have none."""
        host.run(Command(("podman", "rmi", name), changes=True))

    def fault(self, said: str) -> EngineFailed:
        """What it said, in one line."""
        lines = [line for line in said.strip().splitlines() if line]
        last = lines[-1] if lines else "it said nothing"
        if "catatonit" in last:
            return EngineFailed("podman's init is not on this machine", hint="type: sudo apt-get install catatonit")
        if "newuidmap" in last or "subuid" in last:
            return EngineFailed(f"podman: {last}", hint="type: wardian doctor, for the range of ids that it needs")
        return EngineFailed("podman: " + last.removeprefix("Error: "))


def engine() -> Podman:
    """The engine of whoever we are."""
    mask = os.umask(0o022)
    os.umask(mask)
    return Podman(os.getuid() != 0, mask)


@contextmanager
def ready(
    container: Container,
    place: Place,
    *,
    name: str | None = None,
    status_fd: int | None = None,  # noqa: ARG001 - its client tells nothing there
    die_with_parent: bool = True,
) -> Iterator[Ready]:
    """See ``dockerlike.ready``."""
    with dockerlike.ready(engine(), container, place, name=name, die_with_parent=die_with_parent) as made:
        yield made


def enter(record: Record, argv: tuple[str, ...], workdir: str | None, env: Mapping[str, str], *, tty: bool) -> Command:
    """See ``dockerlike.enter``."""
    return dockerlike.enter(engine(), record, argv, workdir, env, tty=tty)


def alive(records: Sequence[Record], host: Host) -> set[str]:
    """See ``dockerlike.alive``."""
    return dockerlike.alive(engine(), records, host)


def send(record: Record, number: int, host: Host) -> None:
    """See ``dockerlike.send``."""
    dockerlike.send(engine(), record, number, host)


def restore(container: Container, since: float, place: Place) -> None:
    """Rootless, all files are the caller's already."""
    if os.getuid() == 0 and container.user.uid:
        owners.restore_as_root(container, since, place)


def shell(image: str, place: Place) -> tuple[str, ...]:  # noqa: ARG001 - found by the image's own sh
    """Bash, or sh where there is none."""
    return dockerlike.SHELL


def finding(host: Host) -> "Finding":
    """Whether it is here, can start, and has the init that its containers need."""
    us, purpose = engine(), "--engine podman"
    from wardian.hosts.survey import Finding

    try:
        what = "{{.Version.Version}} {{.Store.GraphDriverName}}"
        asked = host.run(Command(("podman", "info", "--format", what)), timeout=30)
    except (Unavailable, CommandFailed) as error:
        return Finding("podman", "note", error.message, purpose)
    if asked.code:
        fault = us.fault(asked.stderr.decode(errors="replace"))
        return Finding("podman", "missing", fault.message, purpose, fault.hint or "type: podman info")
    version, _, storage = asked.stdout.decode().strip().partition(" ")
    if not any(Path(path).exists() for path in INITS):
        return Finding("podman", "missing", "its init is absent", purpose, "type: sudo apt-get install catatonit")
    kind = "rootless" if us.rootless else "rootful"
    if storage == "vfs":  # what it takes without a word where it finds nothing better
        said = f"{version}, {kind}, storage vfs: each layer of an image is a whole copy of all beneath"
        fix = "type: sudo apt-get install fuse-overlayfs && podman system reset"
        return Finding("podman", "note", said, purpose, fix)
    return Finding("podman", "ok", f"{version}, {kind}, storage {storage}", purpose)


def load(image: str, place: Place) -> Loaded:
    """See ``loading.load_and_name``."""
    return loading.load_and_name(engine(), image, place)


def has(image: str, place: Place) -> bool:
    """See ``loading.has``."""
    return loading.has(engine(), image, place)
