"""Services in the sandbox: each is a detached run on this machine's network, asked from outside whether it is ready."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardian.errors import CommandFailed, WardianError
from wardian.hosts import sandbox
from wardian.hosts.session import caller
from wardian.plan.containers import Bind
from wardian.plan.launch import Machine, Wishes, container
from wardian.plan.services import MACHINE, Planned, bind_source
from wardian.runs.probe import answers, last_lines, listens, written
from wardian.runs.record import LOG, Code, Record
from wardian.runs.shelf import Run as Kept
from wardian.runtimes import runtime
from wardian.spec.models import Run
from wardian.verbs._attempt import Launch, begin_detached
from wardian.verbs._choose import check_mounts, choose, gpus, say_unset, sites
from wardian.verbs._services import Seen, State, service_runs, tcp_port
from wardian.verbs.stop import STOP_SECONDS, end_runs, over
from wardian.workspace import Workspace

PROBE_SECONDS = 30.0  # for one ready.command


@dataclass
class Sandboxed:
    """The engine that needs no engine."""

    workspace: Workspace
    name: str = "sandbox"
    network = MACHINE

    def runs(self) -> dict[str, Kept]:
        """The latest run of each service."""
        return service_runs(self.workspace)

    def seen(self) -> Mapping[str, Seen]:
        """The services, as their records and the kernel have them."""
        return {name: _seen(run.record) for name, run in self.runs().items()}

    def start(self, planned: Planned, workspace: Workspace) -> None:
        """Start a detached run with the service's name."""
        try:
            begin_detached(workspace, _launch(workspace, planned))
        except CommandFailed as error:
            raise WardianError(f"service {planned.name} cannot be started: {error.message}") from error

    def ready(self, planned: Planned) -> bool:
        """Ask once, from this machine."""
        ready, run = planned.service.ready, self.runs().get(planned.name)
        if ready is None or run is None:
            return run is not None
        if ready.http is not None:
            return answers(planned.ports[0].outside, ready.http)
        if ready.tcp is not None:
            return listens(tcp_port(planned, ready.tcp))
        if ready.log is not None:
            return written(run.folder / LOG, ready.log)
        return self._command(run.record, ready.command or ())

    def _command(self, record: Record, words: Sequence[str]) -> bool:
        if record.sandbox is None:
            return False
        entering = runtime().enter(record, tuple(words), None, {}, tty=False)
        try:
            return self.workspace.host.run(entering, timeout=PROBE_SECONDS).code == 0
        except CommandFailed:
            return False

    def tail(self, name: str) -> Sequence[str]:
        """The end of the run's log."""
        run = self.runs().get(name)
        return last_lines(run.folder / LOG) if run else ()

    def stop(self, names: Sequence[str]) -> None:
        """Ask them to end, and after some seconds end them."""
        every = self.runs()
        host = self.workspace.host
        asked = [every[name] for name in names if name in every and not over(every[name].record, host)]
        end_runs(asked, STOP_SECONDS, host)

    def volumes(self) -> list[str]:
        """The volumes that the project keeps."""
        folder = _volumes(self.workspace)
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def clear(self, *, volumes: bool) -> None:
        """Remove what the volumes hold, whose owners may be other users of our range of ids."""
        if volumes and self.volumes():
            inside = sandbox.namespace(self.workspace.host)
            self.workspace.host.run(inside.command("rm", "-rf", "--", str(_volumes(self.workspace)))).check()


def _seen(record: Record) -> Seen:
    alive = record.state == "running" or record.sandbox is not None
    state: State = "running" if record.state == "running" else "lost" if alive else "exited"
    ports = tuple(record.ports.values())
    return Seen(state, record.definition, ports, record.exit_code, record.id, record.started or record.created)


def _volumes(workspace: Workspace) -> Path:
    return workspace.state / "volumes"


def _launch(workspace: Workspace, planned: Planned) -> Launch:
    """The container of a service, as `run` would make it."""
    service, table = planned.service, workspace.spec.run
    chosen = choose(workspace, planned.digest)
    run = Run(
        env=dict(planned.env),
        env_pass=service.env_pass,
        shm=table.shm if service.shm is None else service.shm,
        user=service.user or table.user,
    )
    folder = str(_volumes(workspace))
    binds = tuple(Bind(bind_source(one, planned.name, folder), one.target, one.read_only) for one in planned.volumes)
    for one, bind in zip(planned.volumes, binds, strict=True):
        if one.named:
            Path(bind.source).mkdir(parents=True, exist_ok=True)
    wishes = Wishes(argv=service.command or (), mounts=binds, project=str(workspace.root))
    mounts = workspace.spec.mounts
    found = sites(workspace, chosen, mounts)
    machine = Machine(caller(), str(workspace.root), gpus=gpus(workspace, service.gpus), sites=found)
    made = container(chosen.digest, chosen.config, run, mounts=mounts, wishes=wishes, machine=machine)
    check_mounts(made.binds, workspace.home)
    say_unset(workspace, made.env_pass, planned.name)
    at = next((bind.target for bind in made.binds if bind.source == wishes.project), None)
    return Launch(
        container=made,
        chosen=chosen,
        env=planned.env,
        project=wishes.project,
        at=at,
        mounts=tuple(bind for bind in made.binds if bind.target != at),
        user=run.user,
        ports={port.name: port.outside for port in planned.ports},
        name=planned.name,
        code=Code(reason="a service"),
        service=planned.name,
        definition=planned.definition,
    )
