"""The agentgym system: servers with pins that contradict each other, a training that learns, merging, evaluation.

Each fault that the original had is a test of its own; its name begins with ``test_fault``.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.engines import Engine
from tests.hub import TOKEN, hub
from tests.machines import Machine, made
from tests.models import babyai, model

PORTS = ("ENV_PORT", "BABYAI_PORT", "SCIWORLD_PORT", "TEXTCRAFT_PORT", "GYMNASIUM_PORT", "TEXTWORLD_PORT", "MODEL_PORT")


@pytest.fixture(scope="session")
def built(session_folder: Path, torch_store: Path, need: Callable[..., None]) -> Machine:
    """A machine with the template locked and built. Tests do not change it."""
    need("bwrap", "mmdebstrap")
    warm = "import transformers.models.gpt2.modeling_gpt2, torch.distributed.fsdp, wardian.envs.client"
    return made(session_folder / "agentgym", torch_store, "agentgym", "gym", first=warm)


@pytest.fixture
def machine(built: Machine, tmp_path: Path) -> Iterator[Machine]:
    """This test's own copy; its services end with the test."""
    mine = built.copied(tmp_path / "machine")
    (mine.project / ".env").write_text("".join(f"{name}={port}\n" for name, port in zip(PORTS, free(), strict=True)))
    yield mine
    mine.run("down", code=None)


def free() -> list[int]:
    """Ports that no other test is about to take: several start servers at once."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return [one.getsockname()[1] for one in sockets]


def make(machine: Machine, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run a target of the project's Makefile, as from a shell: the tests may themselves be run by make."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS")
    variables = {name: value for name, value in machine.env.items() if name not in outer}
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["make", *words], cwd=machine.project, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def url(machine: Machine, service: str) -> str:
    """Where a service listens."""
    return str(next(one["url"] for one in machine.json("status") if one["service"] == service))


def test_the_whole_way(machine: Machine) -> None:
    """Train, merge, serve and evaluate: held-out success rises, and the merged model has it."""
    argv = "--steps 40 --seed 1 --output saves/first --expect 0.55"
    make(machine, "docker-train", f"ARGS={argv}")
    result = json.loads((machine.project / "saves/first/result.json").read_text())
    assert result["after"] >= 0.55
    assert result["after"] >= 1.5 * result["before"]
    actor = machine.project / result["actor"]
    assert sorted(path.name for path in actor.iterdir()) == [
        "huggingface", "model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt",
    ]  # fmt: skip
    make(machine, "docker-merge", f"LOCAL_DIR={result['actor']}", "SAVE_DIR=models/merged")
    assert (machine.project / "models/merged/model.safetensors").is_file()
    assert not (actor / "huggingface" / "model.safetensors").exists()
    machine.run("up", "model")
    items = "ARGS=--items AgentEval/babyai/babyai_test.json --concurrency 16 --json"
    base = f"OPENAI_BASE_URL={url(machine, 'model')}/v1"
    done = make(machine, "docker-eval", "ENV=babyai", "MODEL=merged", "MAX_ROUND=3", "LIMIT=96", base, items)
    said = json.loads(done.stdout)
    assert (said["all"]["items"], said["all"]["errors"]) == (96, 0)
    assert said["all"]["success"] >= 0.55
    assert said["all"]["reference_success"] == 0
    results = machine.project / "results" / "babyai-merged"
    assert len(list(results.glob("babyai_*.json"))) == 96
    assert {path.stat().st_uid for path in (machine.project / "results").rglob("*")} == {os.getuid()}


def test_environments_whose_pins_contradict_each_other_run_side_by_side(machine: Machine) -> None:
    for name, wanted in (("env-babyai", "0.29.1"), ("env-gymnasium", None)):
        said = machine.run(
            "run", "--image", name, "--", "python", "-c", "import gymnasium; print(gymnasium.__version__)"
        ).stdout.split()[-1]
        assert said == wanted or (wanted is None and int(said.split(".")[0]) >= 1)
    machine.run("up", "babyai", "gymnasium", "searchqa", "textcraft")
    served = {one["service"]: one for one in machine.json("status") if one["state"] == "ready"}
    assert set(served) == {"babyai", "gymnasium", "searchqa", "textcraft"}
    hellos = {name: httpx.get(one["url"] + "/", trust_env=False).json() for name, one in served.items()}
    assert hellos["babyai"] == "This is environment BabyAI."
    assert hellos["searchqa"] == "This is environment SearchQA."
    number = httpx.post(f"{served['searchqa']['url']}/create", json={"id": 0}, trust_env=False).json()
    said = httpx.post(
        f"{served['searchqa']['url']}/step",
        json={"env_idx": number, "action": "<search>play Faust</search>"},
        trust_env=False,
    ).json()["observation"]
    assert "Goethe" in said


def test_the_large_environments_run_in_images_of_their_own(machine: Machine) -> None:
    """ScienceWorld with its Java, TextWorld with an interpreter that was built: an item begins as it did before."""
    machine.run("up", "sciworld", "textworld")
    for service in ("sciworld", "textworld"):
        said = machine.run("env", "check", url(machine, service))
        assert f"{service} (strict): 3 items begun and acted in" in said.stdout


def test_fault_the_targets_that_lead_the_document_do_not_exist(machine: Machine) -> None:
    """Each target of the document is one; formatting is done by the version of the image."""
    text = (machine.project / "Makefile").read_text()
    for name in ("build", "train-shell", "merge", "format", "env", "eval", "clean"):
        assert f"\ndocker-{name}:" in text
    (machine.project / "odd.py").write_text("x = {  'a':1 }\n")
    make(machine, "docker-format")
    assert (machine.project / "odd.py").read_text() == "x = {'a': 1}\n"
    machine.run("format", "--check", "odd.py")
    (machine.project / "odd.py").write_text("x = {  'a':1 }\n")
    machine.run("format", "--check", "odd.py", code=1)


def test_fault_save_dir_is_ignored_and_a_merge_without_a_checkpoint_says_nothing(machine: Machine) -> None:
    done = make(machine, "docker-merge", code=2)
    assert "LOCAL_DIR=" in done.stderr
    gone = make(machine, "docker-merge", "LOCAL_DIR=saves/nowhere/actor", "SAVE_DIR=models/x", code=2)
    assert "saves/nowhere/actor" in gone.stderr
    assert not (machine.project / "models").exists()


def test_fault_a_missing_rank_duplicates_a_neighbours_shard(machine: Machine) -> None:
    make(machine, "docker-train", "ARGS=--steps 1 --output saves/short")
    actor = machine.project / "saves/short/global_step_1/actor"
    (actor / "model_world_size_2_rank_1.pt").unlink()
    done = make(machine, "docker-merge", f"LOCAL_DIR={actor.relative_to(machine.project)}", "SAVE_DIR=models/x", code=2)
    assert "_rank_1.pt missing" in done.stderr
    assert not (machine.project / "models").exists()


def test_fault_the_environment_profile_never_worked(machine: Machine) -> None:
    """It is ready when it answers, on the port that was asked for."""
    done = make(machine, "docker-env", "ENV=searchqa")
    assert "searchqa: ready at http://" in done.stderr + done.stdout
    assert httpx.get(f"{url(machine, 'searchqa')}/health", trust_env=False).json() == {"status": "healthy"}
    assert make(machine, "docker-env", "ENV=nosuch", code=2).stderr


def test_fault_localhost_of_the_evaluation_is_itself(machine: Machine) -> None:
    """The runner is told where the environment is, by a variable that holds in each engine."""
    make(machine, "docker-env", "ENV=textcraft")
    said = machine.run("run", "--image", "eval", "--", "printenv", "WARDIAN_SERVICE_TEXTCRAFT_URL").stdout.strip()
    assert said == url(machine, "textcraft")
    done = make(machine, "docker-eval", "ENV=textcraft", "MODEL=m", "LIMIT=2", "ARGS=--dry-run")
    assert "would play 2 episodes of textcraft" in done.stdout


def test_fault_a_wrong_key_is_asked_with_for_ever(machine: Machine) -> None:
    """And a server that is killed is a failure, not a hang."""
    make(machine, "docker-env", "ENV=babyai")
    with model(babyai) as script:
        script.always = "401"
        start = time.monotonic()
        done = make(machine, "docker-eval", "ENV=babyai", "MODEL=m", "LIMIT=4", f"OPENAI_BASE_URL={script.url}", code=2)
        assert "401" in done.stderr
        assert time.monotonic() - start < 30
        script.always = None

        def dying(messages: object) -> str:
            machine.run("down", code=None)
            return "Action: turn left"

        script.policy = dying
        gone = make(machine, "docker-eval", "ENV=babyai", "MODEL=n", "LIMIT=4", f"OPENAI_BASE_URL={script.url}", code=2)
        assert "does the server run?" in gone.stderr


def test_fault_two_checkouts_share_names_ports_and_data(built: Machine, machine: Machine, tmp_path: Path) -> None:
    other = built.copied(tmp_path / "other")
    (other.project / ".env").write_text((machine.project / ".env").read_text())
    try:
        machine.run("up", "searchqa")
        other.run("up", "searchqa")
        assert url(machine, "searchqa") != url(other, "searchqa")
        volumes = [one.project / ".wardian" / "volumes" for one in (machine, other)]
        assert all(one.is_dir() for one in volumes)
    finally:
        other.run("down")


def test_fault_uploads_are_public(machine: Machine, checkpoints: Path) -> None:
    """By the hub's own library, out of the scripts image; by the way of git's LFS, because Xet has no open server."""
    local = '[run]\nenv-pass = ["HF_TOKEN", "HF_ENDPOINT", "HF_HUB_DISABLE_XET"]\n'
    (machine.project / "wardian.local.toml").write_text(local)
    shutil.copytree(checkpoints / "fsdp2 of 4", machine.project / "saves" / "small")
    words = ("docker-merge", "LOCAL_DIR=saves/small", "SAVE_DIR=models/small", "HF_UPLOAD_PATH=me/model")
    with hub() as server:
        extra = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1"}
        make(dataclasses.replace(machine, extra={**machine.extra, **extra}), *words)
        stored = server.repositories["me/model"]
        assert stored.private
        merged = (machine.project / "models/small/model.safetensors").read_bytes()
        assert stored.branches["main"]["model.safetensors"] == merged


def test_fault_the_shells_exit_code_starts_a_second_container(machine: Machine) -> None:
    before = len(machine.json("runs"))
    machine.run("shell", "--image", "eval", "--no-network", code=7, stdin="exit 7\n")
    assert len(machine.json("runs")) == before + 1


def test_the_same_servers_in_docker(machine: Machine, docker: Engine) -> None:
    """The evaluation in a container finds the server in another."""
    try:
        machine.run("up", "--engine", "docker", "babyai")
        asked = 'exec wardian eval babyai --model m --limit 3 --dry-run --env-url "$WARDIAN_SERVICE_BABYAI_URL"'
        done = machine.run("run", "--engine", "docker", "--image", "eval", "--", "sh", "-c", asked)
        assert "would play 3 episodes of babyai (strict)" in done.stdout
    finally:
        machine.run("down", "--engine", "docker", code=None)
