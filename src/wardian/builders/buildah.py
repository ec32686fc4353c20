"""System steps by Podman's Buildah, as root or as a plain user.

Source: podman-build(1). Buildah before 1.33 takes no heredocs, and what a build mounts stays in the layer as an empty
file: the Dockerfile has none, and the places are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wardian.builders import instruction, steps
from wardian.builders.base import Beneath, Site
from wardian.builders.instruction import Build
from wardian.plan.layers import Apt, RunStep
from wardian.store.store import LayerRecord

_ENGINES = ("STEP ", "COMMIT ", "--> ", "Successfully tagged ", "Error: ", "time=")


@dataclass(frozen=True, slots=True)
class Buildah:
    """How it is asked."""

    program: str = "podman"
    asks: tuple[tuple[str, ...], ...] = (("version", "--format", "{{.Client.Version}}"), ("info",))

    def build(self, build: Build) -> tuple[str, ...]:
        """Without its own layers one instruction is one layer on top of what lies beneath."""
        contexts = [f"--build-context={name}={folder}" for name, folder in build.contexts.items()]
        return (
            *("build", "--no-cache", "--layers=false", "--pull=never", "--format=docker"),
            *(f"--platform={build.platform}", f"--network={build.network}"),
            *(f"--secret=id=environment,src={build.secret.name}", *contexts),
            *(f"--add-host={host}" for host in build.hosts),
            *("--tag", build.name, build.context.name),
        )

    def save(self, name: str, target: str) -> tuple[str, ...]:
        """Layers are not compressed in it."""
        return ("save", "--quiet", "--format=docker-archive", "--output", target, name)

    def line(self, said: str) -> str | None:
        """Everything but what Buildah says of its progress."""
        return None if said.startswith(_ENGINES) else said


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
    return instruction.execute(Buildah(), layer, step, beneath, site, work=work, say=say)
