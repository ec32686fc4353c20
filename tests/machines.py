"""A store with a project beside it: a template on a machine of its own, locked and built once for all tests."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.stores import linked


@dataclasses.dataclass(frozen=True)
class Machine:
    """A store and the projects beside it, used by one person."""

    folder: Path
    name: str  # of the project
    python: tuple[str, ...] = (sys.executable,)
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self.folder / self.name

    @property
    def env(self) -> dict[str, str]:
        """The whole environment of a command line."""
        return {**os.environ, "WARDIAN_HOME": str(self.folder / "store"), **self.extra}

    def run(
        self, *argv: str, at: Path | None = None, code: int | None = 0, stdin: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line; it must end with ``code``."""
        done = subprocess.run(
            [*self.python, "-m", "wardian", *argv],
            cwd=at or self.project,
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, (
            f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def json(self, *argv: str, at: Path | None = None) -> Any:
        """The answer of a command line."""
        return json.loads(self.run(*argv, "--json", at=at).stdout)

    def layers(self, image: str) -> list[str]:
        """The digests of an image's layers, from the bottom up."""
        return [layer["digest"] for layer in self.json("tree", image)["layers"]]

    def copied(self, folder: Path) -> "Machine":
        """The same, to be changed: the files of the store are linked, those of the project are not."""
        linked(self.folder, folder)
        for path in (folder / self.name).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content)
        return dataclasses.replace(self, folder=folder)


def made(
    folder: Path,
    source: Path,
    template: str,
    name: str,
    *,
    files: Mapping[str, str] | None = None,
    first: str = "",
) -> Machine:
    """A machine that has locked and built a template, in a store that begins as ``source``; made once for all workers.

    ``first`` is run in it to warm up.
    """
    machine = Machine(folder, name)
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            linked(source, folder / "store")
            machine.run("init", "--template", template, name, at=folder)
            for file, text in (files or {}).items():
                (machine.project / file).write_text(text)
            machine.run("lock")
            machine.run("build")
            if first:
                machine.run("run", "--", "python", "-c", first)
            (folder / "done").touch()
    return machine


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)
