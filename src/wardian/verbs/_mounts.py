"""Mounts looked at before they are believed, and written down: what the verbs of `mount` share."""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardian.command import Command
from wardian.errors import Fault, SpecError, Unavailable, WardianError
from wardian.hosts.checkout import is_namespace, package, unusable
from wardian.hosts.session import caller
from wardian.plan.containers import Bind
from wardian.plan.mounts import SITE, Sites, absolute, bind, package_of, site
from wardian.spec import toml
from wardian.spec.local import changed
from wardian.spec.models import Mount
from wardian.store.files import write_file
from wardian.verbs._choose import Chosen, choose, wrong
from wardian.workspace import LOCAL, Workspace

if TYPE_CHECKING:
    from wardian.store.contents import Contents


@dataclass(frozen=True)
class Against:
    """The image that mounts are compared with; ``why``: there is none."""

    workspace: Workspace
    image: Chosen | None
    why: str = ""

    @cached_property
    def sites(self) -> Sites:
        """Its folders of installed packages. The first time reads all its layers."""
        from wardian.store.sites import sites

        workspace = self.workspace
        return sites(workspace.store, self.image.digest, workspace.console.note) if self.image else {}

    @cached_property
    def contents(self) -> "Contents":
        """All that is in it. Reads all its layers."""
        from wardian.store.listing import laid

        assert self.image
        return laid(self.workspace.store, self.image.digest)

    def imports(self, distribution: str) -> tuple[str, ...]:
        """What one imports of a distribution in it."""
        from wardian.store.sites import imports

        return imports(self.workspace.store, self.image.digest, distribution) if self.image else ()


@dataclass(frozen=True)
class Verdict:
    """One mount, what it is as a bind (None: not known), what forbids it, and what one should know."""

    name: str
    mount: Mount
    bind: Bind | None
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """In a word."""
        return "wrong" if self.faults else "on" if self.mount.on else "off"

    def to_json(self) -> dict[str, Any]:
        """All that is known, as JSON."""
        bound = self.bind
        return {
            "state": self.state,
            "enabled": self.mount.on,
            "source": bound.source if bound else self.mount.source,
            "target": bound.target if bound else self.mount.target,
            "written": {"source": self.mount.source, "target": self.mount.target},
            "read_only": self.mount.read_only,
            "cluster": {"path": self.mount.cluster.path, "sync": self.mount.cluster.sync},
            "faults": [str(fault) for fault in self.faults],
            "notes": list(self.notes),
        }


def against(workspace: Workspace, named: str | None) -> Against:
    """The image that is named, else the one that `run` would take, if it is there."""
    try:
        return Against(workspace, choose(workspace, named))
    except WardianError as error:
        if named:
            raise
        return Against(workspace, None, error.message)


def known(workspace: Workspace, name: str) -> Mount:
    """A mount of the project. Raises ``SpecError`` with the one that was probably meant."""
    mounts = workspace.spec.mounts
    if name in mounts:
        return mounts[name]
    raise SpecError(f"there is no mount {name!r}", hint=meant(mounts, name))


def meant(mounts: Mapping[str, Mount], name: str) -> str:
    """What to do about a name that no mount has."""
    from difflib import get_close_matches

    if near := get_close_matches(name, mounts, n=1):
        return f"did you mean {near[0]}?"
    new = f"for a new one, type: wardian mount set {name} PATH --target {SITE}PACKAGE (or an absolute path)"
    return f"there is: {', '.join(mounts)}; {new}" if mounts else new


def examine(name: str, mount: Mount, image: Against) -> Verdict:
    """Look at one mount, on or off. One that is off and has no source is fine."""
    workspace = image.workspace
    if mount.source is None and not mount.on:
        return Verdict(name, mount, None)
    config = image.image.config if image.image else {}
    try:
        blind = image.image is None and package_of(mount.target) is not None
        asked = mount.model_copy(update={"target": f"/{mount.target}"}) if blind else mount
        needed = {} if blind or package_of(mount.target) is None or site(config) else image.sites
        found = bind(name, asked, config, needed, root=str(workspace.root), home=caller().home)
        found = replace(found, target=mount.target) if blind else found
    except SpecError as error:
        return Verdict(name, mount, None, tuple(error.faults))
    place = f"mounts.{name}"
    faults = [Fault(place, why, hint=hint) for why, hint in wrong(found, workspace.home)]
    notes: list[str] = []
    if not faults:
        faults += [Fault(place, why, hint=hint) for why, hint in _package(name, mount, Path(found.source))]
        notes += _source_notes(mount, Path(found.source))
    return Verdict(name, mount, found, tuple(faults), tuple(notes))


def compared(verdict: Verdict, image: Against) -> Verdict:
    """The verdict, with what the image has at the target."""
    mount, found = verdict.mount, verdict.bind
    if verdict.faults or found is None:
        return verdict
    if image.image is None:
        return replace(verdict, notes=(*verdict.notes, f"not compared with an image: {image.why}"))
    wanted = package_of(mount.target)
    if wanted is not None:
        top = wanted.partition("/")[0]
        names = image.sites.get(found.target.removesuffix(f"/{wanted}"), ())
        if top in names:
            return verdict
        note = f"the image has no {top}, so nothing is overridden{_instead(top, image)}"
        return replace(verdict, notes=(*verdict.notes, note))
    there = image.contents.resolve(found.target.strip("/"))
    if there is None:
        return replace(verdict, notes=(*verdict.notes, f"the image has nothing at {found.target}"))
    folder = there == "" or image.contents.entries[there].entry.kind == "dir"
    if folder == Path(found.source).is_dir():
        return verdict
    kinds = ("a folder", "a file") if folder else ("a file", "a folder")
    why = f"{found.target} is {kinds[0]} in the image, and {found.source} is {kinds[1]}"
    return replace(verdict, faults=(Fault(f"mounts.{verdict.name}", why, hint="give one of the same kind"),))


def _instead(name: str, image: Against) -> str:
    tops = [top for top in image.imports(name) if top != name]
    return f"; the distribution {name} is imported as {', '.join(tops)}" if tops else ""


def among(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts, with what is wrong between mounts that are on: two at one target; and one in another, as a note."""
    found = []
    on = [one for one in verdicts if one.mount.on and one.bind]
    for one in verdicts:
        if one in on and one.bind:
            others = [(other.name, other.bind.target) for other in on if other.bind and other.name != one.name]
            same = [name for name, target in others if target == one.bind.target]
            outer = [name for name, target in others if one.bind.target.startswith(target.rstrip("/") + "/")]
            faults = [Fault(f"mounts.{one.name}", f"is at {one.bind.target}, and so is {name}") for name in same]
            notes = [f"lies in the mount {name}" for name in outer]
            found.append(replace(one, faults=(*one.faults, *faults), notes=(*one.notes, *notes)))
        else:
            found.append(one)
    return found


def _package(name: str, mount: Mount, source: Path) -> Iterator[tuple[str, str]]:
    """Whether a source for an installed package is that package, and not the checkout around it."""
    wanted = package_of(mount.target)
    if wanted is None:
        return
    try:
        found = package(source, wanted)
    except SpecError as error:
        yield from ((fault.message, fault.hint or "") for fault in error.faults)
        return
    if found != source:
        yield f"{source} is not the package {wanted} but holds it", f"type: wardian mount set {name} {source}"


def _source_notes(mount: Mount, source: Path) -> Iterator[str]:
    if package_of(mount.target) and is_namespace(source):
        yield "it has no __init__.py: a namespace package"
    if source.is_symlink():
        yield f"it is a symbolic link, now to {source.resolve()}"
    if not mount.read_only and not source.is_socket() and not os.access(source, os.W_OK):
        yield f"you may not write to it: it belongs to uid {source.stat().st_uid}"


def stored(workspace: Workspace, path: Path) -> str:
    """A path as the local file has it: relative to the project within it, absolute elsewhere."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SpecError(f"{str(path)!r} is not UTF-8, which TOML is", hint="mount a symbolic link to it") from None
    inside = path.is_relative_to(workspace.root) and path != workspace.root
    text = str(path.relative_to(workspace.root)) if inside else str(path)
    return (f"./{text}" if text.startswith("~") else text).replace("$", "$$")  # no variable, see spec.interpolate


def with_values(workspace: Workspace, name: str, values: Mapping[str, str | bool]) -> Mount:
    """The mount as it would be. Raises ``SpecError`` for values that cannot be, or that another source overrides."""
    key = toml.key(name)
    for value in values:
        origin = workspace.loaded.origin.get(f"mounts.{key}.{value}", "")
        if origin.startswith(("WARDIAN_", "--set")):
            raise SpecError(f"mounts.{key}.{value} is set by {origin}, which wins over {LOCAL}")
    settings = tuple(f"mounts.{key}.{one}={toml.value(value)}" for one, value in values.items())
    return replace(workspace, settings=(*workspace.settings, *settings)).spec.mounts[name]


def write(workspace: Workspace, name: str, values: Mapping[str, str | bool]) -> None:
    """Put values of a mount into the local file: whole or not at all, one writer at a time."""
    path = (workspace.root / LOCAL).resolve()
    folder = os.open(workspace.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        old = path.read_bytes().decode("utf-8") if path.exists() else ""
        new = changed(old, name, values)
        if new == old:
            return
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        write_file(path, new.encode(), scratch=path.parent, mode=mode)
    except OSError as error:
        raise WardianError(f"{path} cannot be written: {error.strerror}", hint="nothing was changed") from error
    finally:
        os.close(folder)
    if not _ignored(workspace):
        workspace.console.note(f"git does not ignore {LOCAL}, which is yours alone: add it to .gitignore")


def _ignored(workspace: Workspace) -> bool:
    """Whether git leaves the local file alone. Where there is no repository, nobody can commit it."""
    try:
        asked = workspace.host.run(Command(("git", "check-ignore", "-q", LOCAL), cwd=str(workspace.root)))
    except Unavailable:
        return True
    return asked.code != 1  # 128: no repository


def typed(path: str) -> Path:
    """A path that was typed: relative ones start at the current folder. Raises ``SpecError`` when it cannot be used."""
    found = Path(absolute(path, os.getcwd(), caller().home))  # noqa: PTH109 - a string is wanted
    if not path or (why := unusable(found)):
        said = f"{found} {why}" if path else "the path is empty"
        raise SpecError([Fault("", said, hint="nothing was changed")])
    return found
