"""A rendered dev container in the hands of the reference implementation, the dev container CLI (npm)."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines import Engine
from tests.verbs.running import make_project

Wardian = Callable[..., Any]
CLI = ("npx", "--yes", "@devcontainers/cli@0.89.0")
RUN = """\
shm = "1g"
gpus = "auto"
env = { MODE = "${MODE:-offline}", DOLLAR = "$$5" }
env-pass = ["WANDB_API_KEY"]
ports = { board = 6006 }

[mounts.data]
source = "da ta,x"
target = "/data"
read-only = true
"""


@pytest.fixture(scope="session")
def cli(session_folder: Path, need: Callable[..., None]) -> Callable[..., Any]:
    """Run the CLI; its answer is the last line of its output."""
    need("npx")

    def run(*words: str, cwd: Path) -> Any:
        environ = {**os.environ, "npm_config_cache": str(session_folder / "npm")}
        done = subprocess.run([*CLI, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1]) if words[0] != "exec" else done.stdout

    return run


def test_the_cli_reads_what_was_meant(
    tmp_path: Path, wardian: Wardian, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path / "project", RUN)
    monkeypatch.setenv("MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "k3y")
    wardian("render", "devcontainer", "-o", ".devcontainer", cwd=folder)
    assert "k3y" not in (folder / ".devcontainer/devcontainer.json").read_text()
    read = cli("read-configuration", "--workspace-folder", ".", "--docker-path", "true", cwd=folder)
    found = read["configuration"]
    assert read["workspace"]["workspaceFolder"] == "/workspace"
    assert read["workspace"]["workspaceMount"] == f"type=bind,source={folder},target=/workspace"
    assert found["containerEnv"] == {"PYTHONNOUSERSITE": "1", "MODE": "online", "DOLLAR": "$5"}
    assert found["remoteEnv"] == {"WANDB_API_KEY": "k3y"}
    assert found["mounts"] == [f'type=bind,"source={folder}/da ta,x",target=/data,readonly']
    assert found["hostRequirements"] == {"gpu": "optional"}
    assert (found["remoteUser"], found["updateRemoteUserUID"]) == ("dev", True)
    assert "FROM demo/train:latest" in (folder / ".devcontainer/Dockerfile").read_text()


@pytest.mark.usefixtures("with_base")
def test_it_opens(base_project: Path, docker: Engine, wardian: Wardian, cli: Any, tmp_path: Path) -> None:
    wardian("export", "base", "--format", "docker", "-o", str(tmp_path / "base.tar"), cwd=base_project)
    docker.run("load", "-i", str(tmp_path / "base.tar"))
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("wardian.lock", "wardian.toml"):
        (folder / name).write_bytes((base_project / name).read_bytes())
    with (folder / "wardian.toml").open("a") as file:
        file.write('\n[run]\nshm = "32m"\nenv = { WORD = "two words" }\n')
    wardian("render", "devcontainer", "-o", ".devcontainer", cwd=folder)
    where = ("--workspace-folder", ".")
    opened = cli("up", *where, cwd=folder)
    try:
        assert (opened["outcome"], opened["remoteUser"], opened["remoteWorkspaceFolder"]) == (
            "success",
            "dev",
            "/workspace",
        )
        script = "import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.getcwd(), os.environ['WORD'])"
        assert cli("exec", *where, "python3", "-c", script, cwd=folder) == "dev /workspace two words\n"
        assert "wardian.toml" in cli("exec", *where, "ls", cwd=folder)
    finally:
        docker.run("rm", "--force", opened["containerId"])
