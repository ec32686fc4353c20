"""The puffer system the whole way: a published, pinned trainer image, a policy that learns in it, a project on top.

Each fault that the original had is a test of its own; its name begins with ``test_fault``.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.people import Person
from tests.stores import linked

IMAGE = "trainer/rl-puffer-base:py311-puffercore3.0.17"
SCRIPT = ("python", "training/train_puffer.py")
NAME = "rl-puffer-base"


@dataclasses.dataclass(frozen=True)
class Machine:
    """A store and the projects beside it, used by one person."""

    folder: Path
    python: tuple[str, ...] = (sys.executable,)
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def trainer(self) -> Path:
        """The project that publishes the image."""
        return self.folder / "trainer"

    def run(
        self, *argv: str, at: Path | None = None, code: int | None = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line; it must end with ``code``."""
        done = subprocess.run(
            [*self.python, "-m", "wardian", *argv],
            cwd=at or self.trainer,
            env={**os.environ, "WARDIAN_HOME": str(self.folder / "store"), **self.extra, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, (
            f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def json(self, *argv: str, at: Path | None = None) -> Any:
        """The answer of a command line."""
        return json.loads(self.run(*argv, "--json", at=at).stdout)


def made(folder: Path, base_store: Path) -> Machine:
    """A machine that has locked and built the template; made once for all workers."""
    machine = Machine(folder)
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            linked(base_store, folder / "store")
            machine.run("init", "--template", "puffer", "trainer", at=folder)
            machine.run("lock")
            machine.run("build")
            (folder / "done").touch()
    return machine


@pytest.fixture(scope="session")
def published(session_folder: Path, base_store: Path, need: Callable[..., None]) -> Machine:
    """A machine with the template locked and built. Tests do not change it."""
    need("bwrap", "mmdebstrap", "git")
    return made(session_folder / "puffer", base_store)


@pytest.fixture
def machine(published: Machine, tmp_path: Path) -> Machine:
    """This test's own copy of the published machine; the store's files are linked."""
    copy = tmp_path / "machine"
    linked(published.folder, copy)
    for path in (copy / "trainer").rglob("*"):  # these are edited: no links
        if path.is_file():
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
    return Machine(copy)


@pytest.fixture(scope="session")
def elsewhere(session_folder: Path, published: Machine, plain_user: Any) -> Machine:
    """A second machine: a plain user, another folder, zone, umask, an empty store; it builds from the same lock."""
    folder = session_folder / "elsewhere ü"
    person = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    machine = Machine(folder, person.python(), {"TZ": "Pacific/Chatham"})
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            shutil.copytree(published.trainer, machine.trainer, ignore=shutil.ignore_patterns(".wardian", "results"))
            # What can be downloaded is; the wheel that was built from source cannot, so this machine builds it as well.
            store = folder / "store"
            built = lock(published)["built"][0]["sha256"]
            shutil.copytree(
                published.folder / "store" / "downloads", store / "downloads", ignore=shutil.ignore_patterns(built)
            )
            person.own(folder)
            shell = ["sh", "-c", 'umask 077; exec "$@"', "sh", *machine.python, "-m", "wardian", "build"]
            env = {**os.environ, **machine.extra, "WARDIAN_HOME": str(store)}
            done = subprocess.run(shell, cwd=machine.trainer, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / "done").touch()
    return machine


def lock(machine: Machine) -> dict[str, Any]:
    """The lock's entry of the image."""
    text = (machine.trainer / "wardian.lock").read_text()
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
    wheels = tomllib.loads((published.trainer / entry["pylock"]).read_text())["packages"]

    assert len(entry["base"]["debs"]) > 80
    assert all(deb["sha256"] and deb["version"] for deb in entry["base"]["debs"])
    files = [wheel["wheels"][0] if "wheels" in wheel else wheel["sdist"] for wheel in wheels]
    assert len(files) > 20
    assert all(len(file["hashes"]["sha256"]) == 64 for file in files)
    built = entry["built"][0]
    assert (built["name"], built["version"]) == ("pufferlib-core", "3.0.17")
    assert all(len(tool["sha256"]) == 64 for tool in built["build"])
    assert {"g++", "python3-dev"} <= {deb["name"] for deb in built["debs"]}


def test_the_smoke_test_passes(published: Machine) -> None:
    answer = published.json("test")

    assert {check["state"] for check in answer["checks"]} == {"passed"}
    assert len(answer["checks"]) == 5


def test_fault_the_smoke_test_asserts_nothing(machine: Machine) -> None:
    path = machine.trainer / "wardian.toml"
    path.write_text(path.read_text().replace('== \\"3.0.3\\"', '== \\"3.0.4\\"'))

    done = machine.run("test", "--json", code=1)

    failed = [check for check in json.loads(done.stdout)["checks"] if check["state"] != "passed"]
    assert [check["check"] for check in failed] == ["module is 3.0.3"]


def test_fault_digests_are_pasted_into_documents(published: Machine) -> None:
    texts = [path.read_text() for path in published.trainer.glob("*.md")]

    assert texts
    assert not any(re.search(r"sha256:[0-9a-f]", text) for text in texts)
    assert published.json("images")
    assert digest(published).startswith("sha256:")


def test_fault_the_whole_repository_is_sent(machine: Machine) -> None:
    spec = machine.trainer / "wardian.toml"
    copied = '\ncopy = [{ source = ".", target = "/workspace" }]\n'
    spec.write_text(spec.read_text().replace("\nworkdir = ", f"{copied}workdir = ", 1))
    (machine.trainer / ".wardianignore").write_text("data\n")
    machine.run("lock")
    before = digest(machine)
    (machine.trainer / ".env").write_text("WANDB_API_KEY=from-the-file\n")
    (machine.trainer / "data").mkdir()
    (machine.trainer / "data" / "frames.bin").write_bytes(bytes(1 << 20))
    subprocess.run(["git", "init", "-q", "."], cwd=machine.trainer, check=True)

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

    written = [path for path in (machine.trainer / ".wardian").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_it_learns_and_the_baseline_does_not(machine: Machine) -> None:
    machine.run("run", "--", *SCRIPT, "--trainer-backend", "puffer_ppo", "--timesteps", "120000", "--expect", "150")
    machine.run("run", "--", *SCRIPT, "--trainer-backend", "random", "--timesteps", "20000", "--run-dir", "results/r")
    machine.run("run", "--", *SCRIPT, "--trainer-backend", "random", "--timesteps", "4096", "--expect", "150", code=1)

    learned = machine.trainer / "results" / "puffer_ppo-CartPole-v1-0"
    metadata = json.loads((learned / "metadata.json").read_text())
    assert metadata["status"] == "finished"
    assert metadata["final_return"] >= 150
    assert metadata["image"] == digest(machine)
    assert metadata["versions"]["pufferlib-core"] == "3.0.17"
    assert rows(learned / "metrics.jsonl")[0]["mean_return"] < 40
    assert (learned / "checkpoints" / "latest").exists()
    assert rows(machine.trainer / "results" / "r" / "metrics.jsonl")[-1]["mean_return"] < 40


def test_a_run_can_be_made_again_from_its_record(machine: Machine) -> None:
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q", "."], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *words], cwd=machine.trainer, check=True)
    argv = [*SCRIPT, "--timesteps", "8192", "--seed", "3", "--run-dir", "results/three"]

    machine.run("run", "--name", "three", "--", *argv)
    record = machine.json("runs", "show", "three")
    (machine.trainer / "training" / "train_puffer.py").write_text("raise SystemExit('changed since')\n")
    machine.run("reproduce", "three")
    again = machine.json("runs", "show", "@last")

    assert record["digest"] == again["digest"] == digest(machine)
    assert record["argv"] == again["argv"] == argv
    assert record["lock"].startswith("sha256:")
    assert record["code"]["revision"] == again["code"]["revision"] is not None
    assert again["of"] == record["id"]
    first = machine.trainer / "results" / "three" / "metrics.jsonl"
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
    path = machine.trainer / "wardian.toml"
    path.write_text(path.read_text().replace('PYTHONUNBUFFERED = "1"', 'PYTHONUNBUFFERED = "1", NEWER = "1"'))
    machine.run("lock")
    after = digest(machine)
    assert after != before

    kept = machine.run("lock", at=mine)
    assert before in (mine / "wardian.lock").read_text(), kept.stderr
    told = machine.run("lock", "--upgrade", "--dry-run", at=mine)
    assert after.removeprefix("sha256:")[:12] in told.stdout + told.stderr


def test_a_second_machine_builds_the_same_digest(published: Machine, elsewhere: Machine) -> None:
    assert digest(elsewhere) == digest(published)


def test_fault_results_belong_to_root(elsewhere: Machine, plain_user: Any) -> None:
    argv = [*SCRIPT, "--trainer-backend", "random", "--timesteps", "4096", "--overwrite"]
    elsewhere.run("run", "--", *argv)

    results = list((elsewhere.trainer / "results").rglob("*"))
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
    folder = machine.trainer / "results" / "long"
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


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    import time

    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)
