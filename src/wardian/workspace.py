"""What a verb works with: root, spec and lock, store, host, console. Built once, when the verb starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wardian.console import Console
from wardian.hosts.base import Host
from wardian.hosts.local import LocalHost

if TYPE_CHECKING:
    from wardian.lock.model import Lock
    from wardian.spec.load import Loaded
    from wardian.spec.models import Spec
    from wardian.store.store import Store

FILE = "wardian.toml"
LOCAL = "wardian.local.toml"
LOCK = "wardian.lock"


@dataclass(frozen=True)
class Workspace:
    """Everything a verb may touch. ``root`` is the folder that holds the project's file, or the current folder."""

    root: Path
    environ: Mapping[str, str]
    console: Console
    host: Host
    settings: tuple[str, ...] = field(default=())  # --set KEY=VALUE, in order

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

        return load(self._sources())

    @property
    def spec(self) -> "Spec":
        """The validated project."""
        return self.loaded.spec

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

    def _sources(self) -> "list[object]":
        raise NotImplementedError


def find_root(start: Path) -> Path:
    """The nearest folder at or above ``start`` with a wardian.toml, or a pyproject.toml with ``[tool.wardian]``."""
    for folder in (start, *start.parents):
        if (folder / FILE).exists():
            return folder
        project = folder / "pyproject.toml"
        if project.exists() and "[tool.wardian" in project.read_text(encoding="utf-8", errors="replace"):
            return folder
    return start


def open_workspace(*, project: str | None, as_json: bool, verbose: bool, settings: tuple[str, ...]) -> Workspace:
    """The workspace of this process."""
    console = Console(as_json=as_json, verbose=verbose)
    start = Path(project).absolute() if project else Path.cwd()
    return Workspace(find_root(start), dict(os.environ), console, LocalHost(console.trace), settings)
