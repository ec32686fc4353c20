"""The marl system: two images with the same layers, agents that learn, two MPI ranks that train one policy.

Each fault that the original had is a test of its own; its name begins with ``test_fault``. The base is substituted.
"""

import contextlib
import json
import os
import socket
import tomllib
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines import Engine
from tests.machines import Machine, made, wait_for

SUBSTITUTES = '[substitutes]\n"docker.io/nvidia/cuda:*" = "bootstrap:debian:bookworm"\n'
TRAIN = ("python", "train.py")
KEY = "5ecre7key"


@pytest.fixture(scope="session")
def built(session_folder: Path, torch_store: Path, need: Callable[..., None]) -> Machine:
    """A machine with the template locked and built. Tests do not change it."""
    need("bwrap", "mmdebstrap")
    warm = "from marl.worlds import Worlds; Worlds('MultiGrid-Empty-5x5-v0', agents=2, count=1, seed=0).step([0, 0])"
    files = {"wardian.local.toml": SUBSTITUTES}
    return made(session_folder / "marl", torch_store, "marl", "empo", files=files, first=warm)


@pytest.fixture
def machine(built: Machine, tmp_path: Path) -> Machine:
    """This test's own copy."""
    return built.copied(tmp_path / "machine")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a training."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def metadata(folder: Path) -> dict[str, Any]:
    """What a training says of itself."""
    found: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return found


def test_the_variants_share_their_layers_and_only_development_has_the_tools(built: Machine) -> None:
    base, train, dev = (built.layers(name) for name in ("base", "train", "dev"))

    assert train[: len(base)] == base
    assert dev[: len(train)] == train
    assert len(dev) > len(train)
    built.run("run", "--", "python", "-c", "import pytest", code=1)
    built.run("run", "--image", "dev", "--", "python", "-c", "import pytest, debugpy, jupyterlab, torch")


def test_the_checks_pass(built: Machine) -> None:
    checks = built.json("test")["checks"]

    assert {check["check"]: check["state"] for check in checks} == {check["check"]: "passed" for check in checks}
    assert {check["image"] for check in checks} == {"train", "dev"}


def test_the_tests_of_the_template_pass_in_the_development_image(built: Machine) -> None:
    said = built.run("run", "--image", "dev", "--", "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")

    assert "passed" in said.stdout
    built.run("run", "--image", "dev", "--", "ruff", "check", "--no-cache", ".")


def test_fault_the_training_loop_is_a_placeholder(machine: Machine) -> None:
    argv = [*TRAIN, "--num-episodes", "3500", "--seed", "1", "--output-dir", "results/one", "--expect", "0.45"]
    said = machine.run("run", "--name", "one", "--", *argv)

    assert "training on the CPU (torch" in said.stdout
    folder = machine.project / "results" / "one"
    first, *_, last = rows(folder)
    assert first["mean_return"] < 0.4
    assert last["mean_length"] <= 8
    assert metadata(folder)["status"] == "finished"
    assert metadata(folder)["image"] == machine.json("runs", "show", "one")["digest"]
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert len(ET.parse(folder / "curves.svg").getroot().findall("{*}polyline")) == 2
    told = machine.run("run", "--", "python", "evaluate.py", "results/one", "--expect", "0.45", "--num-episodes", "20")
    found = json.loads(told.stdout)
    assert found["mean_length"] <= 8
    assert found["checkpoint"] == f"update-{len(rows(folder)):06d}.pt"
    assert json.loads((folder / "evaluation.json").read_text()) == found
    assert {path.stat().st_uid for path in folder.rglob("*")} == {os.getuid()}


def test_an_untrained_policy_does_not_pass_for_a_trained_one(machine: Machine) -> None:
    argv = [*TRAIN, "--num-episodes", "5", "--expect", "0.45", "--output-dir", "results/none"]

    machine.run("run", "--", *argv, code=1)

    assert metadata(machine.project / "results" / "none")["status"] == "failed"
    machine.run("run", "--", "python", "evaluate.py", "results/none", "--expect", "0.45", "--sample", code=1)
    machine.run("run", "--", "python", "evaluate.py", "results/elsewhere", code=2)


def test_a_run_is_the_same_when_it_is_reproduced(machine: Machine) -> None:
    argv = [*TRAIN, "--num-episodes", "40", "--seed", "7", "--output-dir", "results/seven"]
    machine.run("run", "--name", "seven", "--", *argv)
    machine.run("run", "--name", "eight", "--", *argv[:4], "--seed", "8", "--output-dir", "results/eight")
    again = [*argv[:-1], "results/again"]
    machine.run("run", "--", *again)

    first, other, same = (machine.project / "results" / name / "metrics.jsonl" for name in ("seven", "eight", "again"))
    assert first.read_bytes() == same.read_bytes()
    assert first.read_bytes() != other.read_bytes()


TWO_RANKS = """\
import os, pathlib, sys
import train
real = train.checksum
def noted(policy):
    folder = pathlib.Path("results")
    folder.mkdir(exist_ok=True)
    (folder / ("rank-" + os.environ["OMPI_COMM_WORLD_RANK"])).write_text(real(policy))
    return real(policy)
train.checksum = noted
sys.exit(train.main(sys.argv[1:]))
"""


def test_two_ranks_train_one_policy(machine: Machine) -> None:
    (machine.project / "noted.py").write_text(TWO_RANKS)
    argv = ["--num-episodes", "3500", "--seed", "1", "--output-dir", "results/two", "--expect", "0.45"]

    said = machine.run("run", "--", "mpirun", "-n", "2", "python", "noted.py", *argv)

    assert "2 ranks" in said.stdout
    results = machine.project / "results"
    one, other = ((results / f"rank-{rank}").read_text() for rank in range(2))
    assert one == other == metadata(results / "two")["parameters"]
    assert rows(results / "two")[-1]["mean_length"] <= 8
    assert json.loads((results / "two" / "config.json").read_text())["ranks"] == 2
    updates = [row["update"] for row in rows(results / "two")]
    assert updates == list(range(1, len(updates) + 1)), "one rank writes"


def test_ranks_that_drifted_apart_are_told_of(machine: Machine) -> None:
    drifting = "import os, sys, train\ntrain.checksum = lambda policy: os.urandom(4).hex()\n"
    (machine.project / "drifting.py").write_text(f"{drifting}sys.exit(train.main(sys.argv[1:]))\n")
    argv = ["--num-episodes", "5", "--output-dir", "results/apart"]

    said = machine.run("run", "--", "mpirun", "-n", "2", "python", "drifting.py", *argv, code=1)

    assert "the parameters of 1 ranks differ" in said.stderr
    assert metadata(machine.project / "results" / "apart")["status"] == "failed"


def test_what_cannot_be_trained_ends_all_ranks_with_one_line(machine: Machine) -> None:
    said = machine.run("run", "--", "mpirun", "-n", "2", *TRAIN, "--env-name", "MultiGrid-Empty-5x5-v9", code=2)

    assert said.stderr.count("did you mean MultiGrid-Empty-5x5-v0?") == 1, said.stderr
    assert "Traceback" not in said.stderr
    assert "train: --device cuda, but torch " in machine.run("run", "--", *TRAIN, "--device", "cuda", code=2).stderr


def test_a_stopped_training_keeps_a_checkpoint_and_goes_on(machine: Machine) -> None:
    argv = [*TRAIN, "--num-episodes", "900000", "--output-dir", "results/long"]
    machine.run("run", "--detach", "--name", "long", "--", *argv)
    folder = machine.project / "results" / "long"
    wait_for(lambda: (folder / "metrics.jsonl").exists() and len(rows(folder)) > 2, 120)

    machine.run("stop", "long")

    wait_for(lambda: bool(machine.json("runs", "show", "long")["state"] != "running"))
    assert machine.json("runs", "show", "long")["exit_code"] == 143
    assert metadata(folder)["status"] == "interrupted"
    done = rows(folder)[-1]
    again = [*argv[:3], str(done["episodes"] + 1), *argv[4:], "--resume"]
    machine.run("run", "--", *again)
    assert [row["update"] for row in rows(folder)] == list(range(1, done["update"] + 2))


def test_fault_a_gpu_that_is_not_there_is_an_error(machine: Machine) -> None:
    if list(Path("/etc/cdi").glob("*")) or list(Path("/var/run/cdi").glob("*")):
        pytest.skip("this machine has GPUs")
    said = machine.run("run", "--", "true")
    assert said.stderr.count("no GPU") == 1

    machine.run("run", "--gpus", "all", "--", "true", code=125)


@pytest.fixture
def taken() -> Iterator[int]:
    """TensorBoard's port, which somebody has."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody has it indeed
            stack.enter_context(socket.create_server(("127.0.0.1", 6006)))
        yield 6006


def test_fault_fixed_ports_collide(machine: Machine, taken: int) -> None:
    try:
        said = machine.run("up")
        assert f"tensorboard: port {taken} is taken, " in said.stderr
        address = next(word for word in said.stdout.split() if word.startswith("http://"))
        assert not address.endswith(f":{taken}")
        assert b"TensorBoard" in urllib.request.urlopen(address).read()
        assert machine.json("status")[0]["state"] == "ready"
    finally:
        machine.run("down")


def test_fault_ids_clash_with_those_of_the_base(built: Machine) -> None:
    program = (
        "import os, pwd; open(os.path.expanduser('~/x'), 'w'); print(os.getuid(), pwd.getpwuid(os.getuid()).pw_uid)"
    )
    for uid in ("33", "1", "0", "4242"):  # www-data, daemon and root are in the base, and the last one is not
        said = built.run("run", "--user", f"{uid}:{uid}", "--", "python", "-c", program)
        assert said.stdout.split() == [uid, uid]


def test_fault_a_new_dependency_is_all_downloaded_again(machine: Machine) -> None:
    env = machine.json("config", "images")
    assert "PIP_NO_CACHE_DIR" not in json.dumps(env)
    train, dev = machine.layers("train"), machine.layers("dev")
    with (machine.project / "requirements-dev.txt").open("a") as file:
        file.write("tqdm\n")
    machine.run("lock")
    machine.run("build")

    assert machine.layers("train") == train
    fresh = [layer for layer in machine.layers("dev") if layer not in dev]
    assert 1 <= len(fresh) <= 3, "the wheel's own layer, or its bin's, and the environment's"
    machine.run("run", "--image", "dev", "--", "python", "-c", "import tqdm")


def test_fault_the_env_file_reaches_the_image(machine: Machine) -> None:
    (machine.project / ".env").write_text(f"WANDB_API_KEY={KEY}\n")
    spec = machine.project / "wardian.toml"
    copied = 'copy = [{ source = ".", target = "/code" }]\n[images.dev.tests]'
    spec.write_text(spec.read_text().replace("[images.dev.tests]", copied, 1))
    machine.run("lock")
    machine.run("build")

    script = f"test -e /code/train.py && ! test -e /code/.env && ! grep -rq {KEY[:5]}''{KEY[5:]} /code"
    machine.run("run", "--image", "dev", "--no-project", "--", "sh", "-c", script)
    asked = f'test -z "$WANDB_API_KEY" || echo {KEY[:5]}\'\'{KEY[5:]} | grep -qx "$WANDB_API_KEY"'
    machine.run("run", "--", "sh", "-c", asked)
    records = [path for path in (machine.project / ".wardian").rglob("*") if path.is_file()]
    assert not [path for path in records if KEY.encode() in path.read_bytes()]


def test_fault_root_owns_the_results_of_a_plain_user(built: Machine) -> None:
    spec = tomllib.loads((built.project / "wardian.toml").read_text())

    assert spec["run"]["user"] == "host"
    assert "ARG USER_ID" not in built.run("render", "dockerfile", "train").stdout


def test_docker_trains_what_the_sandbox_trains(machine: Machine, docker: Engine) -> None:
    argv = [*TRAIN, "--num-episodes", "20", "--seed", "3", "--output-dir"]
    machine.run("run", "--", *argv, "results/sandbox")
    said = machine.run("run", "--engine", "docker", "--", *argv, "results/docker")

    assert "training on the CPU" in said.stdout
    one, other = machine.project / "results" / "sandbox", machine.project / "results" / "docker"
    assert one.joinpath("metrics.jsonl").read_bytes() == other.joinpath("metrics.jsonl").read_bytes()
    assert metadata(one)["parameters"] == metadata(other)["parameters"]
    assert {path.stat().st_uid for path in other.rglob("*")} == {os.getuid()}
    machine.run("run", "--engine", "docker", "--", *argv, "results/docker", code=2)
