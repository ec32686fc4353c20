"""The container half of the isaaclab system: images, users, mounts, and a task that rsl-rl learns.

Each fault that the original had is a test of its own; its name begins with ``test_fault``. The base is substituted, so
the scripts find the stand-in of Isaac Lab.
"""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from tests.machines import Machine, made, wait_for
from tests.people import Person

SUBSTITUTES = '[substitutes]\n"nvcr.io/nvidia/isaac-lab:*" = "bootstrap:debian:bookworm"\n'
FILES = {"wardian.local.toml": SUBSTITUTES}
SCRIPT = ("python", "scripts/rsl_rl/train.py", "--task", "ExtTemplate-Cartpole-v0", "--headless")
PLAY = ("python", "scripts/rsl_rl/play.py", "--task", "ExtTemplate-Cartpole-v0", "--headless")
SHORT = ("--num_envs", "16", "--max_iterations", "2")


@pytest.fixture(scope="session")
def built(session_folder: Path, torch_store: Path, need: Callable[..., None]) -> Machine:
    """A machine with the template locked and built. Tests do not change it."""
    need("bwrap", "mmdebstrap", "git")
    return made(session_folder / "isaaclab", torch_store, "isaaclab", "robot", files=FILES)


@pytest.fixture
def machine(built: Machine, tmp_path: Path) -> Machine:
    """This test's own copy."""
    return built.copied(tmp_path / "machine")


@pytest.fixture(scope="session")
def shared(session_folder: Path, built: Machine, plain_user: Any) -> Machine:
    """The same images in the store of a plain user, in a folder with a space in its name."""
    folder = session_folder / "shared machine"
    person = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(
                built.folder, folder, ignore=shutil.ignore_patterns("unpacked", "locks", "downloads", "logs", "cache")
            )
            person.own(folder)
    return Machine(folder, built.name, person.python())


def runs(project: Path) -> list[Path]:
    """The folders that trainings left, the first one first."""
    return sorted(path for path in (project / "logs" / "rsl_rl" / "cartpole").glob("*/"))


def test_the_images_share_their_layers_and_only_development_has_the_tools(built: Machine) -> None:
    ext, dev = built.layers("ext"), built.layers("ext-dev")

    assert dev[: len(ext)] == ext
    assert {check["state"] for check in built.json("test")["checks"]} == {"passed"}


def test_the_tests_of_the_template_pass_in_the_development_image(built: Machine) -> None:
    assert "passed" in built.run("run", "--", "python", "-m", "pytest", "-q", "-p", "no:cacheprovider").stdout


def test_the_task_is_learned_and_played(machine: Machine) -> None:
    said = machine.run("run", "--image", "ext", "--", *SCRIPT, "--num_envs", "256", "--max_iterations", "60",
                       "--seed", "1", "--expect_length", "150")  # fmt: skip

    assert "isaaclab 0+standin from /workspace/ext_template/standin/isaaclab" in said.stdout
    (run,) = runs(machine.project)
    assert {"model_0.pt", "model_59.pt"} <= {path.name for path in run.iterdir()}
    assert list(run.glob("events.out.tfevents.*"))
    agent, env = (yaml.safe_load((run / "params" / f"{name}.yaml").read_text()) for name in ("agent", "env"))
    assert (agent["seed"], agent["max_iterations"], env["scene"]["num_envs"]) == (1, 60, 256)
    machine.run("run", "--image", "ext", "--", *PLAY, "--num_envs", "64", "--expect_length", "150")
    untrained = [*PLAY, "--num_envs", "64", "--checkpoint", "model_0.pt"]
    before = json.loads(machine.run("run", "--", *untrained).stdout.splitlines()[-1])
    assert before["mean_episode_length"] < 100


def test_a_seed_is_a_training_and_a_run_goes_on(machine: Machine) -> None:
    for words in (["--seed", "3"], ["--seed", "3"], ["--seed", "4"], ["--seed", "3", "--resume", "--run_name", "more"]):
        machine.run("run", "--", *SCRIPT, *SHORT, *words)

    first, second, other, more = runs(machine.project)
    program = (
        "import sys, torch; one, two = (torch.load(p, weights_only=False)['actor_state_dict'] for p in sys.argv[1:]);"
        " sys.exit(not all(torch.equal(one[k], two[k]) for k in one))"
    )
    files = [str(path.relative_to(machine.project) / "model_1.pt") for path in (first, second, other)]
    machine.run("run", "--", "python", "-c", program, files[0], files[1])
    machine.run("run", "--", "python", "-c", program, files[0], files[2], code=1)
    assert more.name.endswith("_more")
    assert (more / "model_2.pt").exists(), "it went on with iteration 1"


def test_fault_every_fresh_checkout_fails(machine: Machine, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q", "."], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *words], cwd=machine.project, check=True)
    subprocess.run([*git, "clone", "-q", str(machine.project), str(tmp_path / "a clone")], check=True)
    clone, user = tmp_path / "a clone", tmp_path / "config.toml"
    assert not (clone / "wardian.local.toml").exists()
    user.write_text(SUBSTITUTES)

    for place in (clone, clone / "scripts"):
        machine.run("build", at=place, WARDIAN_CONFIG=str(user))
        machine.run("run", "--", "test", "-e", "scripts/rsl_rl/train.py", at=place, WARDIAN_CONFIG=str(user))
    inner = clone / "source" / "ext_template"
    said = machine.run("run", "--", *SCRIPT, *SHORT, at=inner, WARDIAN_CONFIG=str(user))
    assert "results in logs/rsl_rl/cartpole/" in said.stdout
    assert len(runs(clone)) == 1
    assert runs(machine.project) == []


def test_fault_the_command_is_ignored_and_arguments_are_parsed_again(machine: Machine) -> None:
    words = ["agent.actor.hidden_dims=[1, 2]", 'agent.run_name=$(id -u) `id` "x" \'', "env.force=1e1"]
    machine.run("run", "--", *SCRIPT, *SHORT, *words)

    (run,) = runs(machine.project)
    assert json.loads((run / "params" / "argv.json").read_text()) == [*SCRIPT[1:], *SHORT, *words]
    agent = yaml.safe_load((run / "params" / "agent.yaml").read_text())
    assert agent["actor"]["hidden_dims"] == [1, 2]
    assert agent["critic"]["hidden_dims"] == [32, 32]
    assert agent["run_name"] == words[1].partition("=")[2]
    refused = machine.run("run", "--", *SCRIPT, *SHORT, "lr=$(id -u)", code=2)
    assert "'lr=$(id -u)' sets nothing" in refused.stderr
    machine.run("run", "--", "sh", "-c", "exit 7", code=7)
    assert machine.run("run", "--", "printf", "%s|", "a b", "", "*").stdout == "a b||*|"


def test_an_unknown_task_and_a_missing_checkpoint_are_named(machine: Machine) -> None:
    words = [word.replace("Cartpole-v0", "Cartpole-v1") for word in SCRIPT]

    assert "did you mean ExtTemplate-Cartpole-v0?" in machine.run("run", "--", *words, code=2).stderr
    assert "train first" in machine.run("run", "--", *PLAY, code=2).stderr
    assert "add --headless" in machine.run("run", "--", *SCRIPT[:-1], code=1).stderr
    assert runs(machine.project) == []


def test_the_stand_in_is_not_taken_where_isaac_lab_is(machine: Machine) -> None:
    said = machine.run("run", "--env", "ISAACLAB_PATH=/workspace/isaaclab", "--", *SCRIPT, code=1)

    assert "/isaac-sim/python.sh scripts/rsl_rl/train.py" in said.stderr


PROGRAM = "import os, pathlib; pathlib.Path('{0}').write_text(f'{os.getuid()}:{os.getgid()}'); {1}"


@pytest.mark.parametrize("mode", ["host", "root", "33:33", "4242:4242"])
def test_fault_files_belong_to_somebody_else(shared: Machine, plain_user: Any, mode: str) -> None:
    inside = {"host": f"{plain_user.uid}:{plain_user.gid}", "root": "0:0"}.get(mode, mode)
    for name, end, code in (
        ("well", "", 0),
        ("failed", "raise SystemExit(3)", 3),
        ("killed", "os.kill(os.getpid(), 15)", 143),
    ):
        file = f"{name}-{mode.replace(':', '-')}"
        shared.run(
            "run", "--user", mode, "--", "python", "-c", PROGRAM.replace("{0}", file).replace("{1}", end), code=code
        )
        written = shared.project / file
        assert written.read_text() == inside
        assert (written.stat().st_uid, written.stat().st_gid) == (plain_user.uid, plain_user.gid)


def test_a_plain_user_trains_and_owns_the_results(shared: Machine, plain_user: Any) -> None:
    shared.run("run", "--", *SCRIPT, *SHORT)

    made = list((shared.project / "logs").rglob("*"))
    assert len(made) > 6
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(plain_user.uid, plain_user.gid)}


def test_a_stopped_training_leaves_files_of_the_caller(shared: Machine, plain_user: Any) -> None:
    argv = [*SCRIPT, "--max_iterations", "100000", "--num_envs", "16", "--experiment_name", "stopped"]
    shared.run("run", "--detach", "--name", "stopped", "--", *argv)
    logs = shared.project / "logs" / "rsl_rl" / "stopped"
    wait_for(lambda: bool(list(logs.glob("*/model_0.pt"))), 120)

    shared.run("stop", "stopped")

    wait_for(lambda: bool(shared.json("runs", "show", "stopped")["state"] != "running"))
    assert shared.json("runs", "show", "stopped")["exit_code"] == 143
    assert {path.stat().st_uid for path in logs.rglob("*")} == {plain_user.uid}


def test_fault_containers_are_privileged(shared: Machine) -> None:
    program = "import re; s = open('/proc/self/status').read(); print(re.search('CapEff:.*?([0-9a-f]+)', s)[1])"

    assert int(shared.run("run", "--", "python", "-c", program).stdout, 16) == 0


@pytest.fixture
def checkouts(tmp_path: Path, built: Machine) -> Path:
    """A checkout of rsl_rl, flat, and one of Isaac Lab, in its own layout, each with another version inside."""
    rsl, lab = tmp_path / "dev" / "rsl_rl", tmp_path / "dev" / "IsaacLab"
    (wheel,) = (built.folder / "store" / "downloads").rglob("rsl_rl_lib-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(rsl)
    with (rsl / "rsl_rl" / "__init__.py").open("a") as file:
        file.write("__version__ = 'checkout'\n")
    package = lab / "source" / "isaaclab" / "isaaclab"
    shutil.copytree(built.project / "standin" / "isaaclab", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("__version__ = 'checkout'\n")
    return tmp_path / "dev"


def test_fault_mounts_are_said_to_be_on_and_are_not(machine: Machine, checkouts: Path, tmp_path: Path) -> None:
    where = ["python", "-c", "import rsl_rl; print(getattr(rsl_rl, '__version__', 'installed'))"]
    assert machine.run("run", "--", *where).stdout == "installed\n"
    refused = machine.run("mount", "set", "rsl_rl", str(tmp_path / "nowhere"), code=2)
    assert "does not exist" in refused.stderr
    assert machine.run("run", "--", *where).stdout == "installed\n"

    for name, place in (("rsl_rl", checkouts / "rsl_rl"), ("isaaclab", checkouts / "IsaacLab")):
        machine.run("mount", "set", name, str(place), at=machine.project / "scripts")
        machine.run("mount", "enable", name, at=tmp_path / "machine" / "robot" / "source")
    machine.run("mount", "validate")
    assert machine.run("run", "--", *where, at=machine.project / "source").stdout == "checkout\n"
    said = machine.run("run", "--", *SCRIPT, *SHORT)
    assert "isaaclab checkout from /opt/" in said.stdout, "and the bridges that the checkout lacks are the stand-in's"

    words = {kind: machine.run("mount", "show", "--format", kind).stdout for kind in ("docker", "podman", "apptainer")}
    assert words["docker"] == words["podman"]
    for source in (checkouts / "rsl_rl" / "rsl_rl", checkouts / "IsaacLab" / "source" / "isaaclab" / "isaaclab"):
        assert all(str(source) in text for text in words.values())

    machine.run("mount", "disable", "rsl_rl")
    assert machine.run("run", "--", *where).stdout == "installed\n"
    local = (machine.project / "wardian.local.toml").read_text()
    assert local.startswith(SUBSTITUTES)
    assert os.fspath(checkouts) not in (machine.project / "wardian.toml").read_text()
