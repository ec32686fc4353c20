"""`wardian test`: every named check, inside its image."""

import threading
from pathlib import Path

import click

from wardian.errors import SpecError, TestFailed, WardianError
from wardian.hosts.session import caller
from wardian.plan.containers import Container
from wardian.plan.launch import Machine, Wishes, container
from wardian.runs.capture import capture
from wardian.runs.checks import Named, Verdict, chosen, default_jobs, junit, perform, verdict
from wardian.runs.supervise import status_pipe
from wardian.runtimes import runtime
from wardian.runtimes.base import Runtime
from wardian.spec.matrix import select
from wardian.store.files import write_file
from wardian.verbs import verb
from wardian.verbs._choose import Chosen, engine_of, gpus, opened, place_of
from wardian.verbs.run import ENGINES
from wardian.workspace import Workspace


@verb("test", example="wardian test\nwardian test train -k torch --junit checks.xml")
@click.option(
    "-k", "pattern", metavar="PATTERN", help="Only checks whose name has PATTERN in it (or matches its * and ?)."
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Checks at a time (default: processors, up to 4)."
)
@click.option("--engine", type=click.Choice(ENGINES), help="What runs them (default: [run].engine).")
@click.option("--junit", "report", type=click.Path(path_type=Path), metavar="FILE", help="Also write JUnit XML.")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
def command(
    workspace: Workspace,
    images: tuple[str, ...],
    *,
    pattern: str | None,
    jobs: int | None,
    engine: str | None,
    report: Path | None,
) -> int:
    """Run every named check, each in a sandbox of its own, all of them to the end; exit code 1 when one fails.

    A check is a line for the image's sh: variables in it are the image's. It passes with exit code 0 and, where
    `expect` is given, with that text in its output. The project's folder is not bound: the image is tested.
    """
    variants = select(workspace.images, images)
    every = [Named(variant.id, name, check) for variant in variants for name, check in variant.image.tests.items()]
    checks = chosen(every, pattern)
    if not checks:
        if pattern is not None and every:
            raise SpecError(f"no check matches {pattern!r}", hint="there is: " + ", ".join(one.name for one in every))
        workspace.console.answer("no image has a check", {"checks": [], "images": {}})
        return 0
    found: dict[str, Chosen | WardianError] = {}
    for variant in variants:
        try:
            found[variant.id] = opened(workspace, workspace.built(variant))
        except WardianError as error:
            found[variant.id] = error
    devices = gpus(workspace, None)
    driver = runtime(engine_of(workspace, engine))
    with workspace.console.progress() as tasks, tasks.task("checks", total=len(checks)) as task:
        verdicts = perform(
            checks,
            jobs or default_jobs(),
            lambda one, stop: check(workspace, driver, one, found[one.image], devices=devices, stop=stop),
            lambda _: task.advance(1),
        )
    digests = {name: one.digest for name, one in found.items() if isinstance(one, Chosen)}
    if report is not None:
        _write(report, junit(verdicts, digests))
    _tell(workspace, verdicts, digests)
    return 0


def check(
    workspace: Workspace,
    driver: Runtime,
    one: Named,
    image: Chosen | WardianError,
    *,
    devices: tuple[str, ...],
    stop: threading.Event,
) -> Verdict:
    """Make one check; whatever goes wrong around it is its error, and no other check's."""
    if isinstance(image, WardianError):
        return Verdict(one, "error", f"{image.message}; {image.hint}" if image.hint else image.message)
    try:
        made = _container(workspace, one, image, devices)
        with (
            status_pipe() as status,
            driver.ready(made, place_of(workspace), status_fd=status.fd) as ready,
        ):
            workspace.console.trace(ready.command)
            if ready.missing:
                return Verdict(one, "failed", ready.missing.reason, ready.missing.code)
            ended = capture(
                ready.command,
                None if ready.watch else status,
                environ=workspace.environ,
                timeout=one.check.timeout,
                expect=one.check.expect or "",
                stop=stop,
                settle=ready.settle,
            )
    except WardianError as error:
        return Verdict(one, "error", error.message)
    return verdict(one, ended)


def _container(workspace: Workspace, one: Named, image: Chosen, devices: tuple[str, ...]) -> Container:
    """The image as it is: no project, no mounts, no secrets."""
    wishes = Wishes(argv=("sh", "-c", one.check.run), entrypoint=False)
    machine = Machine(caller(), str(workspace.root), gpus=devices)
    table = workspace.spec.run.model_copy(update={"env_pass": (), "ports": {}})
    return container(image.digest, image.config, table, mounts={}, wishes=wishes, machine=machine)


def _tell(workspace: Workspace, verdicts: list[Verdict], digests: dict[str, str]) -> None:
    """The table, the output of what failed, and the error that makes the exit code 1."""
    console = workspace.console
    rows = [(one.of.image, one.of.name, one.state, f"{one.seconds:.1f}", one.reason) for one in verdicts]
    data = {"checks": [one.to_json() for one in verdicts], "images": digests}
    console.table(("image", "check", "result", "seconds", "why"), [tuple(map(_line, row)) for row in rows], data)
    wrong = [one for one in verdicts if one.state != "passed"]
    for one in wrong:
        said = [*one.stdout.splitlines()[-10:], *one.stderr.splitlines()[-10:]]
        if said and not console.as_json:
            console.note("\n".join([f"── {one.of.image}: {one.of.name}", *said]))
    if wrong:
        names = ", ".join(f"{one.of.image}: {one.of.name}" for one in wrong)
        raise TestFailed(f"{len(wrong)} of {len(verdicts)} checks failed: {_line(names)}")


def _line(text: str) -> str:
    return " ".join(text.split())


def _write(path: Path, text: str) -> None:
    try:
        write_file(path, text.encode(), scratch=path.parent)
    except OSError as error:
        raise WardianError(f"{path} cannot be written: {error.strerror}") from error
