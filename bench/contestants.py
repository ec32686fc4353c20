"""Who builds the same image: Wardian, and a Dockerfile with uv or pip under BuildKit with cache mounts.

All start from the same base (Wardian's own, loaded into Docker), the same requirements and warm package caches, and end
with the image in a registry on loopback that already holds the base.
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

from measure import Ran, environment, run
from registries import Registry, Served
from wardian.hosts.machine import read_machine

PREFIX = "/opt/env"
BASE_PROJECT = '[project]\nname = "bench"\n\n[images.base]\nfrom = "bootstrap:debian:bookworm"\npython = "3.11"\n'


@dataclass(frozen=True, slots=True)
class Needed:
    """What one build and its push needed."""

    seconds: float
    build_seconds: float
    sent: int  # bytes that the registry did not have
    mebibytes: float


class Contestant(Protocol):
    """Builds and pushes the image of a set of requirements and a code file."""

    name: str

    def warm(self, requirements: Sequence[str]) -> None:
        """Fill the package caches with all that will be asked for."""
        ...

    def forget(self) -> None:
        """Forget every built layer but the base, keep the package caches; the registry holds the base alone."""
        ...

    def build(self, requirements: Sequence[str], code: str) -> Needed:
        """Build and push."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Wardian:
    """``wardian lock``, ``wardian build``, and ``skopeo copy`` as the push."""

    name = "wardian"

    def __init__(self, folder: Path) -> None:
        self._folder, self._project = folder, folder / "project"
        self._warm, self.home = folder / "warm", folder / "home"
        self._registry = Registry(folder / "registry")
        self._env = environment(WARDIAN_HOME=str(self.home))
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
        self._push("bench/base:latest")

    def fresh_home(self) -> None:
        """A store that holds the base and the downloads; made of links, because copying is not what is measured."""
        shutil.rmtree(self.home, ignore_errors=True)
        run(["cp", "-al", self._warm, self.home], env=self._env)

    def build(self, requirements: Sequence[str], code: str) -> Needed:
        """Build and push; lock before it when the requirements are other ones, as one does (``build`` says so)."""
        self.write(requirements, code)
        before = self._registry.stored
        steps = [self.wardian("lock")] if self._locked != tuple(requirements) else []
        self._locked = tuple(requirements)
        steps.append(self.wardian("build"))
        pushed = self._push("bench-train/train:latest")
        built = sum(step.seconds for step in steps)
        peak = max(step.mebibytes for step in [*steps, pushed])
        return Needed(built + pushed.seconds, built, self._registry.stored - before, peak)

    def export_base(self, target: Path) -> None:
        """Write the base as a docker archive."""
        self.wardian("export", "base", "--format", "docker", "-o", str(target), at=self._folder / "base")

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
        (self._project / "wardian.toml").write_text("\n".join(['[project]\nname = "bench-train"\n', *tables]))

    @contextmanager
    def find_links(self, folder: Path) -> Iterator[None]:
        """Let the machine know one more folder of wheels."""
        before = self._env.get("PIP_FIND_LINKS")
        self._env["PIP_FIND_LINKS"] = " ".join([*read_machine(os.environ).find_links, str(folder)])
        yield
        del self._env["PIP_FIND_LINKS"]
        if before is not None:
            self._env["PIP_FIND_LINKS"] = before

    def _push(self, reference: str) -> Ran:
        target = f"docker://{self._registry.address}/{reference.split(':')[0]}:latest"
        source = f"oci:{self.home}:{reference}"
        return run(["skopeo", "copy", "-q", "--dest-tls-verify=false", source, target], env=self._env)

    def wardian(self, *argv: str, at: Path | None = None) -> Ran:
        """Run one command line in the project."""
        return run([sys.executable, "-m", "wardian", *argv], env=self._env, cwd=at or self._project)


class Docker:
    """A Dockerfile with one RUN for the requirements, then the code: what most projects have."""

    def __init__(self, folder: Path, installer: str, base: Path, environ: Mapping[str, str]) -> None:
        self.name = f"docker+{installer}"
        self._installer, self._folder, self._base = installer, folder, base
        self._env, self._machine = {**os.environ, **environ}, read_machine(os.environ)
        self._daemon = int(Path(environ["DOCKERD_PIDFILE"]).read_text())
        self._registry, self._served = Registry(folder / "registry"), Served(self._machine.folders)
        self._image = f"{self._registry.address}/{installer}"

    def warm(self, requirements: Sequence[str]) -> None:
        """Load the base, add the installer to it, and fill the cache mount."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._docker("load", "-i", str(self._base))
        tools = self._folder / "tools"
        tools.mkdir(exist_ok=True)
        shutil.copy(Path(sys.executable).with_name("uv"), tools / "uv")
        lines = ["FROM bench/base:latest", "COPY uv /usr/local/bin/uv"]
        lines += [self._run_line(f"uv venv --clear --seed --python /usr/bin/python3.11 {PREFIX}")]
        (tools / "Dockerfile").write_text(
            "\n".join([*lines, f"ENV PATH={PREFIX}/bin:/usr/local/bin:/usr/bin:/bin"]) + "\n"
        )
        self._docker("build", *self._options, "-t", self._base_name, str(tools))
        self._build(requirements, "")

    def forget(self) -> None:
        """Drop the build cache (not the cache mounts) and the image; push the base to an empty registry."""
        self._docker("rmi", "-f", f"{self._image}:latest", check=False)
        self._docker("builder", "prune", "-af", "--filter", "type=regular")
        self._docker("builder", "prune", "-af", "--filter", "type=source.local")
        self._registry.start()
        self._docker("tag", self._base_name, f"{self._image}:base")
        self._docker("push", "-q", f"{self._image}:base")

    def build(self, requirements: Sequence[str], code: str) -> Needed:
        """Build and push."""
        before = self._registry.stored
        built = self._build(requirements, code)
        pushed = self._docker("push", "-q", f"{self._image}:latest")
        peak = max(built.mebibytes, pushed.mebibytes)
        return Needed(built.seconds + pushed.seconds, built.seconds, self._registry.stored - before, peak)

    def close(self) -> None:
        """End the registry and the folders' server."""
        self._registry.stop()
        self._served.stop()

    @property
    def _base_name(self) -> str:
        return f"bench/tools-{self._installer}:latest"

    def _build(self, requirements: Sequence[str], code: str) -> Ran:
        context = self._folder / "context"
        context.mkdir(exist_ok=True)
        (context / "requirements.txt").write_text("\n".join(requirements) + "\n")
        (context / "train.py").write_text(code)
        install = {
            "uv": f"uv pip install --python {PREFIX}/bin/python -r /requirements.txt",
            "pip": f"{PREFIX}/bin/pip install -r /requirements.txt",
        }[self._installer]
        lines = [f"FROM {self._base_name}", "COPY requirements.txt /requirements.txt", self._run_line(install)]
        (context / "Dockerfile").write_text("\n".join([*lines, "COPY train.py /workspace/train.py"]) + "\n")
        return self._docker(
            "build",
            *self._options,
            "-t",
            f"{self._image}:latest",
            str(context),
        )

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
        return ["--progress=plain", "--network=host", *secret]

    def _docker(self, *argv: str, check: bool = True) -> Ran:
        return run(["docker", *argv], env=self._env, also=[self._daemon], check=check)
