"""The puffer system the whole way: a published, pinned trainer image, a policy that learns in it, a project on top.

Each fault that the original had is a test of its own; its name begins with ``test_fault``.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.machines import Machine, made, wait_for
from tests.people import Person
from wardian.hosts.machine import local_path, read_machine

IMAGE = "trainer/rl-puffer-base:py311-puffercore3.0.17"
SCRIPT = ("python", "training/train_puffer.py")
NAME = "rl-puffer-base"


@pytest.fixture(scope="session")
def published(session_folder: Path, torch_store: Path, need: Callable[..., None]) -> Machine:
    """A machine with the template locked and built. Tests do not change it."""
    need("bwrap", "mmdebstrap", "git")
    # PyPI's torch is for CUDA, and 5 GB with what it needs.
    folders = [path for place in read_machine(os.environ).find_links if (path := local_path(place))]
    if not any(list(folder.glob("torch-2.13.0+cpu-cp311-*.whl")) for folder in folders):
        reason = "no folder of pip's find-links has torch 2.13.0+cpu"
        if os.environ.get("WARDIAN_REQUIRE_ENGINES") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return made(session_folder / "puffer", torch_store, "puffer", "trainer")


@pytest.fixture
def machine(published: Machine, tmp_path: Path) -> Machine:
    """This test's own copy of the published machine; the store's files are linked."""
    return published.copied(tmp_path / "machine")


@pytest.fixture(scope="session")
def elsewhere(session_folder: Path, published: Machine, plain_user: Any) -> Machine:
    """A second machine: a plain user, another folder, zone, umask, an empty store; it builds from the same lock."""
    folder = session_folder / "elsewhere ü"
    person = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    machine = Machine(folder, "trainer", person.python(), {"TZ": "Pacific/Chatham"})
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            shutil.copytree(published.project, machine.project, ignore=shutil.ignore_patterns(".wardian", "results"))
            # What can be downloaded is; the wheel that was built from source cannot, so this machine builds it as well.
            store = folder / "store"
            built = lock(published)["built"][0]["sha256"]
            shutil.copytree(
                published.folder / "store" / "downloads", store / "downloads", ignore=shutil.ignore_patterns(built)
            )
            person.own(folder)
            shell = ["sh", "-c", 'umask 077; exec "$@"', "sh", *machine.python, "-m", "wardian", "build"]
            env = {**os.environ, **machine.extra, "WARDIAN_HOME": str(store)}
            done = subprocess.run(shell, cwd=machine.project, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / "done").touch()
    return machine


def lock(machine: Machine) -> dict[str, Any]:
    """The lock's entry of the image."""
    text = (machine.project / "wardian.lock").read_text()
    entry: dict[str, Any] = tomllib.loads(text)["images"][NAME]
    return entry


def digest(machine: Machine) -> str:
    """The digest of the built image."""
    answer = machine.json("build")
    return str(answer[NAME]["digest"])


def rows(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_tag_says_what_the_lock_has(published: Machine) -> None:
    assert published.json("build")[NAME]["tags"] == [IMAGE]


def test_fault_the_tag_is_typed_by_hand(published: Machine) -> None:
    said = published.run("build", "--tag", "trainer/rl-puffer-base:py311-puffercore3.0.18", code=2)

    assert "no image of this build has that name" in said.stderr
    assert IMAGE in said.stderr


def test_fault_only_top_level_pins(published: Machine) -> None:
    entry = lock(published)
    wheels = tomllib.loads((published.project / entry["pylock"]).read_text())["packages"]

    assert len(entry["base"]["debs"]) > 80
    assert all(deb["sha256"] and deb["version"] for deb in entry["base"]["debs"])
    files = [wheel["wheels"][0] if "wheels" in wheel else wheel["sdist"] for wheel in wheels]
    assert len(files) > 20
    assert all(len(file["hashes"]["sha256"]) == 64 for file in files)
    built = entry["built"][0]
    assert (built["name"], built["version"]) == ("pufferlib-core", "3.0.17")
    assert all(len(tool["sha256"]) == 64 for tool in built["build"])
    assert {"g++", "python3-dev"} <= {deb["name"] for deb in built["debs"]}


def test_the_wheel_is_built_against_the_images_torch(published: Machine) -> None:
    entry = lock(published)
    (built,) = entry["built"]

    tools = {tool["name"]: tool["version"] for tool in built["build"]}
    assert tools["torch"] == "2.13.0+cpu", "not the torch 2.9.0 that its own pyproject.toml asks for"
    assert "g++" not in {deb["name"] for deb in (*entry["base"]["debs"], *entry.get("debs", ()))}
    assert "file:" not in (published.project / entry["pylock"]).read_text()
    (wheel,) = (published.folder / "store" / "downloads" / built["sha256"]).glob("pufferlib_core-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        compiled = [name for name in packed.namelist() if name.endswith(".so")]
        assert compiled
        assert all(member.date_time == (1980, 1, 1, 0, 0, 0) for member in packed.infolist())
        assert str(published.folder).encode() not in packed.read(compiled[0]), "no path of this machine is in it"
    assert published.run("lock").stdout == "the lock is fresh\n"


def test_the_smoke_test_passes(published: Machine) -> None:
    answer = published.json("test")

    assert {check["state"] for check in answer["checks"]} == {"passed"}
    assert len(answer["checks"]) == 5


def test_fault_the_smoke_test_asserts_nothing(machine: Machine) -> None:
    path = machine.project / "wardian.toml"
    path.write_text(path.read_text().replace('== \\"3.0.3\\"', '== \\"3.0.4\\"'))

    done = machine.run("test", "--json", code=1)

    failed = [check for check in json.loads(done.stdout)["checks"] if check["state"] != "passed"]
    assert [check["check"] for check in failed] == ["module is 3.0.3"]


def test_fault_digests_are_pasted_into_documents(published: Machine) -> None:
    texts = [path.read_text() for path in published.project.glob("*.md")]

    assert texts
    assert not any(re.search(r"sha256:[0-9a-f]", text) for text in texts)
    assert published.json("images")
    assert digest(published).startswith("sha256:")


def test_fault_the_whole_repository_is_sent(machine: Machine) -> None:
    spec = machine.project / "wardian.toml"
    copied = '\ncopy = [{ source = ".", target = "/workspace" }]\n'
    spec.write_text(spec.read_text().replace("\nworkdir = ", f"{copied}workdir = ", 1))
    (machine.project / ".wardianignore").write_text("data\n")
    machine.run("lock")
    before = digest(machine)
    (machine.project / ".env").write_text("WANDB_API_KEY=from-the-file\n")
    (machine.project / "data").mkdir()
    (machine.project / "data" / "frames.bin").write_bytes(bytes(1 << 20))
    subprocess.run(["git", "init", "-q", "."], cwd=machine.project, check=True)

    assert digest(machine) == before


KEY = "4e1c0ffee"
SAME_KEY = f"""\
import hashlib, os, sys
found = hashlib.sha256(os.environ.get("WANDB_API_KEY", "").encode()).hexdigest()
sys.exit(found != {hashlib.sha256(KEY.encode()).hexdigest()!r})
"""


def test_fault_the_wandb_key_never_reaches_the_container(machine: Machine) -> None:
    machine.run("run", "--", "python", "-c", SAME_KEY, WANDB_API_KEY=KEY)
    machine.run("run", "--", "python", "-c", SAME_KEY, code=1)

    written = [path for path in (machine.project / ".wardian").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_it_learns_and_the_baseline_does_not(machine: Machine) -> None:
    machine.run("run", "--", *SCRIPT, "--trainer-backend", "puffer_ppo", "--timesteps", "120000", "--expect", "150")
    machine.run("run", "--", *SCRIPT, "--trainer-backend", "random", "--timesteps", "20000", "--run-dir", "results/r")
    machine.run("run", "--", *SCRIPT, "--trainer-backend", "random", "--timesteps", "4096", "--expect", "150", code=1)

    learned = machine.project / "results" / "puffer_ppo-CartPole-v1-0"
    metadata = json.loads((learned / "metadata.json").read_text())
    assert metadata["status"] == "finished"
    assert metadata["final_return"] >= 150
    assert metadata["image"] == digest(machine)
    assert metadata["versions"]["pufferlib-core"] == "3.0.17"
    assert rows(learned / "metrics.jsonl")[0]["mean_return"] < 40
    assert (learned / "checkpoints" / "latest").exists()
    assert rows(machine.project / "results" / "r" / "metrics.jsonl")[-1]["mean_return"] < 40


def test_a_run_can_be_made_again_from_its_record(machine: Machine) -> None:
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q", "."], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *words], cwd=machine.project, check=True)
    argv = [*SCRIPT, "--timesteps", "8192", "--seed", "3", "--run-dir", "results/three"]

    machine.run("run", "--name", "three", "--", *argv)
    record = machine.json("runs", "show", "three")
    (machine.project / "training" / "train_puffer.py").write_text("raise SystemExit('changed since')\n")
    machine.run("reproduce", "three")
    again = machine.json("runs", "show", "@last")

    assert record["digest"] == again["digest"] == digest(machine)
    assert record["argv"] == again["argv"] == argv
    assert record["lock"].startswith("sha256:")
    assert record["code"]["revision"] == again["code"]["revision"] is not None
    assert again["of"] == record["id"]
    first = machine.project / "results" / "three" / "metrics.jsonl"
    second = Path(again["project"]) / "results" / "three" / "metrics.jsonl"
    assert first != second
    assert len(rows(first)) == 4
    assert first.read_bytes() == second.read_bytes()


def test_another_project_stands_on_it_and_shares_its_layers(machine: Machine) -> None:
    machine.run("init", "--template", "puffer-consumer", "mine", at=machine.folder)
    mine = machine.folder / "mine"
    machine.run("lock", at=mine)
    machine.run("build", at=mine)
    machine.run("test", at=mine)

    theirs, ours = machine.json("tree", IMAGE), machine.json("tree", "train", at=mine)
    layers = [layer["digest"] for layer in theirs["layers"]]
    assert [layer["digest"] for layer in ours["layers"]][: len(layers)] == layers
    assert ours["unique"] < 60e6
    assert ours["shared"] > 150e6
    pinned = tomllib.loads((mine / "wardian.lock").read_text())["images"]["train"]["base"]
    assert pinned["digest"] == theirs["digest"]


def test_another_project_may_name_the_digest(machine: Machine) -> None:
    mine = machine.folder / "mine"
    mine.mkdir()
    base = f"trainer/rl-puffer-base@{digest(machine)}"
    (mine / "wardian.toml").write_text(f'[project]\nname = "mine"\n[images.train]\nfrom = "{base}"\n')

    machine.run("lock", at=mine)
    machine.run("build", at=mine)

    program = "from importlib.metadata import version as v; assert v('pufferlib-core') == '3.0.17'"
    machine.run("run", "-i", "train", "--", "python", "-c", program, at=mine)


def test_another_project_hears_of_a_newer_image(machine: Machine) -> None:
    mine, before = machine.folder / "mine", digest(machine)
    machine.run("init", "--template", "puffer-consumer", "mine", at=machine.folder)
    machine.run("lock", at=mine)
    path = machine.project / "wardian.toml"
    path.write_text(path.read_text().replace('PYTHONUNBUFFERED = "1"', 'PYTHONUNBUFFERED = "1", NEWER = "1"'))
    machine.run("lock")
    after = digest(machine)
    assert after != before

    kept = machine.run("lock", at=mine)
    assert before in (mine / "wardian.lock").read_text(), kept.stderr
    told = machine.run("lock", "--upgrade", "--dry-run", at=mine)
    assert after.removeprefix("sha256:")[:12] in told.stdout + told.stderr


def test_a_second_machine_builds_the_same_digest(published: Machine, elsewhere: Machine) -> None:
    """It compiles the wheel again; other bytes than those of the lock would be refused."""
    assert digest(elsewhere) == digest(published)


def test_fault_results_belong_to_root(elsewhere: Machine, plain_user: Any) -> None:
    argv = [*SCRIPT, "--trainer-backend", "random", "--timesteps", "4096", "--overwrite"]
    elsewhere.run("run", "--", *argv)

    results = list((elsewhere.project / "results").rglob("*"))
    assert len(results) > 4
    assert {path.stat().st_uid for path in results} == {plain_user.uid}


def test_fault_it_runs_as_root(elsewhere: Machine, plain_user: Any) -> None:
    said = elsewhere.run("run", "--", "python", "-c", "import os; print(os.getuid(), os.path.expanduser('~'))")

    uid, home = said.stdout.split()
    assert int(uid) == plain_user.uid
    assert home not in ("", "/", "/root")


def test_a_terminated_training_says_so_and_goes_on(machine: Machine) -> None:
    argv = [*SCRIPT, "--timesteps", "400000", "--run-dir", "results/long"]
    machine.run("run", "--detach", "--name", "long", "--", *argv)
    folder = machine.project / "results" / "long"
    wait_for(lambda: (folder / "metrics.jsonl").exists() and len(rows(folder / "metrics.jsonl")) > 3)

    machine.run("stop", "long")

    wait_for(lambda: json.loads((folder / "metadata.json").read_text())["status"] != "running")
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["status"] == "interrupted"
    wait_for(lambda: machine.json("runs", "show", "long")["state"] != "running")
    assert machine.json("runs", "show", "long")["exit_code"] == 143
    done = metadata["updates"]
    again = [*SCRIPT, "--timesteps", str((done + 3) * 2048), "--run-dir", "results/long", "--resume"]
    machine.run("run", "--", *again)
    assert [row["update"] for row in rows(folder / "metrics.jsonl")] == list(range(1, done + 4))
