"""What a verb works with: root, spec and lock, store, host, console. Built once, when the verb starts."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wardian.console import Console
from wardian.errors import SpecError, WardianError
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

        return user_data_path("wardian")

    @cached_property
    def state(self) -> Path:
        """The project's runs: ``.wardian`` beside its file."""
        return self.root / ".wardian"

    @cached_property
    def loaded(self) -> "Loaded":
        """The merged configuration with provenance. Raises ``SpecError`` with every fault."""
        from wardian.spec.load import load

        return load(self._sources(), self.variables)

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

    @property
    def repository(self) -> str | None:
        """What the references of this project's images start with; None outside a project."""
        from wardian.plan.images import repository_of

        if not any(source.kind == "file" for source in self._sources()):
            return None
        return repository_of(self.spec.project.name, self.spec.project.registry)

    def image(self, name: str) -> "Tagged":
        """The image in the store that is meant by a reference, a digest, or the name of an image of this project."""
        from wardian.store.find import find

        if "[" in name and (built := self._built(name)):
            return built
        try:
            repository = self.repository
        except SpecError as error:
            try:
                return find(self.store, name)  # a broken file is no reason not to look at what it does not name
            except WardianError:
                raise error from None
        return find(self.store, name, repository, self.spec.images if repository else ())

    def _built(self, variant: str) -> "Tagged | None":
        """The image that was built from the lock's entry for a variant."""
        from wardian.plan.labels import OURS, lock_digest
        from wardian.spec.matrix import select

        (chosen,) = select(self.images, [variant])
        locked = self.lock.images.get(chosen.id)
        for tagged in self.store.references() if locked else ():
            labels = self.store.config(tagged.descriptor.digest).get("config", {}).get("Labels") or {}
            if locked and labels.get(f"{OURS}lock") == lock_digest(locked):
                return tagged
        return None

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

            path = user_config_path("wardian") / "config.toml"
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
    for folder in (start, *start.parents):
        if (folder / FILE).exists():
            return folder
        project = folder / "pyproject.toml"
        if project.is_file() and TABLE.search(project.read_text(encoding="utf-8", errors="replace")):
            return folder
    return start


def open_workspace(*, project: str | None, as_json: bool, verbose: bool, settings: tuple[str, ...]) -> Workspace:
    """The workspace of this process."""
    console = Console(as_json=as_json, verbose=verbose)
    start = Path(project).absolute() if project else Path.cwd()
    if not start.is_dir():
        raise SpecError(f"{project} is not a folder", hint="-C names a project's folder")
    return Workspace(find_root(start), dict(os.environ), console, LocalHost(console.trace), settings, start)
