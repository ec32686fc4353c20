"""What docker and podman share: a container as words of `run`, and how its life is followed from outside.

The client stays in the foreground, also of a detached run, whose supervisor waits for it; so exit codes, streams and
signals come through one way. An engine's client exits with 125, 126 or 127 of its own or for the program: which of them
it was is asked of the engine's events. Sources: docker-run(1), podman-run(1), "Exit Status".
"""

import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from wardian.command import SECRET, Command
from wardian.errors import EngineFailed, Fault, SpecError
from wardian.hosts.base import Host
from wardian.plan.binds import docker_mount
from wardian.plan.containers import Container, User
from wardian.plan.identity import LARGEST, renamed
from wardian.runs.record import Record
from wardian.runs.supervise import Outcome, unread
from wardian.runtimes.base import Place, Ready, engine
from wardian.runtimes.inside import Inside, inside
from wardian.runtimes.loading import Loader, ask, load
from wardian.runtimes.names import LABEL, PREFIX, container_name

# What the engine's own client reads, and what is no secret: such a variable of the container must not become its.
CLIENTS = frozenset({"SSH_AUTH_SOCK", "XAUTHORITY", "REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG"})
STARTED = '{"start": 1}'  # events' format: the same for each
SHELL = ("/bin/sh", "-c", "[ -x /bin/bash ] && exec /bin/bash; exec /bin/sh")


class Engine(Loader, Protocol):
    """What tells one engine from the other."""

    @property
    def run(self) -> tuple[str, ...]:
        """Words of `run` that only it knows."""
        ...

    @property
    def ended(self) -> str:
        """The format with which its `events` print a word and an exit code."""
        ...

    @property
    def trusted(self) -> int:
        """Exit codes of its client below this one are the program's."""
        ...

    @property
    def proxies(self) -> bool:
        """Whether its client hands every signal on."""
        ...

    @property
    def tmpfs_owner(self) -> bool:
        """Whether a tmpfs can be given to a user."""
        ...

    def owns(self, uid: int) -> bool:
        """Whether we can give a folder to this uid of the container, so that it may write there."""
        ...

    def user(self, user: User) -> tuple[str, ...]:
        """The words that make the program this user, so that files belong to whom they should."""
        ...

    def past(self) -> tuple[str, ...]:
        """The words with which its `events` tell what was, and end."""
        ...

    def renames(self) -> bool:
        """Whether every uid inside is the caller, so that any other number does as well."""
        ...

    def same_files(self) -> bool:
        """Whether folders of this machine can be bound: the engine runs here."""
        ...


@contextmanager
def ready(
    self: Engine, container: Container, place: Place, *, name: str | None, die_with_parent: bool
) -> Iterator[Ready]:
    """Bring the image to the engine where it is not yet, prepare what is bound, and yield the client's command."""
    with engine():
        container = fitting(self, container)
        refuse(self, container)
        image = load(self, container.image, place).id
    with ExitStack() as stack:
        with engine():
            found = stack.enter_context(inside(self, container, place))
            called = container_name(name or secrets.token_hex(8))
            words = run_words(self, container, found, image, called)
        if die_with_parent:
            stack.enter_context(_guarded(self.name, called))
        life = _Life(self, place.host, called)
        try:
            send = None if self.proxies else life.send
            yield Ready(words, found.missing, watch=life.watch(), settle=life.settle, send=send)
        finally:
            if not (life.over or found.missing):
                life.remove()


@contextmanager
def _guarded(engine: str, called: str) -> Iterator[None]:
    """Let the container end with us, also where a signal leaves us no word: an engine's client outlives who started it.

    A shell waits for the end of a pipe that we alone hold, and asks more than once: the client may be making it now.
    """
    script = 'read -r _; for pause in 0 1 4; do sleep $pause; "$@" rm --force "$0"; done >/dev/null 2>&1'
    guard = subprocess.Popen(
        ("sh", "-c", script, called, engine), stdin=subprocess.PIPE, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def run_words(self: Engine, container: Container, found: Inside, image: str, called: str) -> Command:
    """The client's words for a container. Values of variables that are named like secrets are in no word."""
    env = dict(container.env)
    hidden = {key: env.pop(key) for key in list(env) if SECRET.search(key) and key not in CLIENTS}
    argv = [
        *(self.name, "run", "--rm", "--init", "--interactive", *self.run, "--name", called),
        *("--label", f"{LABEL}={called.removeprefix(PREFIX)}"),
        *("--network", "host" if container.network else "none", "--shm-size", str(container.shm)),
        *("--security-opt", "no-new-privileges", "--log-driver", "none", "--workdir", container.workdir),
        *self.user(container.user),
    ]
    if container.tty:
        argv += ["--tty", "--detach-keys", "ctrl-@,ctrl-@,ctrl-^,ctrl-@"]
    if container.read_only:
        argv += ["--read-only", "--tmpfs", "/tmp:rw,exec,mode=1777"]  # noqa: S108 - inside the container
    for key, value in env.items():
        argv += ["--env", f"{key}={value}"]
    for key in (*hidden, *container.env_pass):
        argv += ["--env", key]
    for bind in found.binds:
        argv += ["--mount", docker_mount(bind)]
    for word in found.tmpfs:
        argv += ["--tmpfs", word]
    for device in container.gpus:
        argv += ["--device", device]
    program, *rest = container.argv
    return Command((*argv, "--entrypoint", program, image, *rest), env=hidden, changes=True)


def fitting(self: Engine, container: Container) -> Container:
    """The container with ids that the engine can read. Raises where a uid is one of this machine, and too large."""
    user = container.user
    if max(user.uid, user.gid) > LARGEST and not self.renames():
        hint = "use --user root --fix-perms, or --engine sandbox"
        raise EngineFailed(f"{self.name} takes no uid above {LARGEST}", hint=hint)
    return replace(container, user=renamed(user))


def refuse(self: Engine, container: Container) -> None:
    """Raise for what an engine's interface, which is JSON, would change on its way."""
    faults = [
        Fault(place, f"{shown} is not UTF-8, which is all that {self.name} hands on", hint="use --engine sandbox")
        for place, text, shown in (
            *((f"argv[{at}]", word, ascii(word)) for at, word in enumerate(container.argv)),
            *((f"environment {key!a}", value, "its value") for key, value in container.env.items()),  # may be a secret
            ("workdir", container.workdir, ascii(container.workdir)),
        )
        if any("\udc80" <= letter <= "\udcff" for letter in text)
    ]
    if faults:
        raise SpecError(faults)


@dataclass
class _Life:
    """One container, asked about by its name; ``over``: nothing of it is left."""

    engine: Engine
    host: Host
    name: str
    begun: float = 0.0
    over: bool = False

    def watch(self) -> Command:
        """What prints a line when the program has been started."""
        self.begun = time.time() - 1
        return self._events("--filter", "event=start", "--format", STARTED)

    def settle(self, outcome: Outcome) -> Outcome:
        """How the program ended, as far as the client's exit code leaves it open."""
        closed = unread(1)  # whoever read the program's output is gone, and with that the client, not the program
        if outcome.code < self.engine.trusted and not closed:
            self.over = True
            return outcome
        started, died = self._history()
        if closed and started and died is None:
            died = self._hung_up()
        if not started or died is None:  # it never began, or its client ended before it
            self.remove()
        self.over = True
        return Outcome(outcome.code if died is None or not started else died, started=started)

    def send(self, number: int) -> None:
        """Signal the program."""
        words = (self.engine.name, "kill", "--signal", str(int(number)), self.name)
        self.host.run(Command(words, changes=True), timeout=30)

    def _history(self) -> tuple[bool, int | None]:
        """Whether it was started, and its exit code if it has ended."""
        asked = self.host.run(self._events(*self.engine.past(), "--format", self.engine.ended), timeout=30)
        if asked.code:
            raise self.engine.fault(asked.stderr.decode(errors="replace"))
        lines = [line.split() for line in asked.stdout.decode().splitlines()]
        died = [int(words[1]) for words in lines if words[:1] in (["die"], ["died"]) and len(words) > 1]
        return any(words[:1] == ["start"] for words in lines), died[0] if died else None

    def _hung_up(self) -> int:
        """Tell the program as the kernel would that nobody reads its output; how it ends, within about a second."""
        self.send(signal.SIGPIPE)
        for _ in range(10):
            _, died = self._history()
            if died is not None:
                return died
            time.sleep(0.1)
        self.remove()
        return 128 + signal.SIGPIPE

    def remove(self) -> None:
        """End all that is in it, and remove it; there may be none."""
        self.host.run(Command((self.engine.name, "rm", "--force", self.name), changes=True), timeout=60)
        self.over = True

    def _events(self, *words: str) -> Command:
        since = ("--since", f"{self.begun:.3f}")
        return Command((self.engine.name, "events", *since, "--filter", f"container={self.name}", *words))


def enter(
    self: Engine, record: Record, argv: tuple[str, ...], workdir: str | None, env: Mapping[str, str], *, tty: bool
) -> Command:
    """The words of `exec`: the container's user and environment are the new program's too."""
    called = record.container or container_name(record.id)
    return exec_words(self.name, called, argv, workdir=workdir or record.workdir, env=env, tty=tty)


def exec_words(
    engine: str, container: str, argv: Sequence[str], *, workdir: str | None, env: Mapping[str, str], tty: bool
) -> Command:
    """A program in a container that runs; values of variables that are named like secrets are in no word."""
    hidden = {key: value for key, value in env.items() if SECRET.search(key) and key not in CLIENTS}
    words = ["--interactive", *(["--tty"] if tty else []), *(["--workdir", workdir] if workdir else [])]
    for key, value in env.items():
        words += ["--env", key if key in hidden else f"{key}={value}"]
    return Command((engine, "exec", *words, container, *argv), env=hidden, changes=True)


def alive(self: Engine, records: Sequence[Record], host: Host) -> set[str]:
    """The runs among these whose container runs, in one question."""
    if not records:
        return set()
    asked = ask(self, host, "ps", "--filter", f"label={LABEL}", "--format", "{{.Names}}")
    names = set(asked.stdout.decode().split())
    return {record.id for record in records if container_name(record.id) in names}


def send(self: Engine, record: Record, number: int, host: Host) -> None:
    """Signal the program; SIGKILL removes the container with all that is in it."""
    name = record.container or container_name(record.id)
    if number == signal.SIGKILL:
        host.run(Command((self.name, "rm", "--force", name), changes=True), timeout=60)
    else:
        host.run(Command((self.name, "kill", "--signal", str(int(number)), name), changes=True), timeout=60)
