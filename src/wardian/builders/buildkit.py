"""System steps by Docker's BuildKit. Needs buildx; the daemon's own builder is enough.

Source: https://docs.docker.com/reference/cli/docker/buildx/build/
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wardian.builders import instruction, steps
from wardian.builders.base import Beneath, Site
from wardian.builders.instruction import Build
from wardian.plan.layers import Apt, RunStep
from wardian.store.store import LayerRecord

_OWN = re.compile(r"#\d+ \d+\.\d+ (.*)")  # what a step says with --progress=plain: "#7 1.234 text"


@dataclass(frozen=True, slots=True)
class BuildKit:
    """How it is asked."""

    program: str = "docker"
    asks: tuple[tuple[str, ...], ...] = (("buildx", "version"), ("version", "--format", "{{.Server.Version}}"))

    def build(self, build: Build) -> tuple[str, ...]:
        """Nothing is taken from a cache: the store is the cache."""
        contexts = [f"--build-context={name}={folder}" for name, folder in build.contexts.items()]
        return (
            *("buildx", "build", "--builder=default", "--progress=plain", "--no-cache", "--load"),
            *("--provenance=false", "--sbom=false", f"--platform={build.platform}", f"--network={build.network}"),
            *(f"--secret=id=environment,src={build.secret.name}", *contexts),
            *(f"--add-host={host}" for host in build.hosts),
            *("--tag", build.name, build.context.name),
        )

    def save(self, name: str, target: str) -> tuple[str, ...]:
        """A docker archive since 1.10."""
        return ("save", "--output", target, name)

    def line(self, said: str) -> str | None:
        """The step's own lines have a time."""
        found = _OWN.fullmatch(said)
        return found[1] if found else None


def apt(layer: Apt, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """Install exactly these packages."""
    return steps.apt(layer, beneath, site, say, execute)


def run(layer: RunStep, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """Execute one shell line."""
    return steps.run(layer, beneath, site, say, execute)


def execute(
    layer: Apt | RunStep, step: steps.Step, beneath: Beneath, site: Site, *, work: Path, say: Callable[[str], None]
) -> LayerRecord:
    """Run a step as a build."""
    return instruction.execute(BuildKit(), layer, step, beneath, site, work=work, say=say)
