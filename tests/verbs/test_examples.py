"""Every example that a verb's help ends with is typed, in the order of a project's life."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.indexes import Index, make_wheel, serve
from wardian.main import VERBS, cli

FILE = """\
[project]
name = "lab"

[images.train]
from = "base/base:latest"
requirements = ["torch"]
workdir = "/workspace"

[images.train.tests]
"torch imports" = "python -c 'import torch'"

[images.dev]
from = "@train"
env = { DEV = "1" }

[run]
image = "train"
gpus = "none"

[services.board]
command = "exec python -m http.server --bind $WARDIAN_LISTEN $WARDIAN_PORT"
ports = [20600]
ready = { http = "/" }

[services.searchqa]
command = "exec python -m http.server --bind $WARDIAN_LISTEN $WARDIAN_PORT"
ports = [20601]
profiles = ["env"]
"""
PROGRAM = """\
import pathlib, sys, time
pathlib.Path("runs").mkdir(exist_ok=True)
time.sleep(0 if "--lr" in sys.argv else 300)
"""
ELSEWHERE = {  # what cannot be typed here, and what types it
    "wardian init": "a folder without a file: test_init",
    "wardian exec @last -- nvidia-smi": "a GPU",
    "wardian logs -f --tail 20 long": "waits for the end of a run: test_detached",
    "wardian run --image train --env SEED=1 --env-pass WANDB_API_KEY -- python train.py": "waits too: test_run",
    "wardian reproduce @last": "a run of code in git: test_docs, the tutorial",
    "wardian reproduce 20261121-0154 --current-code": "a run of that day: test_reproduce",
    "wardian doctor --network": "servers of others: test_doctor, with one on loopback",
    "wardian render compose -o deploy && docker compose -f deploy/compose.yaml up --wait": "an engine: test_compose",
    "wardian build --push": "a registry: test_push",
    "wardian build --engine docker": "an engine: integration/test_rendered_builds",
    "wardian demo": "a minute: test_demo",
    "wardian demo --dir /tmp/pole --seconds 60": "two: test_demo",
}
VERBS_ELSEWHERE = {  # the same of all examples of a verb
    "pull": "registries: test_pull",
    "push": "registries: test_push",
    "pin": "registries: test_pin",
    "outdated": "registries: test_pin",
    "registry": "registries: test_registry",
    "load": "engines: test_engines",
    "attach": "somebody at a terminal: test_engines",
    "merge": "checkpoints: test_docs, its page",
    "mount": "checkouts: test_mount",
    "format": "an image with the formatter: test_agentgym",
    "eval": "a model and a server: test_eval",
    "env": "servers that do not end: test_env_server",
}
FIRST = {
    "wardian logs": "wardian up",
    "wardian logs @last": "wardian run -d --name last -- python train.py",
    "wardian stop --time 60 long other": "wardian run -d --name other -- python train.py",
}


def examples() -> list[str]:
    """The lines below "Example:" of every verb, and of every verb of a verb."""
    context = click.Context(cli, info_name="wardian")
    commands = [cli.get_command(context, name) for name in VERBS]
    found: list[str] = []
    for command in commands:
        inner = list(command.commands.values()) if isinstance(command, click.Group) else []
        for one in [command, *inner]:
            assert one is not None
            assert one.epilog is not None
            found += [line.strip() for line in one.epilog.partition("Example:\n")[2].splitlines()]
    return list(dict.fromkeys(found))


@pytest.fixture
def project(tmp_path: Path, with_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project over the base image, and an index on loopback that has a very small torch."""
    served = tmp_path / "served"
    served.mkdir()
    make_wheel(served, "torch", "2.4.0")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "wardian.toml").write_text(FILE)
    (folder / "train.py").write_text(PROGRAM)
    with serve(Index(served)) as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
        yield folder


@pytest.mark.engine
def test_every_example_works(project: Path) -> None:
    def typed(line: str) -> None:
        done = subprocess.run(
            ["bash", "-c", line], cwd=project, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    every = examples()
    assert not ELSEWHERE.keys() - set(every)
    assert not VERBS_ELSEWHERE.keys() - VERBS.keys()
    try:
        for line in every:
            if line not in ELSEWHERE and line.split()[1] not in VERBS_ELSEWHERE:
                typed(FIRST.get(line, "true"))
                typed(line.partition(" && docker ")[0])
    finally:
        names = "$(wardian ps --json | grep -o '2[0-9]*-[0-9]*-[0-9a-f]*' | sort -u)"
        subprocess.run(["bash", "-c", f"wardian stop --time 0 {names}"], cwd=project, capture_output=True, check=False)
