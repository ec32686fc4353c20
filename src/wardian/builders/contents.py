"""What the planner must be told from files: pylocks, files that are copied, the project's code, its revision."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wardian.builders.tree import Tree
from wardian.command import Command
from wardian.errors import Fault, LockStale, SpecError, Unavailable
from wardian.hosts.base import Host
from wardian.hosts.machine import Machine
from wardian.lock.model import Lock, LockedImage
from wardian.lock.pylock import GLIBC, glibc_of, normalised, wheels
from wardian.lock.wheel import Wheel
from wardian.plan.config import CA_BUNDLE
from wardian.plan.images import Content
from wardian.plan.layers import Code, Entry
from wardian.spec.matrix import Variant

# What stands beside the code and is no part of it: the lock, and what builds of the project leave.
_MADE = re.compile(r"/(?:wardian\.(?:toml|lock)|pylock\.[^/]*toml|(?:build|dist|[^/]+\.egg-info)(?:/|$))")
_DEBIAN_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Gathering:
    """Reads a project once for all of its images. ``left_out`` names the secrets that no image gets."""

    root: Path
    host: Host
    machine: Machine
    left_out: list[str] = field(default_factory=list)

    def gather(self, variants: Sequence[Variant], lock: Lock) -> dict[str, Content]:
        """The content of each variant. Raises ``SpecError`` with all that is wrong, ``LockStale`` without a pylock."""
        faults: list[Fault] = []
        found: dict[str, Content] = {}
        for variant in variants:
            try:
                found[variant.id] = self._content(variant, lock.images[variant.id])
            except SpecError as error:
                faults += [fault for fault in error.faults if fault not in faults]
        if faults:
            raise SpecError(faults)
        return found

    def _content(self, variant: Variant, locked: LockedImage) -> Content:
        image = variant.image
        pylock = self._pylock(variant, locked)
        copies = tuple(
            (
                f"copy {copy.source} → {copy.target}",
                self.tree.copied(copy.source, copy.target, place=f"images.{variant.name}.copy[{at}]"),
            )
            for at, copy in enumerate(image.copy_)
        )
        code = self._code(variant) if image.project != "none" else None
        return Content(
            pylock=pylock,
            wheels=self._wheels(variant, locked, pylock),
            copies=copies,
            code=code,
            ca=self._bundle() if image.ca else None,
            revision=self.revision if code or copies else None,
            glibc=glibc_of(pylock, source=locked.pylock or "") if image.project == "wheel" and pylock else GLIBC,
        )

    @cached_property
    def tree(self) -> Tree:
        """The project's files that may enter an image."""
        tree = Tree.open(self.root)
        return Tree(tree.root, tree.rules, self.left_out)

    @cached_property
    def revision(self) -> str | None:
        """The commit that is checked out, with ``-dirty`` when files differ from it; None outside a repository."""
        try:
            head = self.host.run(Command(("git", "-C", str(self.root), "rev-parse", "--verify", "HEAD")))
            status = ("git", "-C", str(self.root), "status", "--porcelain", "--", ".")
            if head.code:
                return None
            dirty = self.host.run(Command(status))
        except Unavailable:
            return None
        return head.stdout.decode().strip() + ("-dirty" if dirty.code or dirty.stdout.strip() else "")

    def _pylock(self, variant: Variant, locked: LockedImage) -> str:
        if locked.pylock is None:
            return ""
        path = self.root / locked.pylock
        if not path.is_file():
            raise LockStale([f"{variant.id}: {locked.pylock} is missing"])
        return path.read_text(encoding="utf-8")

    def _wheels(self, variant: Variant, locked: LockedImage, pylock: str) -> tuple[Wheel, ...]:
        if not pylock or not locked.python:
            return ()
        platform = variant.image.platform
        return wheels(
            pylock,
            python=locked.python,
            platform=platform,
            built=locked.built,
            inherited=locked.inherited,
            source=locked.pylock or "pylock.toml",
        )

    def _bundle(self) -> Entry:
        path = Path(self.machine.ca_bundle) if self.machine.ca_bundle else _DEBIAN_BUNDLE
        if not path.is_file():
            raise Unavailable(
                f"ca = true, but this machine has no CA bundle at {path}",
                hint="type: sudo apt-get install ca-certificates",
            )
        with path.open("rb") as file:
            return Entry(CA_BUNDLE, "file", 0o644, hashlib.file_digest(file, "sha256").hexdigest(), str(path))

    # ── the project's code ─────────────────────────────────────────────────────────────────────────────────────────

    def _code(self, variant: Variant) -> Code:
        place = f"images.{variant.name}.project"
        text = self._pyproject(place)
        about = text.get("project", {})
        name = about.get("name")
        if not isinstance(name, str) or not name:
            raise SpecError([Fault(place, "pyproject.toml has no [project] with a name", hint='use project = "none"')])
        if variant.image.project == "editable":
            return self._editable(name, about, where(text))
        files = self.files
        if not any(entry.path == "/pyproject.toml" for entry in files):
            raise SpecError([Fault(place, "pyproject.toml is left out by git's or the project's ignore file")])
        content = [[entry.path, entry.kind, entry.mode, entry.digest] for entry in files]
        return Code(name, str(about.get("version", "")), _digest(content), files)

    def _pyproject(self, place: str) -> dict[str, Any]:
        path = self.root / "pyproject.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SpecError([Fault(place, "there is no pyproject.toml", hint='use project = "none"')]) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SpecError([Fault("", f"is not TOML: {error}", "pyproject.toml")]) from error

    @cached_property
    def files(self) -> tuple[Entry, ...]:
        """A clean copy of the project: what git tracks or would track; outside a repository, all that may enter."""
        copied = self.tree.copied(".", "/", place="project")
        entries = {entry.path: entry for entry in copied if entry.kind != "dir" and not _MADE.match(entry.path)}
        listing = ("git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        try:
            listed = self.host.run(Command(listing))
        except Unavailable:
            return tuple(entries.values())
        if listed.code:
            return tuple(entries.values())
        names = {f"/{name}" for name in listed.stdout.decode(errors="surrogateescape").split("\0") if name}
        return tuple(entry for path, entry in entries.items() if path in names)

    def _editable(self, name: str, about: Mapping[str, Any], where: tuple[str, ...]) -> Code:
        version = str(about.get("version", "0"))
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in about.get("dependencies", ())]
        if requires := about.get("requires-python"):
            lines.append(f"Requires-Python: {requires}")
        metadata = "\n".join(lines) + "\n"
        scripts = _entry_points(about)
        paths = where or (("src",) if self._src_layout(name) else (".",))
        return Code(
            name, version, _digest([metadata, scripts, paths]), paths=paths, metadata=metadata, entry_points=scripts
        )

    def _src_layout(self, name: str) -> bool:
        """Whether the packages lie in ``src``: they do not when one of the project's name lies at the top."""
        module = normalised(name).replace("-", "_")
        top = (self.root / module).is_dir() or (self.root / f"{module}.py").is_file()
        return (self.root / "src").is_dir() and not top


def where(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """The folders that setuptools is told to find packages in. Source: its "Configuring using pyproject.toml files".

    >>> where({"tool": {"setuptools": {"packages": {"find": {"where": ["source/robot"]}}}}})
    ('source/robot',)
    """
    place: Any = pyproject
    for name in ("tool", "setuptools", "packages", "find", "where"):
        place = place.get(name) if isinstance(place, Mapping) else None
    return tuple(place) if isinstance(place, list) and all(isinstance(one, str) for one in place) else ()


def _entry_points(about: Mapping[str, Any]) -> str:
    """entry_points.txt of ``[project.scripts]`` and its kin. Source: the entry points specification, file format."""
    groups = {"console_scripts": about.get("scripts", {}), "gui_scripts": about.get("gui-scripts", {})}
    groups |= about.get("entry-points", {})
    parts = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in sorted(values.items()))
        for group, values in sorted(groups.items())
        if values
    ]
    return "\n".join(parts)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()
