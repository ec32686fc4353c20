"""`wardian pin`: a digest behind each image reference of a file."""

import os
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wardian.errors import SpecError, WardianError
from wardian.plan.pin import Pin, is_variable, kind_of, means, places, replaced, tag_of, written
from wardian.verbs import verb
from wardian.verbs._registries import asked_for, registries, source
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.plan.places import Place
    from wardian.registry.client import Registry

EXAMPLE = """\
wardian pin Dockerfile
wardian pin compose.yaml ghcr.io/acme/train:2026
wardian pin .github/workflows/test.yml --check"""
KINDS = ("dockerfile", "compose", "github", "gitlab", "toml")


@verb("pin", example=EXAMPLE)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("reference", required=False)
@click.option("--as", "kind", type=click.Choice(KINDS), help="What the file is (default: by its name).")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when something is not pinned, or is outdated.")
@click.option("--dry-run", is_flag=True, help="Show the difference; write nothing.")
def command(
    workspace: Workspace, file: Path, reference: str | None, *, kind: str | None, check: bool, dry_run: bool
) -> int:
    """Write `name:tag@sha256:…` into a Dockerfile, compose file, workflow of GitHub or GitLab, or wardian.toml.

    Every image in the file is pinned to what its tag names now, or only those of REFERENCE, which also get its tag.
    Everything else in the file stays as it is.
    """
    path = file.absolute()
    text, kind = _read(path), kind or kind_of(str(path))
    try:
        found = [place for place in places(text, kind) if means(place, reference)]
    except WardianError as error:
        raise WardianError(f"{file}: {error.message}", hint=error.hint) from error
    if reference and not found:
        raise WardianError(f"{file} does not use {reference}", hint="look at how the file writes its name")
    with registries(workspace) as registry:
        pins = _pins(workspace, registry, found, reference)
    new = replaced(text, kind, _all(text, kind, pins))
    if not check and not dry_run and new != text:
        _write(path, new)
    _answer(workspace, file, pins, (text, new), check=check, dry_run=dry_run)
    return int(check and any(pin.after != pin.place.text for pin in pins))


def _pins(workspace: Workspace, registry: "Registry", found: "Sequence[Place]", reference: str | None) -> list[Pin]:
    """What each place shall say. A tag is asked for once."""
    said = tag_of(reference) if reference and ":" in reference.rpartition("/")[2].partition("@")[0] else None
    digests: dict[str, str] = {}
    pins = []
    for place in found:
        if is_variable(place):
            pins.append(Pin(place, None))
            continue
        tag = said or tag_of(place.text)
        if tag is None:  # a digest alone: there is no tag that could have moved
            pins.append(Pin(place, place.text))
            continue
        bare = written(place.text, tag, "").rstrip("@")
        if bare not in digests:
            where = source(workspace, bare)
            with asked_for(workspace, bare):
                digests[bare] = where.of(registry).manifest(where.reference)[0].digest
        pins.append(Pin(place, written(place.text, tag, digests[bare])))
    return pins


def _all(text: str, kind: str, pins: Sequence[Pin]) -> list[Pin]:
    """The pins among all places of the file, which stay as they are."""
    known = {pin.place.start: pin for pin in pins}
    return [known.get(place.start, Pin(place, None)) for place in places(text, kind)]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SpecError(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8: byte {error.start}") from error
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """Replace the file at once, with the mode and the owner that it had; a link stays a link."""
    from wardian.store.files import write_file

    target = path.resolve()
    before = target.stat()
    write_file(target, text.encode(), scratch=target.parent, mode=before.st_mode & 0o7777)
    if os.geteuid() == 0:
        os.chown(target, before.st_uid, before.st_gid)


def _answer(
    workspace: Workspace, file: Path, pins: Sequence[Pin], texts: tuple[str, str], *, check: bool, dry_run: bool
) -> None:
    changed = texts[0] != texts[1]
    lines = [f"{file}:{pin.place.line}: {_said(pin, check=check)}" for pin in pins]
    for pin in pins:
        if pin.after is None:
            workspace.console.note(
                f"{file}:{pin.place.line}: {pin.place.text} is only known when it is used: not pinned"
            )
    if dry_run and changed:
        before, after = (text.splitlines(keepends=True) for text in texts)
        lines = ["".join(unified_diff(before, after, fromfile=str(file), tofile=str(file))).rstrip("\n")]
    data = [
        {"line": pin.place.line, "reference": pin.place.text, "pinned": pin.after, "state": _state(pin)} for pin in pins
    ]
    text = "\n".join(lines) or f"{file} uses no image of a registry"
    workspace.console.answer(text, {"file": str(file), "written": changed and not (check or dry_run), "places": data})


def _state(pin: Pin) -> str:
    if pin.after is None:
        return "variable"
    if not pin.changes:
        return "pinned"
    return "old" if "@" in pin.place.text else "unpinned"


def _said(pin: Pin, *, check: bool) -> str:
    states = {
        "variable": f"{pin.place.text} is a variable",
        "pinned": f"{pin.after} is as it was",
        "old": f"{pin.place.text} is pinned to an older digest" if check else f"{pin.after}, before {pin.place.text}",
        "unpinned": f"{pin.place.text} is not pinned" if check else str(pin.after),
    }
    return states[_state(pin)]
