"""Eight images of one family: a common one with the big wheels, and seven that add a small one each."""

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from contestants import Wardian
from indexes import Served
from measure import run
from wardian.hosts.machine import read_machine

BASE = "bench/family-base:latest"
_CA = "/etc/ssl/certs/of-the-machine.crt"
_FROM = re.compile(r"^FROM \S*bench/base\S*@sha256:[0-9a-f]+", re.MULTILINE)


def family(
    ours: Wardian, served: Served, scratch: Path, *, repetitions: int, common: Sequence[str], small: Sequence[str]
) -> dict[tuple[str, str, str], list[float]]:
    """Build the family from the base and the lock, by us and by bake; each repetition begins without its layers.

    Bake reads what `wardian render bake` wrote. Only the base is called otherwise in it, and the network is the host's:
    Docker cannot find an image that was loaded by its digest, and no rendered file has this machine's settings.
    """
    project = scratch / "family"
    project.mkdir()
    tables = [f'[images.common]\nfrom = "bench/base:latest"\nrequirements = {json.dumps(list(common))}\n']
    tables += [f'[images.with-{name}]\nfrom = "@common"\nrequirements = ["{name}"]\n' for name in small]
    (project / "wardian.toml").write_text("\n".join(['[project]\nname = "family"\n', *tables]))
    ours.wardian("lock", at=project)
    ours.wardian("render", "bake", "-o", "docker", at=project)
    for file in (project / "docker").glob("Dockerfile.*"):
        file.write_text(_FROM.sub(f"FROM {BASE}", file.read_text()))
    file = project / "docker" / "docker-bake.json"
    document = json.loads(file.read_text())
    for target in document["target"].values():
        target["network"] = "host"  # where this machine's indexes are; `--set` cannot say it
    file.write_text(json.dumps(document))
    _base(served, scratch / "family-base")
    samples: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(repetitions):
        ours.fresh_home()
        mine = ours.wardian("build", at=project).seconds
        _docker("builder", "prune", "-af")
        words = ("buildx", "bake", "-f", "docker/docker-bake.json", "--allow=network.host", "--load")
        theirs = _docker(*words, at=project)
        samples.setdefault(("family", "time", "wardian"), []).append(mine)
        samples.setdefault(("family", "time", "docker buildx bake"), []).append(theirs)
    return samples


def _base(served: Served, context: Path) -> None:
    """The base with what this machine is set to."""
    machine = read_machine(os.environ)
    context.mkdir()
    lines = ["FROM bench/base:latest"]
    if machine.ca_bundle:
        shutil.copy(machine.ca_bundle, context / "ca.crt")
        lines.append(f"COPY ca.crt {_CA}")
    settings = served.environment(machine, _CA if machine.ca_bundle else None)
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in sorted(settings.items()) if value]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    _docker("build", "-q", "-t", BASE, str(context))


def _docker(*words: str, at: Path | None = None) -> float:
    return run(["docker", *words], env=dict(os.environ), cwd=at, watch=False).seconds
