"""Services in docker or podman: compose makes each of them in a network of the project, and is asked nothing else.

The file is handed to compose on its stdin, since it holds the values of secrets, which belong neither on a disk nor
among words. What runs, how it ended and whether it is ready is asked of the engine, for which docker and podman have
the same words; podman looks at health by itself only where there is a systemd.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from wardian.command import Command, Result
from wardian.errors import CommandFailed, Unavailable, WardianError
from wardian.hosts.session import caller
from wardian.plan.compose import Part, document, literal, probe, text
from wardian.plan.containers import Bind, Container
from wardian.plan.launch import Machine, Wishes, container
from wardian.plan.services import COMPOSE, Planned
from wardian.runtimes import docker, loader, podman
from wardian.runtimes.dockerlike import exec_words
from wardian.runtimes.loading import ask
from wardian.spec.models import Run
from wardian.verbs._choose import check_mounts, choose, gpus, place_of, say_unset, sites
from wardian.verbs._services import Seen, State
from wardian.verbs.stop import STOP_SECONDS
from wardian.workspace import Workspace

LABEL = "dev.wardian."  # + project, service, definition, ports
PROBE_SECONDS = 30.0
TAIL = 12
ENDED = {"exited", "dead", "created", "stopped", "removing"}
HINTS = {
    "docker": "type: sudo apt-get install docker-compose-v2, or docker-compose-plugin with Docker's own packages",
    "podman": "type: pip install podman-compose",
}


@dataclass
class Composed:
    """The services of one project in an engine with compose."""

    workspace: Workspace
    name: str
    network = COMPOSE

    @cached_property
    def project(self) -> str:
        """The name that tells this checkout's containers, network and volumes from every other's."""
        folder = sha256(os.fsencode(self.workspace.root.resolve())).hexdigest()[:10]
        return f"{re.sub('[^a-z0-9_-]', '-', self.workspace.spec.project.name)}-{folder}"

    def seen(self) -> Mapping[str, Seen]:
        """The services, as the engine has their containers."""
        return {name: _seen(found) for name, found in self._containers().items()}

    def start(self, planned: Planned, workspace: Workspace) -> None:
        """Make and start its container, in place of the one that is left of an earlier time."""
        compose = self._compose()
        part = self._part(planned, workspace)
        self._remove([planned.name])
        self._marker(there=True)
        content = document([part], standing_alone=False)
        for name in content["services"]:
            words = ("up", "--detach") if name == planned.name else ("run", "--rm", "-T")
            self._made(planned.name, (*compose, *words, name), self._told(content, planned, workspace))

    def _told(self, content: dict[str, Any], planned: Planned, workspace: Workspace) -> str:
        """The file's text with the values of what is handed on by name; what is not set is said, and not handed on."""
        body = content["services"][planned.name]
        say_unset(workspace, planned.service.env_pass, planned.name)
        for name in planned.service.env_pass:
            value = workspace.variables.get(name)
            if value is None:
                body["environment"].pop(name, None)
            else:
                body["environment"][name] = literal(value)
        return text("", content)

    def _made(self, name: str, argv: tuple[str, ...], content: str) -> None:
        """Run compose; what goes wrong is told in the engine's words."""
        done = self.workspace.host.run(Command(argv, stdin=content.encode(), cwd="/", changes=True))
        if done.code:
            lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
            said = next(
                (line for line in reversed(lines) if re.search(r"rror|fail|invalid|denied", line)), "".join(lines[-1:])
            )
            raise WardianError(f"service {name} cannot be started: {said or f'{argv[0]} exited with {done.code}'}")

    def ready(self, planned: Planned) -> bool:
        """Look once, from inside: a port that is published is answered before anybody listens behind it."""
        ready, found = planned.service.ready, self._containers().get(planned.name)
        if ready is None or found is None:
            return found is not None
        if ready.log is not None:
            said = self._run("logs", found["Id"])
            return re.search(ready.log, (said.stdout + said.stderr).decode(errors="replace"), re.MULTILINE) is not None
        words = probe(ready, _bare(planned, literal)) or []
        argv = [word.replace("$$", "$") for word in words[1:]]
        argv = ["/bin/sh", "-c", *argv] if words[0] == "CMD-SHELL" else argv
        try:
            return self._run("exec", found["Id"], *argv, timeout=PROBE_SECONDS).code == 0
        except CommandFailed:
            return False

    def tail(self, name: str) -> Sequence[str]:
        """The last lines that it wrote."""
        found = self._containers().get(name)
        if found is None:
            return ()
        said = self._run("logs", "--tail", str(TAIL), found["Id"])
        return (said.stdout + said.stderr).decode(errors="replace").splitlines()[-TAIL:]

    def log_command(self, name: str, *, follow: bool, tail: int | None) -> Command | None:
        """What prints the log of a service; None when there is none."""
        found = self._containers().get(name)
        if found is None:
            return None
        more = [*(["--follow"] if follow else []), *(["--tail", str(tail)] if tail is not None else [])]
        return Command((self.name, "logs", *more, found["Id"]))

    def enter_command(
        self, name: str, argv: Sequence[str], *, workdir: str | None, env: Mapping[str, str], tty: bool
    ) -> Command | None:
        """What runs a program in the container of a service that runs; secrets are in no word of it."""
        found = self._containers().get(name)
        if found is None or _seen(found).state != "running":
            return None
        return exec_words(self.name, found["Id"], argv, workdir=workdir, env=env, tty=tty)

    def stop(self, names: Sequence[str]) -> None:
        """Ask them to end, and end them after some seconds; their logs stay."""
        every = self._containers()
        if ids := [every[name]["Id"] for name in names if name in every and _seen(every[name]).state != "exited"]:
            self._ask("stop", "-t", str(STOP_SECONDS), *ids)

    def volumes(self) -> list[str]:
        """The volumes that the engine keeps for the project."""
        said = self._ask("volume", "ls", "--quiet").stdout.decode().split()
        prefix = f"{self.project}_"
        return sorted(name.removeprefix(prefix) for name in said if name.startswith(prefix))

    def clear(self, *, volumes: bool) -> None:
        """Remove containers and network, and volumes when they are asked for."""
        kept = self.volumes()
        self._remove(list(self._containers()))
        self._run("network", "rm", f"{self.project}_default")  # it may be there or not
        if volumes and kept:
            self._ask("volume", "rm", *(f"{self.project}_{name}" for name in kept))
        if volumes or not kept:
            self._marker(there=False)

    def in_use(self) -> bool:
        """Whether services of this project were ever started here."""
        return (self.workspace.state / f"services.{self.name}").exists()

    def _marker(self, *, there: bool) -> None:
        path = self.workspace.state / f"services.{self.name}"
        if there:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    def _remove(self, names: Sequence[str]) -> None:
        every = self._containers()
        if ids := [every[name]["Id"] for name in names if name in every]:
            self._ask("rm", "--force", *ids)

    def _containers(self) -> dict[str, Any]:
        """What the engine knows of each service's container."""
        ids = self._ask("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}project={self.project}")
        words = ids.stdout.decode().split()
        if not words:
            return {}
        found = self._run("inspect", "--type", "container", *words)  # one may be gone by now: then it is not among them
        known = json.loads(found.stdout or b"[]")
        return {one["Config"]["Labels"][f"{LABEL}service"]: one for one in known}

    def _run(self, *words: str, timeout: float | None = 60) -> Result:
        return self.workspace.host.run(Command((self.name, *words)), timeout=timeout)

    def _ask(self, *words: str) -> Result:
        return ask(self._engine, self.workspace.host, *words)

    @cached_property
    def _engine(self) -> docker.Docker | podman.Podman:
        return docker.engine() if self.name == "docker" else podman.engine()

    def _compose(self) -> tuple[str, ...]:
        """The words that begin a call of compose. Raises ``Unavailable`` that names what is missing."""
        self._ask("version")
        ways = [("docker", "compose")] if self.name == "docker" else [("podman-compose",), ("podman", "compose")]
        for way in ways:
            try:
                if self.workspace.host.run(Command((*way, "version")), timeout=60).code == 0:
                    return (*way, "--project-name", self.project, "--file", "-")
            except Unavailable:
                continue
        raise Unavailable(f"{self.name} has no compose here", hint=f"{HINTS[self.name]}, or use --engine sandbox")

    def _part(self, planned: Planned, workspace: Workspace) -> Part:
        """The service in compose's words, with the image brought to the engine."""
        made = self._container(planned, workspace)
        image = loader(self.name).load(planned.digest, place_of(workspace))
        words = dict(zip(*[iter(self._engine.user(made.user))] * 2, strict=True))
        labels = {
            "project": self.project,
            "service": planned.name,
            "definition": planned.definition,
            "ports": ",".join(str(port.outside) for port in planned.ports),
        }
        devices = ",".join(made.gpus) or "none"
        return replace(
            _bare(planned, literal),
            service=planned.service.model_copy(update={"shm": made.shm, "gpus": devices}),
            image=image.id,
            binds=tuple(Bind(literal(one.source), literal(one.target), one.read_only) for one in made.binds),
            user=words["--user"],
            userns=words.get("--userns"),
            workdir=literal(made.workdir),
            labels={f"{LABEL}{key}": literal(value) for key, value in labels.items()},
        )

    def _container(self, planned: Planned, workspace: Workspace) -> Container:
        """The same container that the sandbox would make; of it, user, folders and devices are taken."""
        service, table = planned.service, workspace.spec.run
        chosen = choose(workspace, planned.digest)
        shm = table.shm if service.shm is None else service.shm
        own = [Bind(one.source, one.target, one.read_only) for one in planned.volumes if not one.named]
        wishes = Wishes(argv=("true",), mounts=tuple(own), project=str(workspace.root))
        mounts = workspace.spec.mounts
        here = Machine(
            caller(),
            str(workspace.root),
            gpus=gpus(workspace, service.gpus),
            sites=sites(workspace, chosen, mounts),
        )
        run = Run(shm=shm, user=service.user or table.user)
        made = container(chosen.digest, chosen.config, run, mounts=mounts, wishes=wishes, machine=here)
        check_mounts(made.binds, workspace.home)
        return made


def _bare(planned: Planned, say: Callable[[str], str]) -> Part:
    """What compose is told of a service, without what only the engine and the image tell."""
    return Part(
        name=planned.name,
        service=planned.service,
        image="",
        ports=tuple((str(port.inside), str(port.outside)) for port in planned.ports),
        binds=(),
        env={name: say(value) for name, value in planned.env.items() if name not in planned.service.env},
        user="0:0",
        workdir=None,
        python=planned.python,
        say=say,
    )


def _seen(found: Any) -> Seen:
    labels, state = found["Config"]["Labels"], found["State"]
    ended = state["Status"] in ENDED
    now: State = "exited" if ended else "running"
    ports = tuple(int(port) for port in labels.get(f"{LABEL}ports", "").split(",") if port)
    code = state["ExitCode"] if ended else None
    return Seen(now, labels.get(f"{LABEL}definition"), ports, code, found["Id"][:12], state["StartedAt"])
