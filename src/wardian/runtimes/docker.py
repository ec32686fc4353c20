"""Docker through its client: rootful or rootless, of a context or of DOCKER_HOST."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from wardian.command import Command
from wardian.errors import CommandFailed, EngineFailed, Unavailable
from wardian.hosts.base import Host
from wardian.plan.containers import Container, User
from wardian.runs.record import Record
from wardian.runtimes import dockerlike, loading, owners
from wardian.runtimes.base import Loaded, Place, Ready
from wardian.runtimes.endpoint import ask, elsewhere, endpoint, image_id, rootless

if TYPE_CHECKING:
    from wardian.hosts.survey import Finding

BROKEN = ("EOF", "connection reset by peer", "broken pipe")  # Go's words for a daemon that is gone in mid-sentence


@dataclass(frozen=True, slots=True)
class Docker:
    """The engine behind an address."""

    address: str
    name: str = "docker"
    run: tuple[str, ...] = ("--pull", "never")
    ended: str = '{{.Action}} {{index .Actor.Attributes "exitCode"}}'
    trusted: int = 125
    proxies: bool = True
    tmpfs_owner: bool = True

    def user(self, user: User) -> tuple[str, ...]:
        """In a rootless Docker, uid 0 is the caller, whose files the program's shall be."""
        if user.mode != "ids" and rootless(self.address):
            return ("--user", "0:0")
        return ("--user", f"{user.uid}:{user.gid}")

    def past(self) -> tuple[str, ...]:
        """Until now."""
        return ("--until", f"{time.time():.3f}")

    def renames(self) -> bool:
        """A uid inside is that uid on the daemon's machine."""
        return False

    def owns(self, uid: int) -> bool:
        """What is the caller's is the caller's. What a daemon's root leaves in a folder only a root can remove."""
        return os.getuid() in (0, uid) or (uid == 0 and rootless(self.address))

    def same_files(self) -> bool:
        """Whether the daemon runs on this machine."""
        return not elsewhere(self.address)

    def archive_only(self) -> bool:
        """Another machine's loopback is not ours; a rootless daemon has a network namespace of its own."""
        return elsewhere(self.address) or rootless(self.address)

    def present(self, ids: Sequence[str], host: Host) -> str | None:
        """The one of these ids that it has: of a config or, in containerd's image store, of a manifest."""
        with suppress(OSError, ValueError, KeyError):
            return next((known for one in ids if (known := image_id(self.address, one)) in ids), None)
        command = Command(("docker", "image", "inspect", "--format", "{{.Id}}", *ids))
        try:
            asked = host.run(command, timeout=120)
        except Unavailable as error:
            raise EngineFailed(error.message, hint=loading.absent("docker")) from error
        found = asked.stdout.decode().split()
        said = asked.stderr.decode(errors="replace")
        if asked.code and "No such image" not in said:
            raise self.fault(said)
        return next((one for one in found if one in ids), None)

    def pull(self, reference: str) -> Command:
        """Docker takes any registry on loopback for one without TLS."""
        return Command(("docker", "pull", "--quiet", reference), changes=True)

    def tag(self, image: str, name: str, host: Host) -> None:
        """Give an image a name."""
        repository, _, tag = name.rpartition(":")
        asked = f"/images/{quote(image, safe=':')}/tag?{urlencode({'repo': repository, 'tag': tag})}"
        if not self._done("POST", asked):
            loading.ask(self, host, "tag", image, name)

    def untag(self, name: str, host: Host) -> None:
        """Take a name from an image; it may have none."""
        if not self._done("DELETE", f"/images/{quote(name)}"):
            host.run(Command(("docker", "rmi", name), changes=True))

    def _done(self, method: str, path: str) -> bool:
        """Whether the daemon did this, asked on its socket."""
        with suppress(OSError, ValueError):
            return ask(self.address, method, path) is not None
        return False

    def fault(self, said: str) -> EngineFailed:
        """What its client said, in one line."""
        if "permission denied" in said and "connect" in said:
            line = 'type: sudo usermod -aG docker "$USER" and log in again, or dockerd-rootless-setuptool.sh install'
            return EngineFailed(f"this user may not use Docker at {self.address}", hint=line)
        if (
            "annot connect to the Docker daemon" in said
            or "error during connect" in said
            or "failed to connect" in said
        ):
            return EngineFailed(f"the Docker daemon at {self.address} does not answer", hint=self._start())
        if said.rstrip().endswith(BROKEN) and "Error response from daemon" not in said:
            return EngineFailed(f"the connection to the Docker daemon at {self.address} broke", hint=self._start())
        lines = [line for line in said.strip().splitlines() if line and not line.startswith("Run 'docker")]
        last = lines[-1] if lines else "it said nothing"
        return EngineFailed("docker: " + last.removeprefix("docker: ").removeprefix("Error response from daemon: "))

    def _start(self) -> str:
        """What to do about a daemon that is not there."""
        if elsewhere(self.address):
            return "is that the right address? It is DOCKER_HOST, or of `docker context show`; or use --engine sandbox"
        return "type: sudo systemctl start docker, or use --engine sandbox"


def engine() -> Docker:
    """The engine that the client would talk to now."""
    return Docker(endpoint(os.environ))


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
    """The daemon is root, also when we are not; in a rootless one, root is the caller."""
    daemon = engine()
    if container.user.uid == os.getuid() or rootless(daemon.address) or elsewhere(daemon.address):
        return
    if os.getuid() == 0:
        owners.restore_as_root(container, since, place)
    elif image := daemon.present(loading.known_as(container.image, place), place.host):
        owners.restore_in("docker", image, container, since, place)


def shell(image: str, place: Place) -> tuple[str, ...]:  # noqa: ARG001 - found by the image's own sh
    """Bash, or sh where there is none."""
    return dockerlike.SHELL


def finding(host: Host) -> "Finding":
    """Whether its client is here and its daemon answers us."""
    daemon, purpose = engine(), "--engine docker"
    from wardian.hosts.survey import Finding

    try:
        asked = host.run(Command(("docker", "version", "--format", "{{.Server.Version}}")), timeout=30)
    except (Unavailable, CommandFailed) as error:
        return Finding("docker", "note", error.message, purpose)
    if asked.code:
        fault = daemon.fault(asked.stderr.decode(errors="replace"))
        return Finding("docker", "missing", fault.message, purpose, fault.hint or "type: docker version")
    kind = "on another machine" if elsewhere(daemon.address) else "rootless" if rootless(daemon.address) else "rootful"
    return Finding("docker", "ok", f"{asked.stdout.decode().strip()}, {kind}, at {daemon.address}", purpose)


def load(image: str, place: Place) -> Loaded:
    """See ``loading.load_and_name``."""
    return loading.load_and_name(engine(), image, place)


def has(image: str, place: Place) -> bool:
    """See ``loading.has``."""
    return loading.has(engine(), image, place)
