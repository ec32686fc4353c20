"""A project and a store on a machine of its own, for whole builds as root or as a plain user."""

import dataclasses
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.people import Person, ourselves
from tests.rootfs import add_busybox
from wardian.store.store import Store

BASE = "demo/base:latest"


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder with a project and a store, and the person who uses them."""

    folder: Path
    person: Person = dataclasses.field(default_factory=ourselves)
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)
    umask: str = "022"

    @property
    def project(self) -> Path:
        """Where wardian.toml is."""
        return self.folder / "project"

    @property
    def store(self) -> Store:
        """The store, read by whoever runs the tests."""
        return Store(self.folder / "store")

    def words(self, *argv: str) -> list[str]:
        """The argument vector of a command line as this person, under their umask."""
        return ["sh", "-c", f'umask {self.umask}; exec "$@"', "sh", *self.person.python(), "-m", "wardian", *argv]

    def env(self) -> dict[str, str]:
        """The whole environment."""
        return {**os.environ, "WARDIAN_HOME": str(self.folder / "store"), **self.environ}

    def run(self, *argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command line; it must end with ``code``."""
        done = subprocess.run(
            self.words(*argv), cwd=self.project, env=self.env(), capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def build(self, *argv: str) -> dict[str, Any]:
        """Build, and read the answer."""
        found: dict[str, Any] = json.loads(self.run("build", "--json", *argv).stdout)
        return found

    def members(self, digest: str, at: int) -> dict[str, tarfile.TarInfo]:
        """The members of one layer of an image."""
        layer = self.store.manifest(digest).layers[at]
        with tarfile.open(self.store.path(layer.digest)) as archive:
            return {member.name: member for member in archive.getmembers()}


def write(place: Place, text: str, files: Mapping[str, str] | None = None) -> None:
    """Write the project's files, and give everything to its person."""
    place.project.mkdir(parents=True, exist_ok=True)
    for name, content in {"wardian.toml": text, **(files or {})}.items():
        path = place.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    place.person.own(place.folder)


def on_busybox(place: Place, lines: Sequence[str], extra: str = "") -> None:
    """A project whose one image runs some lines over a base of one megabyte; locked."""
    if place.store.resolve(BASE) is None:
        add_busybox(place.store, BASE)
    steps = json.dumps(list(lines), ensure_ascii=False)
    write(place, f'[project]\nname = "demo"\n\n[images.train]\nfrom = "{BASE}"\nrun = {steps}\n{extra}\n')
    place.run("lock")
