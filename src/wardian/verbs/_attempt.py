"""One run with its record: what `run`, `shell` and `reproduce` share."""

import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from wardian.errors import CommandFailed, EngineFailed, SpecError, WardianError
from wardian.plan.containers import Bind, Container
from wardian.plan.labels import OURS
from wardian.runs.processes import identify
from wardian.runs.record import LOG, PATCH, Code, Record, new_id, public, stamp, write
from wardian.runs.shelf import Shelf
from wardian.runs.snapshot import snapshot
from wardian.runs.supervise import FORWARDED, Outcome, attend, status_pipe
from wardian.runs.terminal import Streams, handed_through
from wardian.runtimes import runtime
from wardian.runtimes.names import container_name
from wardian.verbs._choose import Chosen, place_of
from wardian.workspace import Workspace

STARTED = "started"  # what a detached run's supervisor says; else "CODE REASON", or "- REASON" when the engine failed


@dataclass(frozen=True)
class Launch:
    """A container, and what its record says beyond it."""

    container: Container
    chosen: Chosen
    env: Mapping[str, str]  # what the call and [run] set, for the record
    project: str | None
    at: str | None
    mounts: tuple[Bind, ...]
    user: str
    ports: Mapping[str, int]
    engine: str = "sandbox"
    fix_perms: bool = False
    name: str | None = None
    of: str | None = None
    service: str | None = None
    definition: str | None = None
    code: Code | None = None  # known already (reproduce), with its patch; None: look
    patch: Path | None = None


def go(workspace: Workspace, launch: Launch, streams: Streams) -> int:
    """One run in the foreground; its exit code."""
    return _begin(workspace, launch, detached=False).run(streams)


def go_detached(workspace: Workspace, launch: Launch) -> int:
    """One run in the background, watched by a process of its own; prints the run's id once the program has started."""
    try:
        record, folder = begin_detached(workspace, launch)
    except CommandFailed as error:
        workspace.console.note(f"wardian: {error.message}")
        return error.code
    workspace.console.answer(record.id, {"run": record.id, "folder": str(folder)})
    return 0


def begin_detached(workspace: Workspace, launch: Launch) -> tuple[Record, Path]:
    """Start a run that a process of its own watches; its first record and its folder once the program has started.

    Raises ``CommandFailed`` for a program that cannot be started, ``EngineFailed`` for all else that goes wrong. Who is
    interrupted in here has started nothing: the run is asked to end.
    """
    attempt = _begin(workspace, launch, detached=True)
    reading, writing = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        os.close(reading)
        _watch(attempt, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as told:
            code, _, text = told.read().partition(" ")
    except BaseException:
        os.kill(watcher, signal.SIGTERM)
        raise
    if code.isdigit():
        raise CommandFailed(text, code=int(code))
    if code != STARTED:
        raise EngineFailed(text or "the run's supervisor ended before the program began")
    return attempt.record, attempt.folder


def _watch(attempt: "Attempt", told: int) -> NoReturn:
    """The life of a detached run's supervisor. What happens before the program begins is told to the caller."""
    code = 125

    def say(text: str) -> None:
        nonlocal told
        if told >= 0:
            with suppress(BrokenPipeError):  # whoever waited was interrupted: that is no fault of the run
                os.write(told, text.encode())
            os.close(told)
            told = -1

    try:
        os.setsid()
        log = os.open(attempt.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        sys.stdout, sys.stderr = (os.fdopen(one, "w", buffering=1, closefd=False, encoding="utf-8") for one in (1, 2))
        attempt.say = say
        attempt.write(supervisor=identify(os.getpid()))
        code = attempt.run(handed_through())
        say(STARTED)  # it was over before anybody looked
    except WardianError as error:
        say(f"- {error.message}")
    except Exception as error:  # noqa: BLE001 - nobody is above to whom it could be raised
        traceback.print_exc()  # into the run's log
        say(f"- {type(error).__name__}: {error}; the rest is in {attempt.folder / LOG}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _begin(workspace: Workspace, launch: Launch, *, detached: bool) -> "Attempt":
    """Make the run's folder and its first record, before anything starts."""
    now = datetime.now(UTC)
    shelf = Shelf(workspace.state, workspace.home)
    if launch.name and any(run.record.name == launch.name and run.record.state == "running" for run in shelf.all()):
        raise SpecError(f"a run named {launch.name!r} is running", hint=f"type: wardian stop {launch.name}")
    folder, beside = shelf.make(new_id(now))
    if not beside:
        workspace.console.note(f"{workspace.root} cannot be written to: the run's record is in {folder}")
    code = launch.code
    if code is None:
        code = snapshot(workspace.host, Path(launch.project), folder) if launch.project else Code(reason="no project")
        if code.revision and code.reason:
            workspace.console.note(f"the code is not recorded, so this run cannot be reproduced: {code.reason}")
    if launch.patch:
        shutil.copyfile(launch.patch, folder / PATCH)
    container, chosen = launch.container, launch.chosen
    record = Record(
        id=folder.name,
        image=chosen.tagged.reference,
        digest=chosen.digest,
        variant=chosen.labels.get(f"{OURS}image"),
        lock=chosen.labels.get(f"{OURS}lock"),
        argv=container.argv,
        workdir=container.workdir,
        user=launch.user,
        host=socket.gethostname(),
        created=stamp(now),
        name=launch.name,
        project=launch.project or str(workspace.root),
        at=launch.at,
        mounts=launch.mounts,
        env=public(dict(launch.env)),
        env_pass=container.env_pass,
        ports=dict(launch.ports),
        gpus=container.gpus,
        shm=container.shm,
        network=container.network,
        read_only=container.read_only,
        detached=detached,
        code=code,
        of=launch.of,
        service=launch.service,
        definition=launch.definition,
        supervisor=identify(os.getpid()),
        fix_perms=launch.fix_perms,
        engine=launch.engine,
        container=None if launch.engine == "sandbox" else container_name(folder.name),
    )
    attempt = Attempt(workspace, launch, folder, record)
    attempt.write()
    return attempt


@contextmanager
def _heard() -> Iterator[None]:
    """Let a signal that would kill this process end the block instead, so that what it made is removed."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    heard = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) == signal.SIG_DFL]
    for one in heard:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in heard:
            signal.signal(one, signal.SIG_DFL)


@dataclass
class Attempt:
    """One run from its first record to its last. ``say`` hears that the program began, or why it did not."""

    workspace: Workspace
    launch: Launch
    folder: Path
    record: Record
    say: Callable[[str], None] = lambda _: None

    def write(self, *, durable: bool = True, **changes: Any) -> None:
        """Change the record, on disk too."""
        self.record = replace(self.record, **changes)
        write(self.folder, self.record, durable=durable)

    def run(self, streams: Streams) -> int:
        """Start the container, wait, and write down how it went, whatever happens; the exit code."""
        outcome = Outcome(125, started=False)
        begun = time.time()
        self.write(durable=False, started=stamp(datetime.now(UTC)))
        try:
            with _heard():
                outcome = self._attend(streams)
        except KeyboardInterrupt:
            outcome = Outcome(130, started=False)
            raise
        except SystemExit as stopped:
            outcome = Outcome(int(stopped.code or 0), started=False)
            raise
        finally:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # whoever stops it now would leave no end
            try:
                if self.launch.fix_perms:
                    self._fix_perms(begun)
                self._end(outcome)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return outcome.code

    def _fix_perms(self, since: float) -> None:
        """Give others' files to the caller, whatever became of the run."""
        try:
            runtime(self.launch.engine).restore(self.launch.container, since, place_of(self.workspace))
        except WardianError as error:
            self.workspace.console.note(f"wardian: files of another user are left in the mounts: {error.message}")

    def _attend(self, streams: Streams) -> Outcome:
        console = self.workspace.console
        with ExitStack() as stack:
            status = stack.enter_context(status_pipe())
            container, place = self.launch.container, place_of(self.workspace)
            driver = runtime(self.launch.engine)
            ready = stack.enter_context(
                driver.ready(container, place, name=self.record.id, status_fd=status.fd, die_with_parent=False)
            )
            console.trace(ready.command)
            if ready.missing:
                self.say(f"{ready.missing.code} {ready.missing.reason}")
                console.note(f"wardian: {ready.missing.reason}")
                return Outcome(ready.missing.code, started=False)
            environ = self.workspace.variables
            ended = attend(
                ready.command,
                status,
                streams,
                environ=environ,
                started=self._began,
                watch=ready.watch,
                send=ready.send,
            )
            outcome = ready.settle(ended)
        if not outcome.started:
            sandbox = self.launch.engine == "sandbox"
            what = "the sandbox could not be made" if sandbox else f"{self.launch.engine} could not start the container"
            raise EngineFailed(f"{what}; its own words are above", hint="type: wardian doctor")
        return outcome

    def _began(self, init: int | None) -> None:
        known = identify(init) if init else None
        self.write(durable=False, started=stamp(datetime.now(UTC)), init=known)
        self.say(STARTED)

    def _end(self, outcome: Outcome) -> None:
        ended = datetime.now(UTC)
        since = datetime.fromisoformat(self.record.started or self.record.created)
        self.write(
            state="finished" if outcome.started else "failed",
            finished=stamp(ended),
            seconds=round((ended - since).total_seconds(), 3),
            exit_code=outcome.code,
            signal=outcome.signal if outcome.started else None,
        )
