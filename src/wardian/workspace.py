"""What a verb works with: root, spec and lock, store, host, console. Built once, when the verb starts."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from wardian.console import Console
from wardian.errors import SpecError, Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.hosts.local import LocalHost

if TYPE_CHECKING:
    from wardian.lock.model import Lock
    from wardian.spec.load import Loaded
    from wardian.spec.matrix import Variant
    from wardian.spec.models import Spec
    from wardian.spec.sources import Source
    from wardian.store.store import Store, Tagged

FILE = "wardian.toml"
LOCAL = "wardian.local.toml"
LOCK = "wardian.lock"
TABLE = re.compile(r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*wardian\b", re.MULTILINE)


@dataclass(frozen=True)
class Workspace:
    """Everything a verb may touch. ``root`` is the folder that holds the project's file, or the current folder."""

    root: Path
    environ: Mapping[str, str]
    console: Console
    host: Host
    settings: tuple[str, ...] = field(default=())  # --set KEY=VALUE, in order
    start: Path = field(default=Path())  # where the search for ``root`` began

    @cached_property
    def home(self) -> Path:
        """The store's folder: ``WARDIAN_HOME``, or the platform's data folder."""
        if named := self.environ.get("WARDIAN_HOME"):
            return Path(named).absolute()
        from platformdirs import user_data_path

        try:
            return user_data_path("wardian")
        except RuntimeError as error:
            raise Unavailable(
                "this user has no home folder for the store", hint="set WARDIAN_HOME to a folder"
            ) from error

    @cached_property
    def state(self) -> Path:
        """The project's runs: ``.wardian`` beside its file."""
        return self.root / ".wardian"

    @cached_property
    def loaded(self) -> "Loaded":
        """The merged configuration with provenance. Raises ``SpecError`` with every fault."""
        from wardian.spec.load import load

        return load(self._sources(), self.variables)

    @cached_property
    def shared(self) -> "Loaded":
        """The configuration without what belongs to one person or one machine: for files that others will use."""
        from wardian.spec.load import load

        return load([one for one in self._sources() if one.kind in ("default", "file", "flag")], self.variables)

    @property
    def spec(self) -> "Spec":
        """The validated project."""
        return self.loaded.spec

    @cached_property
    def images(self) -> "tuple[Variant, ...]":
        """Every variant of every image, parents first."""
        from wardian.spec.matrix import expand

        return expand(self.spec)

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """What ``${NAME}`` and ``env-pass`` may name: the environment over the project's ``.env``."""
        from wardian.spec.interpolate import dotenv

        values, faults = dotenv(_text(self.root / ".env") or "", self.environ)
        if faults:
            raise SpecError(faults)
        return {**values, **self.environ}

    @cached_property
    def lock(self) -> "Lock":
        """The lock as it is on disk; empty when there is none."""
        from wardian.lock.file import read

        path = self.root / LOCK
        return read(path.read_text(encoding="utf-8") if path.exists() else "", source=LOCK)

    @cached_property
    def store(self) -> "Store":
        """The image store."""
        from wardian.store.store import Store

        return Store(self.home)

    @cached_property
    def has_project(self) -> bool:
        """Whether there is a file; without one, images of the store can still be run."""
        return _has_file(self.root) and any(source.kind == "file" for source in self._sources())

    @property
    def repository(self) -> str | None:
        """What the references of this project's images start with; None outside a project."""
        return self.spec.project.repository if self.has_project else None

    def image(self, name: str) -> "Tagged":
        """The image in the store that is meant by an image or variant of this project, a reference or a digest."""
        from wardian.store.find import find

        try:
            variants, repository = self._variants(name), self.repository
        except SpecError as error:
            try:
                return find(self.store, name)  # a broken file is no reason not to look at what it does not name
            except WardianError:
                raise error from None
        if len(variants) > 1:
            listed = ", ".join(quote(variant.id) for variant in variants)
            raise SpecError(f"{name} has {len(variants)} variants", hint=f"type one of: {listed}")
        if variants:
            return self.built(variants[0])
        return find(self.store, name, repository, self.spec.images if repository else ())

    def built(self, variant: "Variant") -> "Tagged":
        """A variant's image in the store: the one of the lock as it is, else, with a note, an older one.

        Several may be of one lock, as when a setting and the tag were changed: the one with the file's tag is meant.
        """
        from wardian.plan.labels import OURS, lock_digest
        from wardian.spec.matrix import may_be
        from wardian.store.find import find

        prefix = f"{self.repository}/{variant.name}:"
        found = [entry for entry in self.store.references() if entry.reference.startswith(prefix)]
        locked = self.lock.images.get(variant.id)
        fresh = []
        for entry in found if locked else ():
            labels = self.store.config(entry.descriptor.digest).get("config", {}).get("Labels") or {}
            if locked and labels.get(f"{OURS}lock") == lock_digest(locked):
                fresh.append(entry)
        if fresh:
            tagged = ((tag, entry) for tag in variant.image.tags for entry in fresh)
            named = (entry for tag, entry in tagged if may_be(entry.reference.removeprefix(prefix), tag))
            return next(named, fresh[0])
        if not found or variant.axes:
            raise WardianError(f"image {variant.id} is not built", hint=f"type: wardian build {quote(variant.id)}")
        older = find(self.store, variant.name, self.repository)
        self.console.note(f"image {variant.id} was built from another lock; type: wardian build {quote(variant.id)}")
        return older

    def _variants(self, name: str) -> "tuple[Variant, ...]":
        """What an image's name, or a variant's, selects of this project."""
        if not self.has_project or not any(variant.name == name.partition("[")[0] for variant in self.images):
            return ()
        from wardian.spec.matrix import select

        return select(self.images, [name])

    def _sources(self) -> "list[Source]":
        """Where values come from, the weakest first."""
        from wardian.spec.sources import Source

        pyproject, own = _text(self.root / "pyproject.toml"), _text(self.root / FILE)
        within = pyproject is not None and TABLE.search(pyproject) is not None
        if within and own is not None:
            raise SpecError(f"both {FILE} and [tool.wardian] of pyproject.toml are here", hint="keep one of them")
        sources = [Source("pyproject.toml [project]", values=_defaults(pyproject), kind="default")] if pyproject else []
        if own is not None or within:
            sources.append(Source(FILE, own) if own is not None else Source("pyproject.toml", pyproject))
        if (user := self._user_configuration()) is not None:
            sources.append(user)
        if (local := _text(self.root / LOCAL)) is not None:
            sources.append(Source(LOCAL, local, kind="local"))
        sources.append(Source("environment", values=self.environ, kind="environment"))
        return [
            *sources,
            *(Source("--set", setting, kind="flag") for setting in self.settings),
        ]

    def _user_configuration(self) -> "Source | None":
        """This person's configuration: ``WARDIAN_CONFIG``, or ``wardian/config.toml`` in the platform's folder."""
        from wardian.spec.sources import Source

        named = self.environ.get("WARDIAN_CONFIG")
        if named:
            path = Path(named)
        else:
            from platformdirs import user_config_path

            try:
                path = user_config_path("wardian") / "config.toml"
            except RuntimeError:  # no home folder, no configuration in it
                return None
        content = _text(path)
        if content is None and named:
            raise SpecError(f"WARDIAN_CONFIG names {named}, which is not a file")
        return None if content is None else Source(str(path), content, kind="user")


def _text(path: Path) -> str | None:
    """A text file's content, or None when there is none."""
    try:
        return path.read_text(encoding="utf-8-sig") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path.name} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}") from error
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error


def _defaults(pyproject: str) -> dict[str, object]:
    """The project's name, when pyproject.toml tells it."""
    import tomllib

    try:
        name = tomllib.loads(pyproject).get("project", {}).get("name")
    except (tomllib.TOMLDecodeError, AttributeError):
        return {}
    return {"project": {"name": re.sub(r"[-_.]+", "-", name).lower()}} if isinstance(name, str) else {}


def find_root(start: Path) -> Path:
    """The nearest folder at or above ``start`` with a wardian.toml, or a pyproject.toml with ``[tool.wardian]``."""
    return next((folder for folder in (start, *start.parents) if _has_file(folder)), start)


def _has_file(folder: Path) -> bool:
    try:
        if (folder / FILE).exists():
            return True
        return TABLE.search((folder / "pyproject.toml").read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:  # none, or somebody else's, as above a folder of one's own
        return False


def open_workspace(*, project: str | None, as_json: bool, verbose: bool, settings: tuple[str, ...]) -> Workspace:
    """The workspace of this process."""
    console = Console(as_json=as_json, verbose=verbose)
    start = Path(project).absolute() if project else Path.cwd()
    if not start.is_dir():
        raise SpecError(f"{project} is not a folder", hint="-C names a project's folder")
    return Workspace(find_root(start), dict(os.environ), console, LocalHost(console.trace), settings, start)
