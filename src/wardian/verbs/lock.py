"""`wardian lock`: the project → its lock."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wardian.errors import LockStale, SpecError
from wardian.verbs import verb
from wardian.workspace import LOCK, Workspace

if TYPE_CHECKING:
    from wardian.lock.changes import Change
    from wardian.lock.model import Lock
    from wardian.lock.stale import Wants
    from wardian.resolvers.upgrade import Upgrade

EVERYTHING = "\0everything"


@verb(
    "lock", example="wardian lock\nwardian lock --check\nwardian lock --upgrade torch\nwardian lock --archive ~/archive"
)
@click.option("--check", is_flag=True, help="Say what is stale and exit with 1; resolve and write nothing.")
@click.option(
    "--upgrade",
    multiple=True,
    is_flag=False,
    flag_value=EVERYTHING,
    metavar="[NAME]",
    help="Move to the newest: all, or one distribution, Debian package, image or base.",
)
@click.option("--archive", metavar="DIR", help="Keep every file that the lock names in DIR, for `build --from DIR`.")
@click.option("--dry-run", is_flag=True, help="Say what would change; write nothing.")
def command(
    workspace: Workspace,
    check: bool,  # noqa: FBT001 - click hands flags over
    upgrade: tuple[str, ...],
    archive: str | None,
    dry_run: bool,  # noqa: FBT001
) -> int:
    """Pin every input of every image: bases, Debian packages, Python distributions with their hashes.

    What is locked stays as it is until what asks for it changes, or --upgrade says so. Images are never built.
    """
    from wardian.lock.stale import reasons
    from wardian.resolvers.inputs import pylocks, texts, wanted

    if check and (upgrade or archive or dry_run):
        raise SpecError("--check changes nothing: it goes with no other option")
    variants = workspace.images
    read = texts(workspace.root, variants)
    wants = wanted(variants, read, workspace.spec.substitutes)
    stale = reasons(workspace.lock, wants, pylocks(workspace.root, workspace.lock))
    if check:
        return _check(workspace, stale)
    if not stale and not upgrade:
        if archive:
            _archive(workspace, workspace.lock, pylocks(workspace.root, workspace.lock), Path(archive))
        workspace.console.answer("the lock is fresh", {"changed": False, "changes": [], "files": []})
        return 0
    with workspace.store.lock(f"project {workspace.root}"):
        return _lock(workspace, read, wants, upgrade, Path(archive) if archive else None, dry_run=dry_run)


def _check(workspace: Workspace, stale: list[str]) -> int:
    if workspace.console.as_json:
        workspace.console.answer("", {"fresh": not stale, "reasons": stale})
        return 1 if stale else 0
    if stale:
        raise LockStale(stale)
    workspace.console.answer("the lock is fresh", None)
    return 0


def _lock(
    workspace: Workspace,
    read: Mapping[str, str],
    wants: "Mapping[str, Wants]",
    upgrade: tuple[str, ...],
    archive: Path | None,
    *,
    dry_run: bool,
) -> int:
    """Resolve under the project's lock, with what is on disk now."""
    from wardian.lock.changes import changes, summary
    from wardian.lock.file import read as parse
    from wardian.lock.file import write
    from wardian.resolvers.inputs import pylocks
    from wardian.resolvers.session import write_all

    path = workspace.root / LOCK
    before = parse(path.read_text(encoding="utf-8") if path.exists() else "", source=LOCK)
    old = pylocks(workspace.root, before)
    asked = _upgrade(workspace, upgrade, before, old)
    after, new = _resolved(workspace, read, wants, (before, old), asked)
    found = changes(before, after, old, new)
    gone = tuple(sorted({image.pylock for image in before.images.values() if image.pylock} - new.keys()))
    files = [] if dry_run else write_all(workspace.root, {**new, LOCK: write(after)}, gone)
    if archive and not dry_run:
        _archive(workspace, after, new, archive)
    lines = summary(found) or ["nothing moved"]
    if files:
        lines.append(f"written: {', '.join(files)}")
    elif dry_run:
        lines.append("nothing is written: this is a dry run")
    workspace.console.answer(
        "\n".join(lines), {"changed": bool(files), "changes": list(map(_data, found)), "files": files}
    )
    return 0


def _upgrade(workspace: Workspace, names: tuple[str, ...], before: "Lock", old: Mapping[str, str]) -> "Upgrade":
    from wardian.resolvers.upgrade import Upgrade, upgrade_of

    if EVERYTHING in names:
        return Upgrade(everything=True)
    return upgrade_of(names, workspace.images, before, old)


def _resolved(
    workspace: Workspace,
    read: Mapping[str, str],
    wants: "Mapping[str, Wants]",
    on_disk: "tuple[Lock, Mapping[str, str]]",
    upgrade: "Upgrade",
) -> "tuple[Lock, dict[str, str]]":
    from wardian.resolvers.own import required
    from wardian.resolvers.project import Locking
    from wardian.resolvers.session import opened
    from wardian.resolvers.systems import platform_of

    with (
        workspace.console.progress() as display,
        opened(
            workspace.root,
            workspace.store,
            workspace.host,
            environ=workspace.environ,
            substitutes=workspace.spec.substitutes,
            indexes=_indexes(workspace),
            requirements=required(workspace.images),
            display=display,
            upgrade=upgrade,
            known=tuple((entry.base, platform_of(entry)) for entry in on_disk[0].images.values() if entry.base),
        ) as session,
    ):
        return Locking(
            systems=session.systems,
            uv=session.uv,
            wanted=wants,
            texts=read,
            before=on_disk[0],
            pylocks=on_disk[1],
            backends=session.sdists,
            progress=display,
            variants=workspace.images,
        ).run()


def _archive(workspace: Workspace, lock: "Lock", texts: Mapping[str, str], folder: Path) -> None:
    """Bring every locked file into the store, then into the archive."""
    from wardian.resolvers.archive import archived
    from wardian.resolvers.own import required
    from wardian.resolvers.session import opened
    from wardian.resolvers.upgrade import Upgrade
    from wardian.spec.units import human_size

    with (
        workspace.console.progress() as display,
        opened(
            workspace.root,
            workspace.store,
            workspace.host,
            environ=workspace.environ,
            substitutes=workspace.spec.substitutes,
            indexes=_indexes(workspace),
            requirements=required(workspace.images),
            display=display,
            upgrade=Upgrade(),
        ) as session,
    ):
        new, files, size = archived(session, lock, texts, workspace.images, folder=folder.absolute(), display=display)
    workspace.console.note(f"{folder} holds {files} files, {human_size(size)}; {new} are new")


def _indexes(workspace: Workspace) -> tuple[str, ...]:
    return tuple(dict.fromkeys(index for variant in workspace.images for index in variant.image.index))


def _data(change: "Change") -> dict[str, str | None]:
    return {
        "image": change.image,
        "kind": change.kind,
        "name": change.name,
        "before": change.before,
        "after": change.after,
    }
