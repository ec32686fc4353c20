"""`wardian reproduce`: a recorded run once more, from the same image and the same code."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from wardian.errors import EngineFailed
from wardian.hosts.cdi import FOLDERS, devices
from wardian.hosts.session import caller, free_ports
from wardian.plan.launch import Machine, Wishes, container, project_binds
from wardian.runs.record import PATCH, Record, new_id
from wardian.runs.shelf import Run, Shelf
from wardian.runs.snapshot import restore
from wardian.runs.terminal import streams, wants_tty
from wardian.runtimes.base import engine as engine_fails
from wardian.spec.models import Run as Table
from wardian.store.store import Tagged
from wardian.verbs import verb
from wardian.verbs._attempt import Launch, go
from wardian.verbs._choose import Chosen, check_mounts, engine_of, opened
from wardian.verbs.run import ENGINES
from wardian.workspace import Workspace


@verb("reproduce", example="wardian reproduce @last\nwardian reproduce 20261121-0154 --current-code")
@click.option("--current-code", is_flag=True, help="Use the project's folder as it is now, not the recorded code.")
@click.option("--engine", type=click.Choice(ENGINES), help="What runs it (default: what did).")
@click.option("-t/-T", "tty", default=None, help="Give the program a terminal, or none (default: as we have one).")
@click.argument("run")
@engine_fails()
def command(workspace: Workspace, run: str, *, current_code: bool, engine: str | None, tty: bool | None) -> int:
    """Run a recorded run again: same image by digest, same words, environment, mounts and user, same code.

    The code is checked out beside the runs' records, where its results stay. What cannot be the same is said before
    it starts. The exit code is the program's.
    """
    shelf = Shelf(workspace.state, workspace.home)
    found = shelf.find(run)
    name = engine_of(workspace, engine or found.record.engine)
    image = _image(workspace, found.record)
    code = None if current_code else _code(workspace, shelf, found)
    for line in differences(workspace, found.record, current_code=current_code):
        workspace.console.note(line)
    launch = replace(_launch(workspace, found, image, code, tty=tty), engine=name)
    return go(workspace, launch, streams(tty=tty, raw=name != "sandbox"))


def differences(workspace: Workspace, record: Record, *, current_code: bool) -> list[str]:
    """What will not be as it was, one line each."""
    lines = []
    if current_code and record.code.revision:
        lines.append(f"code: the folder as it is now, not {record.code.revision}")
    if record.code.left_out and not current_code:
        lines.append(f"code: these files were not recorded: {', '.join(record.code.left_out)}")
    hidden = [name for name, value in record.env.items() if value is None]
    unset = [name for name in (*hidden, *record.env_pass) if name not in workspace.variables]
    lines += [f"environment: {name} is not set now; its value then was not recorded" for name in unset]
    if absent := [name for name in record.gpus if name not in devices(FOLDERS).edits]:
        lines.append(f"gpus: not on this machine: {', '.join(absent)}")
    return lines


def _image(workspace: Workspace, record: Record) -> Chosen:
    descriptor = workspace.store.resolve(record.digest)
    if descriptor is None:
        built = f"type: wardian build {record.variant} (at the lock {record.lock})" if record.variant else None
        raise EngineFailed(f"the run's image {record.digest} is not in the store", hint=built or "pull it again")
    return opened(workspace, Tagged(record.image, descriptor))


def _code(workspace: Workspace, shelf: Shelf, run: Run) -> Path | None:
    """A folder with the recorded code, in the record's shelf; None for a run that had no project."""
    record = run.record
    if record.at is None:
        return None
    if record.code.revision is None or (record.code.reason and not record.code.patch):
        raise EngineFailed(
            f"run {record.id} has no recorded code: {record.code.reason}",
            hint="type: wardian reproduce --current-code, to use the folder as it is now",
        )
    folder, _ = shelf.make(f"code-{new_id(datetime.now(UTC))}")
    try:
        return restore(workspace.host, workspace.root, record.code, run.folder / PATCH, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _launch(workspace: Workspace, run: Run, image: Chosen, code: Path | None, *, tty: bool | None) -> Launch:
    record = run.record
    project = str(code or workspace.root) if record.at else None
    hidden = tuple(name for name, value in record.env.items() if value is None)
    env = {name: value for name, value in record.env.items() if value is not None}
    mounts = (*project_binds(image.config, project, record.at), *record.mounts)
    known = devices(FOLDERS).edits
    gpus = tuple(name for name in record.gpus if name in known)
    ports = free_ports(record.ports)
    wishes = Wishes(
        argv=record.argv,
        user=record.user,
        env=env,
        env_pass=(*record.env_pass, *hidden),
        mounts=mounts,
        shm=record.shm,
        network=record.network,
        workdir=record.workdir,
        entrypoint=False,
        tty=wants_tty(tty=tty),
        read_only=record.read_only,
    )
    machine = Machine(caller(), str(workspace.root), ports, gpus, os.environ.get("TERM"))
    made = container(record.digest, image.config, Table(), mounts={}, wishes=wishes, machine=machine)
    check_mounts(made.binds, workspace.home)
    return Launch(
        container=made,
        chosen=image,
        env=env,
        project=project,
        at=record.at,
        mounts=record.mounts,
        user=record.user,
        ports=ports,
        fix_perms=record.fix_perms,
        of=record.id,
        code=record.code if code else None,
        patch=run.folder / PATCH if code and record.code.patch else None,
    )
