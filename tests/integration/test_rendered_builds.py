"""Rendered Dockerfiles and bake files, built by Docker without Wardian: the same packages at the same versions."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines import Engine
from wardian.hosts.machine import read_machine

Wardian = Callable[..., Any]
CA = "/etc/ssl/certs/of-the-machine.crt"
PROJECT = """\
[project]
name = "family"

[images.base]
from = "bootstrap:debian:bookworm"
python = "3.11"
apt = ["tree"]

[images.train]
from = "@base"
requirements = ["tabulate==0.9.0"]
copy = [{ source = "a file.txt", target = "/data/a file.txt" }]
run = ["[ -f '/data/no' ] || echo 'its $HOME' >/said"]
env = { QUOTED = 'a "b" $HOME' }
workdir = "/work"
command = ["sh", "-c", "python -c 'import tabulate; print(tabulate.__version__)'; cat /said; tree --version; pwd"]

[images.dev]
from = "@train"
requirements = ["toolz==1.0.0"]
command = ["python", "-c", "import tabulate, toolz; print(toolz.__version__)"]
"""
SAID = ["0.9.0", "its $HOME", "/work"]


@pytest.fixture
def project(wardian: Wardian, with_base: Path, docker: Engine, tmp_path: Path) -> Path:
    """The locked family; Docker has a base under the name that a Dockerfile uses, set as this machine is."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "wardian.toml").write_text(PROJECT)
    (folder / "a file.txt").write_text("content")
    wardian("lock", cwd=folder)
    archive = tmp_path / "base.tar"
    wardian("export", "base/base:latest", "--format", "docker", "-o", str(archive), cwd=folder)
    docker.run("load", "--input", str(archive))
    machine = read_machine(os.environ)
    context = tmp_path / "context"
    context.mkdir()
    lines = ["FROM base/base:latest"]
    if machine.ca_bundle:
        (context / "ca.crt").write_bytes(Path(machine.ca_bundle).read_bytes())
        lines.append(f"COPY ca.crt {CA}")
    settings = machine.environment(CA if machine.ca_bundle else None)
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in settings.items() if "/opt/" not in value]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    docker.run("build", "--tag", "debian:bookworm-slim", str(context))
    return folder


def built(docker: Engine, folder: Path, *words: str) -> str:
    """Build as a user does, in the project's folder."""
    done = subprocess.run(
        ["docker", *words], cwd=folder, env=docker.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def test_a_rendered_dockerfile_is_built_by_docker(wardian: Wardian, project: Path, docker: Engine) -> None:
    wardian("render", "dockerfile", "train", "-o", "for docker", cwd=project)

    built(docker, project, "build", "--network=host", "-f", "for docker/Dockerfile", "-t", "family/train", ".")

    said = docker.run("run", "--rm", "family/train").stdout.splitlines()
    assert [*said[:2], said[-1]] == SAID
    env = docker.json("image", "inspect", "family/train")[0]["Config"]["Env"]
    assert 'QUOTED=a "b" $HOME' in env
    assert docker.run("run", "--rm", "family/train", "cat", "/data/a file.txt").stdout == "content"


def test_a_rendered_bake_file_builds_the_family(wardian: Wardian, project: Path, docker: Engine) -> None:
    wardian("render", "bake", "-o", "docker", cwd=project)

    shown = json.loads(built(docker, project, "buildx", "bake", "-f", "docker/docker-bake.json", "--print"))
    assert set(shown["target"]) == {"base", "train", "dev"}
    assert shown["target"]["dev"]["contexts"] == {"train": "target:train"}
    built(docker, project, "buildx", "bake", "-f", "docker/docker-bake.json", "--load")

    assert docker.run("run", "--rm", "family/dev:latest").stdout == "1.0.0\n"
    assert docker.run("run", "--rm", "family/train:latest").stdout.splitlines()[0] == "0.9.0"
    layers = [
        docker.json("image", "inspect", f"family/{name}:latest")[0]["RootFS"]["Layers"]
        for name in ("base", "train", "dev")
    ]
    assert layers[2][: len(layers[1])] == layers[1]
    assert layers[1][: len(layers[0])] == layers[0]
