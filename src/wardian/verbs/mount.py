"""`wardian mount`: paths of this machine over those of the image, for packages one works on."""

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from wardian.errors import Fault, SpecError, WardianError
from wardian.hosts.checkout import package
from wardian.plan.binds import apptainer_bind, docker_mount
from wardian.plan.containers import Bind
from wardian.plan.mounts import SITE, package_of
from wardian.spec.models import Mount
from wardian.verbs import verb
from wardian.verbs._choose import check_mounts
from wardian.verbs._mounts import (
    Against,
    Verdict,
    against,
    among,
    compared,
    examine,
    known,
    meant,
    stored,
    typed,
    with_values,
    write,
)
from wardian.workspace import LOCAL, Workspace

Values = Mapping[str, str | bool]
FORMATS = ("text", "json", "docker", "podman", "apptainer")
image_option = click.option(
    "-i", "--image", metavar="IMAGE", help="Image to compare with (default: [run].image, or the only one)."
)
dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be written.")


@verb("show", example="wardian mount show\nwardian mount show --format docker")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="text", help="Engines: the mounts that are on.")
@image_option
def show(workspace: Workspace, kind: str, image: str | None) -> None:
    """List the project's mounts, or print those that are on as words for an engine's command line."""
    look = against(workspace, image)
    verdicts = _all(look, workspace.spec.mounts)
    if kind in {"text", "json"}:
        if kind == "json":
            workspace.console.as_json = True
        _table(workspace, verdicts)
        return
    binds = [_certain(one, look) for one in verdicts if one.mount.on]
    check_mounts(binds, workspace.home)
    lines = [shlex.join(words(kind, bind)) for bind in binds]
    workspace.console.answer("\n".join(lines), [words(kind, bind) for bind in binds])


def words(engine: str, bind: Bind) -> list[str]:
    """A bind as two words of an engine's command line."""
    return ["--bind", apptainer_bind(bind)] if engine == "apptainer" else ["--mount", docker_mount(bind)]


@verb("validate", example="wardian mount validate\nwardian mount validate rsl_rl --json")
@image_option
@click.argument("names", nargs=-1, metavar="[NAME]...")
def validate(workspace: Workspace, names: tuple[str, ...], image: str | None) -> int:
    """Look at every mount, or at those that are named; the exit code is 1 when one is wrong.

    A mount that is off may lack a source. What the image lacks is a note, not a fault.
    """
    for name in names:
        known(workspace, name)
    mounts = workspace.spec.mounts
    verdicts = _all(against(workspace, image), mounts, deep=names or list(mounts))
    verdicts = [one for one in verdicts if not names or one.name in names]
    _table(workspace, verdicts)
    return 1 if any(one.faults for one in verdicts) else 0


@verb(
    "set", example="wardian mount set rsl_rl ~/dev/rsl_rl\nwardian mount set data /big/data --target /data --read-only"
)
@click.option("--target", metavar="TARGET", help=f"{SITE}PACKAGE or an absolute path; needed for a new name.")
@click.option("--read-only/--writable", default=None, help="Whether the program may write to it.")
@image_option
@dry_run
@click.argument("name")
@click.argument("path")
def set_(workspace: Workspace, name: str, path: str, **flags: Any) -> None:
    """Store where a mount's source is, in wardian.local.toml.

    PATH may be a checkout: the package in it is found (NAME, src/NAME, source/*/NAME). Nothing is stored of a path
    that could not be mounted. A NAME that the project does not know is an installed package of the image.
    """
    look = against(workspace, flags["image"])
    values = chosen(look, name, path, flags["target"])
    if flags["read_only"] is not None:
        values = {**values, "read-only": flags["read_only"]}
    _store(look, name, values, dry_run=flags["dry_run"])


@verb("enable", example="wardian mount enable rsl_rl")
@image_option
@dry_run
@click.argument("name")
def enable(workspace: Workspace, name: str, image: str | None, dry_run: bool) -> None:  # noqa: FBT001 - click's
    """Mount it from now on; only when source and target were found to be right."""
    known(workspace, name)
    _store(against(workspace, image), name, {"enabled": True}, dry_run=dry_run)


@verb("disable", example="wardian mount disable rsl_rl")
@dry_run
@click.argument("name")
def disable(workspace: Workspace, name: str, dry_run: bool) -> None:  # noqa: FBT001 - click hands flags over
    """Mount it no more; the image's own is used again, and the source stays stored."""
    known(workspace, name)
    mount = with_values(workspace, name, {"enabled": False})
    if not dry_run:
        write(workspace, name, {"enabled": False})
    said = f"{name} {'would be' if dry_run else 'is'} off: the image's own {mount.target} is used"
    workspace.console.answer(said, {"name": name, "written": not dry_run, **Verdict(name, mount, None).to_json()})


@verb("setup", example="wardian mount setup")
@image_option
@dry_run
def setup(workspace: Workspace, image: str | None, dry_run: bool) -> None:  # noqa: FBT001 - click hands flags over
    """Ask for the source of each mount of the project. Nothing is stored before the last answer."""
    mounts = workspace.spec.mounts
    if not mounts:
        raise SpecError("the project has no mounts", hint=meant({}, "NAME"))
    if not sys.stdin.isatty():
        raise SpecError("there is no terminal to ask at", hint=f"type: wardian mount set {next(iter(mounts))} PATH")
    look = against(workspace, image)
    answers = {name: answer for name, mount in mounts.items() if (answer := _ask(look, name, mount))}
    for name, values in answers.items():
        if not dry_run:
            write(workspace, name, values)
    fresh = {name: with_values(workspace, name, values) for name, values in answers.items()}
    _table(workspace, _all(look, {**mounts, **fresh}))


def _ask(look: Against, name: str, mount: Mount) -> Values | None:
    """What is to be stored for one mount; None: nothing. Asks again after an answer that cannot be."""
    now = f"now {mount.source}, {'on' if mount.on else 'off'}" if mount.source else "not set"
    console = look.workspace.console
    console.note(f"{name} → {mount.target} ({now})")
    while True:
        prompt = "  path of the source, - to turn it off, nothing to leave it"
        answer = str(click.prompt(prompt, default="", show_default=False, err=True))
        if not answer:
            return None
        if answer == "-":
            return {"enabled": False}
        try:
            values = {**chosen(look, name, answer, None), "enabled": True}
            _checked(look, name, values)
        except SpecError as error:
            console.note(f"  {error.message}")
            continue
        return values


def chosen(look: Against, name: str, path: str, target: str | None) -> Values:
    """What to store for a path that was typed: the package in it, and the target of a mount that is new."""
    workspace = look.workspace
    source = typed(path)
    mounts = workspace.spec.mounts
    values: dict[str, str | bool] = {}
    if target is not None or name not in mounts:
        values["target"] = _installed(look, name) if target is None else target
        with_values(workspace, name, values)  # a target that is none is said before the package is looked for
    wanted = package_of(str(values.get("target") or mounts[name].target))
    if wanted is not None:
        source = _found(source, wanted)
    return {"source": stored(workspace, source), **values}


def _found(source: Path, wanted: str) -> Path:
    try:
        return package(source, wanted)
    except SpecError as error:
        raise SpecError([Fault("", one.message, hint=one.hint) for one in error.faults]) from None


def _installed(look: Against, name: str) -> str:
    """The target for a package or distribution that the image has. Raises ``SpecError`` when it has none."""
    mounts = look.workspace.spec.mounts
    names = {one for folder in look.sites.values() for one in folder}
    for one in (name, name.replace("-", "_"), f"{name}.py"):
        if one in names and not one.endswith(".dist-info"):
            return f"{SITE}{one}"
    tops = look.imports(name)
    if len(tops) > 1:
        listed = ", ".join(tops)
        raise SpecError(f"{name} is imported as {listed}", hint=f"add --target {SITE}{tops[0]}, or another of them")
    if not tops:
        raise SpecError(f"there is no mount {name!r}", hint=meant(mounts, name))
    return f"{SITE}{tops[0]}"


def _checked(look: Against, name: str, values: Values) -> Verdict:
    """The mount as it would be with new values, looked at among the others. Raises ``SpecError`` with every fault."""
    workspace = look.workspace
    mount = with_values(workspace, name, values)
    verdicts = _all(look, {**workspace.spec.mounts, name: mount}, deep=[name])
    verdict = next(one for one in verdicts if one.name == name)
    if verdict.faults:
        raise SpecError(list(verdict.faults), hint="nothing was changed")
    return verdict


def _store(look: Against, name: str, values: Values, *, dry_run: bool) -> None:
    """Look at what would be, write it, and only then say that it is so."""
    workspace = look.workspace
    verdict = _checked(look, name, values)
    if not dry_run:
        write(workspace, name, values)
    assert verdict.bind
    said = f"{name} {'would be' if dry_run else 'is'} {verdict.state}: {verdict.bind.source} → {verdict.bind.target}"
    if not verdict.mount.on:
        said += f"; type: wardian mount enable {name}"
    for note in verdict.notes:
        workspace.console.note(f"{name}: {note}")
    workspace.console.answer(said, {"name": name, "written": not dry_run, "file": LOCAL, **verdict.to_json()})


def _all(look: Against, mounts: Mapping[str, Mount], *, deep: Collection[str] = ()) -> list[Verdict]:
    """A verdict on each mount; those in ``deep`` are compared with the image, too."""
    verdicts = [examine(name, mount, look) for name, mount in mounts.items()]
    return among([compared(one, look) if one.name in deep else one for one in verdicts])


def _certain(verdict: Verdict, look: Against) -> Bind:
    """The bind of a mount that is on. Raises what makes it uncertain."""
    if verdict.faults:
        raise SpecError(list(verdict.faults))
    assert verdict.bind
    if package_of(verdict.bind.target):
        raise WardianError(f"only an image tells where {verdict.bind.target} is: {look.why}", hint="name it: --image")
    return verdict.bind


def _table(workspace: Workspace, verdicts: Sequence[Verdict]) -> None:
    origin = workspace.loaded.origin
    rows = [
        (
            one.name,
            one.state,
            (one.bind.source if one.bind else one.mount.source) or "-",
            f"{one.bind.target if one.bind else one.mount.target}{' (read-only)' if one.mount.read_only else ''}",
            _cluster(one.mount),
            origin.get(f"mounts.{one.name}.source", "-"),
        )
        for one in verdicts
    ]
    lines = [f"{one.name}: {note}" for one in verdicts for note in one.notes]
    lines += [str(fault) for one in verdicts for fault in one.faults]
    columns = ("NAME", "STATE", "SOURCE", "TARGET", "CLUSTER", "FROM")
    workspace.console.table(
        columns, [tuple(map(_line, row)) for row in rows], {one.name: one.to_json() for one in verdicts}
    )
    if not workspace.console.as_json:
        for line in lines:
            workspace.console.note(line)


def _cluster(mount: Mount) -> str:
    return f"{mount.cluster.path or '-'}{' (synced)' if mount.cluster.sync else ''}"


def _line(text: str) -> str:
    return text.replace("\n", "⏎")


command = click.Group(
    "mount",
    commands=[show, setup, set_, enable, disable, validate],
    help="Bind paths of this machine over those of the image.",
    epilog="\b\nExample:\n  wardian mount set rsl_rl ~/dev/rsl_rl\n  wardian mount enable rsl_rl\n  wardian mount show",
)
