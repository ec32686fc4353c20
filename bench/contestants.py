"""Who builds the same image: Wardian, and a Dockerfile with uv or pip under BuildKit with cache mounts.

All start from the same base (Wardian's own, loaded into Docker), the same requirements, the same package indexes and
warm package caches; lock with hashes where the requirements are other ones; and end with the image in a registry on
loopback that already holds the base.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from indexes import Served
from measure import Ran, environment, run
from registries import Registry
from wardian.hosts.machine import read_machine

PREFIX = "/opt/env"
_UV = Path(sys.executable).with_name("uv")
BASE_PROJECT = '[project]\nname = "bench"\n\n[images.base]\nfrom = "bootstrap:debian:bookworm"\npython = "3.11"\n'


@dataclass(frozen=True, slots=True)
class Needed:
    """What one image needed: seconds of each step, bytes that the registry did not have, memory if it was watched."""

    lock: float
    build: float
    push: float  # 0 where the build pushes at once
    sent: int
    mebibytes: float = 0.0

    @property
    def seconds(self) -> float:
        """From the changed file to the image in the registry."""
        return self.lock + self.build + self.push


class Contestant(Protocol):
    """Builds and pushes the image of a set of requirements and a code file."""

    name: str

    def warm(self, requirements: Sequence[str]) -> None:
        """Fill the package caches with all that will be asked for."""
        ...

    def forget(self) -> None:
        """Forget every built layer but the base, keep the package caches; the registry holds the base alone."""
        ...

    def build(self, requirements: Sequence[str], code: str, *, watch: bool = False) -> Needed:
        """Build and push, after a lock when the requirements are other ones than before; ``watch`` the memory."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Wardian:
    """``wardian lock``, then ``wardian build --push``, or two commands where each is measured."""

    name = "wardian"

    def __init__(self, folder: Path, served: Served, *, at_once: bool = True) -> None:
        self._at_once = at_once
        self._folder, self._project = folder, folder / "project"
        self._warm, self.home = folder / "warm", folder / "home"
        self._registry = Registry(folder / "registry")
        self._env = environment(**served.environment(read_machine(os.environ)), WARDIAN_HOME=str(self.home))
        self._locked: tuple[str, ...] = ()

    def make_base(self) -> None:
        """Build the base image, which everybody starts from."""
        base = self._folder / "base"
        base.mkdir(parents=True)
        (base / "wardian.toml").write_text(BASE_PROJECT)
        self.wardian("lock", at=base)
        self.wardian("build", at=base)
        shutil.copytree(self.home, self._warm, symlinks=True)

    def warm(self, requirements: Sequence[str]) -> None:
        """Build an image once for its downloads; then keep only base and caches."""
        self.write(requirements, "")
        self.wardian("lock")
        self.wardian("build")
        for cache in ("downloads", "cache"):
            shutil.rmtree(self._warm / cache, ignore_errors=True)
            shutil.copytree(self.home / cache, self._warm / cache, symlinks=True, copy_function=os.link)

    def forget(self) -> None:
        """Start from the base and the downloads again."""
        self._locked = ()
        self.fresh_home()
        shutil.rmtree(self._project, ignore_errors=True)
        self._registry.start()
        self.wardian("push", "base", "--to", self._place, at=self._folder / "base")

    def fresh_home(self) -> None:
        """A store that holds the base and the downloads; made of links, because copying is not what is measured."""
        shutil.rmtree(self.home, ignore_errors=True)
        run(["cp", "-al", self._warm, self.home], env=self._env)

    def build(self, requirements: Sequence[str], code: str, *, watch: bool = False) -> Needed:
        """Lock when the requirements are other ones, as one does (``build`` says so); build and push."""
        self.write(requirements, code)
        before = self._registry.stored
        locked = None if self._locked == tuple(requirements) else self.wardian("lock", watch=watch)
        self._locked = tuple(requirements)
        built = self.wardian("build", *(["--push"] if self._at_once else []), watch=watch)
        pushed = None if self._at_once else self.wardian("push", watch=watch)
        return needed(locked, built, pushed, self._registry.stored - before)

    def export_base(self, target: Path) -> None:
        """Write the base as a docker archive."""
        self.wardian("export", "base", "--format", "docker", "-o", str(target), at=self._folder / "base")

    @property
    def pushed(self) -> str:
        """Where the image is in the registry."""
        return f"{self._place}/train:latest"

    @property
    def _place(self) -> str:
        return f"{self._registry.address}/bench"

    def close(self) -> None:
        """End the registry."""
        self._registry.stop()

    def write(self, requirements: Sequence[str], code: str) -> None:
        """Write the project: one image with these requirements and a code file."""
        self._project.mkdir(parents=True, exist_ok=True)
        (self._project / "train.py").write_text(code)
        copy = '\ncopy = [{ source = "train.py", target = "/workspace/train.py" }]\n'
        self._write({"train": requirements}, copy)

    def write_many(self, images: Sequence[Sequence[str]]) -> None:
        """Write a project of several images."""
        self._project.mkdir(parents=True, exist_ok=True)
        self._write({f"train-{at}": requirements for at, requirements in enumerate(images)}, "\n")

    def _write(self, images: Mapping[str, Sequence[str]], rest: str) -> None:
        tables = [
            f'[images.{name}]\nfrom = "bench/base:latest"\nrequirements = {json.dumps(list(requirements))}{rest}'
            for name, requirements in images.items()
        ]
        project = f'[project]\nname = "bench-train"\nregistry = "{self._place}"\n'
        (self._project / "wardian.toml").write_text("\n".join([project, *tables]))

    @contextmanager
    def find_links(self, folder: Path) -> Iterator[None]:
        """Let the machine know one more folder of wheels."""
        before = self._env.get("PIP_FIND_LINKS")
        self._env["PIP_FIND_LINKS"] = f"{before or ''} {folder}".strip()
        yield
        del self._env["PIP_FIND_LINKS"]
        if before is not None:
            self._env["PIP_FIND_LINKS"] = before

    def wardian(self, *argv: str, at: Path | None = None, watch: bool = False) -> Ran:
        """Run one command line in the project."""
        return run([sys.executable, "-m", "wardian", *argv], env=self._env, cwd=at or self._project, watch=watch)


def needed(locked: Ran | None, built: Ran, pushed: Ran | None, sent: int) -> Needed:
    """What the steps needed together."""
    peak = max(step.mebibytes for step in (locked, built, pushed) if step)
    lock, push = (step.seconds if step else 0.0 for step in (locked, pushed))
    return Needed(lock, built.seconds, push, sent, peak)


class Docker:
    """``uv pip compile``, and a Dockerfile with one RUN for what that locked, then the code.

    Source: https://docs.astral.sh/uv/pip/compile/ and https://docs.astral.sh/uv/guides/integration/docker/
    """

    def __init__(
        self,
        folder: Path,
        installer: str,
        base: Path,
        environ: Mapping[str, str],
        served: Served,
        *,
        program: str = "docker",
    ) -> None:
        self.name, self._program = f"{program}+{installer}", program
        self._installer, self._folder, self._base, self._served = installer, folder, base, served
        self._env, self._machine = {**os.environ, **environ}, read_machine(os.environ)
        self._daemons = [int(Path(environ["DOCKERD_PIDFILE"]).read_text())] if program == "docker" else []
        self._registry = Registry(folder / "registry")
        self._image = f"{self._registry.address}/{installer}"
        self._context = folder / "context"
        self._locked: tuple[str, ...] = ()

    def warm(self, requirements: Sequence[str]) -> None:
        """Load the base, add the installer to it, and fill the cache mount."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._docker("load", "-i", str(self._base))
        tools = self._folder / "tools"
        tools.mkdir(exist_ok=True)
        shutil.copy(_UV, tools / "uv")
        lines = ["FROM bench/base:latest", "COPY uv /usr/local/bin/uv"]
        seed = "--seed" if self._installer == "pip" else ""
        lines += [self._run_line(f"uv venv --clear {seed} --python /usr/bin/python3.11 {PREFIX}")]
        (tools / "Dockerfile").write_text(
            "\n".join([*lines, f"ENV PATH={PREFIX}/bin:/usr/local/bin:/usr/bin:/bin"]) + "\n"
        )
        self._docker("build", *self._options, "-t", self._base_name, str(tools))
        self._context.mkdir(exist_ok=True)
        self._lock(requirements)
        self._build("")

    def forget(self) -> None:
        """Drop the build cache (not the cache mounts) and the image; push the base to an empty registry."""
        self._locked = ()
        (self._context / "requirements.txt").unlink(missing_ok=True)
        self._docker("rmi", "-f", f"{self._image}:latest", check=False)
        if self._program == "docker":
            self._docker("builder", "prune", "-af", "--filter", "type=regular")
            self._docker("builder", "prune", "-af", "--filter", "type=source.local")
        self._registry.start()
        self._docker("tag", self._base_name, f"{self._image}:base")
        self._docker("push", "-q", *self._plain, f"{self._image}:base")

    def build(self, requirements: Sequence[str], code: str, *, watch: bool = False) -> Needed:
        """Lock when the requirements are other ones; build and push."""
        before = self._registry.stored
        locked = None if self._locked == tuple(requirements) else self._lock(requirements, watch=watch)
        self._locked = tuple(requirements)
        built = self._build(code, watch=watch)
        pushed = self._docker("push", "-q", *self._plain, self.image, watch=watch)
        return needed(locked, built, pushed, self._registry.stored - before)

    @property
    def image(self) -> str:
        """The image's name, which is also where it is pushed."""
        return f"{self._image}:latest"

    @property
    def _plain(self) -> list[str]:
        """Docker knows by itself that loopback has no TLS."""
        return [] if self._program == "docker" else ["--tls-verify=false"]

    def close(self) -> None:
        """End the registry."""
        self._registry.stop()

    @property
    def _base_name(self) -> str:
        return f"bench/tools-{self._installer}:latest"

    def _lock(self, requirements: Sequence[str], *, watch: bool = False) -> Ran:
        """Requirements → versions and hashes for the image's Python; what is locked already stays."""
        (self._context / "requirements.in").write_text("\n".join(requirements) + "\n")
        words = ["-q", "--generate-hashes", "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36"]
        settings = self._served.environment(self._machine)
        env = {**self._env, **settings, "UV_CACHE_DIR": str(self._folder / "uv-cache")}
        argv = [str(_UV), "pip", "compile", *words, "requirements.in", "-o", "requirements.txt"]
        return run(argv, env=env, cwd=self._context, watch=watch)

    def _build(self, code: str, *, watch: bool = False) -> Ran:
        (self._context / "train.py").write_text(code)
        install = {
            "uv": f"uv pip sync --require-hashes --python {PREFIX}/bin/python /requirements.txt",
            "pip": f"{PREFIX}/bin/pip install --no-deps --require-hashes -r /requirements.txt",
        }[self._installer]
        lines = [f"FROM {self._base_name}", "COPY requirements.txt /requirements.txt", self._run_line(install)]
        (self._context / "Dockerfile").write_text("\n".join([*lines, "COPY train.py /workspace/train.py"]) + "\n")
        return self._docker("build", *self._options, "-t", f"{self._image}:latest", str(self._context), watch=watch)

    def _run_line(self, command: str) -> str:
        """A RUN with both caches mounted, and what the machine's owner configured, none of which stays in the image."""
        mounts = [f"--mount=type=cache,target=/root/.cache/{name}" for name in ("uv", "pip")]
        if self._machine.ca_bundle:
            mounts.append("--mount=type=secret,id=ca,target=/run/ca.crt")
        settings = self._served.environment(self._machine, "/run/ca.crt" if self._machine.ca_bundle else None)
        words = " ".join(f"{name}='{value}'" for name, value in sorted(settings.items()))
        return f"RUN {' '.join(mounts)} {words} UV_LINK_MODE=copy PIP_ROOT_USER_ACTION=ignore {command}"

    @property
    def _options(self) -> list[str]:
        """The host's network (an index may be on loopback) and its certificates."""
        secret = [f"--secret=id=ca,src={self._machine.ca_bundle}"] if self._machine.ca_bundle else []
        return [*(["--progress=plain"] if self._program == "docker" else []), "--network=host", *secret]

    def _docker(self, *argv: str, check: bool = True, watch: bool = False) -> Ran:
        return run([self._program, *argv], env=self._env, also=self._daemons, check=check, watch=watch)
