"""Whole command lines over a real Docker and a real Podman: loading, running, following, ending, owners of files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Wardian
from tests.engines import Engine
from tests.images import add_image, layer
from tests.rootfs import MODES, defaults, files
from tests.verbs.running import make_project, make_store, records
from wardian.runs.probe import listens
from wardian.store.store import Store

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def store(home: Path, need: Callable[..., None]) -> Store:
    need("busybox")
    return Store(make_store(home / "store"))


@pytest.fixture(params=["docker", "podman"])
def engine_here(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn, which this test's environment leads to."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def project(tmp_path: Path, engine_here: Engine) -> Path:
    return make_project(tmp_path / "project", f'gpus = "none"\nengine = "{engine_here.program}"')


def until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def detach(wardian: Wardian, project: Path, script: str, *flags: str) -> str:
    return wardian("run", "-d", *flags, "--", "sh", "-c", script, cwd=project).out.strip()


def log(project: Path, run: str) -> bytes:
    return (project / ".wardian/runs" / run / "log").read_bytes()


# ── loading ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_load_moves_an_image_once(wardian: Wardian, project: Path, engine_here: Engine, store: Store) -> None:
    name, image = engine_here.program, "demo/once:latest"
    layers = [layer({"data": os.urandom(600_000)})]  # which no other test has brought to this engine
    add_image(store, image, layers, config=defaults({}))
    assert "would load" in wardian("load", "--dry-run", "--engine", name, image, cwd=project).out
    first = wardian("load", "--engine", name, image, "--json", cwd=project).json()
    assert (first["how"], first["names"]) == ("pulled", [image])
    assert first["sent"] > 500_000
    second = wardian("load", "--engine", name, image, "--json", cwd=project).json()
    assert (second["how"], second["sent"], second["id"]) == ("there already", 0, first["id"])
    known = engine_here.json("image", "inspect", image)[0]
    assert known["Id"].removeprefix("sha256:") == first["id"].removeprefix("sha256:")
    names = (*known["RepoTags"], *known["RepoDigests"])
    assert not [one for one in names if "127.0.0.1" in one], "the name of the moment is gone"


def test_load_moves_only_the_layers_that_are_lacking(
    wardian: Wardian, project: Path, engine_here: Engine, store: Store
) -> None:
    name = engine_here.program
    wardian("load", "--engine", name, "train", cwd=project)
    lower, code = layer(files(), modes=MODES), layer({"code": os.urandom(2000)})
    add_image(store, "demo/code:latest", [lower, code], config=defaults({}))
    moved = wardian("load", "--engine", name, "demo/code:latest", "--json", cwd=project).json()
    assert moved["how"] == "pulled"
    assert moved["sent"] < 10_000
    assert (
        engine_here.run("run", "--rm", "--network", "none", "demo/code:latest", "wc", "-c", "/code").stdout
        == "2000 /code\n"
    )


def test_a_storage_that_copies_each_layer_is_told_of(
    wardian: Wardian, tmp_path: Path, podman: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    runtime = Path(podman.env["CONTAINERS_STORAGE_CONF"]).parent / "runtime"
    settings = tmp_path / "storage.conf"
    settings.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/vfs"\nrunroot = "{runtime.read_text().strip()}/vfs"\n'
    )
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(settings))
    said = wardian("load", "--engine", "podman", "train", cwd=project)
    assert "storage vfs: each layer of an image is a whole copy" in said.err
    assert "install fuse-overlayfs" in said.err
    assert "vfs" not in wardian("load", "--engine", "podman", "train", cwd=project).err
    (found,) = [one for one in wardian("doctor", "--json", code=None).json()["findings"] if one["name"] == "podman"]
    assert found["state"] == "note"


def test_a_name_that_came_later_is_given_too(
    wardian: Wardian, project: Path, engine_here: Engine, store: Store
) -> None:
    wardian("load", "--engine", engine_here.program, "train", cwd=project)
    image = store.resolve("demo/train:latest")
    assert image
    store.tag("demo/train:other", image)
    names = wardian("load", "--engine", engine_here.program, "train", "--json", cwd=project).json()["names"]
    assert set(names) == {"demo/train:latest", "demo/train:other"}
    assert engine_here.run("image", "inspect", "demo/train:other").returncode == 0


def test_an_archive_where_loopback_is_not_ours(
    wardian: Wardian, tmp_path: Path, docker: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    add_image(store, "demo/archive:latest", [layer({"unique": os.urandom(100)})], config=defaults({}))
    monkeypatch.setattr("wardian.runtimes.docker.Docker.archive_only", lambda _: True)
    loaded = wardian("load", "--engine", "docker", "demo/archive:latest", "--json", cwd=project).json()
    assert loaded["how"] == "archive"
    assert docker.run("image", "inspect", "demo/archive:latest").returncode == 0
    assert wardian("load", "--engine", "docker", "demo/archive:latest", "--json", cwd=project).json()["sent"] == 0


def test_the_containerd_store_knows_it_by_its_manifest(
    wardian: Wardian, tmp_path: Path, engine: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = engine("docker_containerd")
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    project = make_project(tmp_path / "project")
    loaded = wardian("load", "--engine", "docker", "train", "--json", cwd=project).json()
    assert loaded["id"] == loaded["digest"]
    assert wardian("load", "--engine", "docker", "train", "--json", cwd=project).json()["sent"] == 0
    assert wardian("run", "--engine", "docker", "--", "sh", "-c", "exit 5", cwd=project, code=5).code == 5


# ── running ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_run_loads_by_itself_and_gives_words_and_code_through(
    wardian: Wardian, project: Path, engine_here: Engine
) -> None:
    """The command that was given is the one that runs: an original of ours ignored it."""
    engine_here.run("rmi", "--force", "demo/train:latest", check=False)
    done = wardian("run", "--", "sh", "-c", 'echo "$1|$2"; exit 9', "x", "a  b", "$(id)", cwd=project, code=9)
    assert done.out == "a  b|$(id)\n"
    assert f"engine: {engine_here.program}, as [run].engine has it" in done.err
    record = records(project)[-1]
    assert (record.engine, record.exit_code, record.state) == (engine_here.program, 9, "finished")
    assert record.container == f"wardian-{record.id}"
    assert "engine:" not in wardian("run", "--engine", "sandbox", "--", "true", cwd=project).err


def test_a_program_that_is_missing_fails_here(wardian: Wardian, project: Path) -> None:
    done = wardian("run", "-d", "--", "no-such-thing", cwd=project, code=127)
    assert done.out == ""
    assert "wardian: no-such-thing: command not found in the image" in done.err
    until(lambda: records(project)[-1].state == "failed")


def test_a_container_that_cannot_start_is_the_engines_failure(wardian: Wardian, project: Path) -> None:
    done = wardian("run", "--workdir", "/etc/plain", "--", "true", cwd=project, code=125)
    assert "could not start the container; its own words are above" in done.err
    assert (records(project)[-1].state, records(project)[-1].exit_code) == ("failed", 125)


def test_a_detached_run_is_followed_entered_and_ended(wardian: Wardian, project: Path, engine_here: Engine) -> None:
    script = 'trap "echo saved; exit 9" TERM; echo "ready $A_KEY"; while :; do sleep 0.1; done'
    run = detach(wardian, project, script, "--name", "long", "--env", "A_KEY=s3cret")
    until(lambda: b"ready" in log(project, run))
    assert run in wardian("ps", cwd=project).out
    assert wardian("exec", "long", "--", "sh", "-c", 'echo "$A_KEY"; exit 4', cwd=project, code=4).out == "s3cret\n"
    entered = subprocess.run(
        [sys.executable, "-m", "wardian", "attach", "long"],
        cwd=project,
        input=b"pwd; exit 6\n",
        capture_output=True,
        check=False,
    )
    assert (entered.returncode, entered.stdout) == (6, b"/workspace\n")
    assert wardian("stop", "long", cwd=project).out == f"{run}\n"
    assert wardian("logs", "long", cwd=project).out == "ready s3cret\nsaved\n"
    assert (records(project)[-1].state, records(project)[-1].exit_code) == ("finished", 9)
    assert wardian("ps", "--json", cwd=project).json() == []
    assert "is not running: it is finished" in wardian("exec", "long", "true", cwd=project, code=125).err
    assert engine_here.run("ps", "-aq", "--filter", f"label=dev.wardian.run={run}").stdout == ""
    assert "s3cret" not in (project / ".wardian/runs" / run / "record.json").read_text()


def test_a_deaf_program_is_killed(wardian: Wardian, project: Path, engine_here: Engine) -> None:
    run = detach(wardian, project, 'trap "" TERM; echo ready; while :; do sleep 0.1; done')
    until(lambda: b"ready" in log(project, run))
    wardian("stop", "--time", "0.3", run, cwd=project)
    assert records(project)[-1].exit_code == 137
    assert engine_here.run("ps", "-aq", "--filter", f"label=dev.wardian.run={run}").stdout == ""


def test_a_container_whose_watcher_was_killed_is_lost_and_can_be_ended(
    wardian: Wardian, project: Path, engine_here: Engine
) -> None:
    run = detach(wardian, project, "echo ready; exec sleep 300")
    until(lambda: b"ready" in log(project, run))
    watcher = records(project)[-1].supervisor
    assert watcher
    os.kill(watcher.pid, signal.SIGKILL)
    until(lambda: not watcher.alive())
    assert [(one["id"], one["state"]) for one in wardian("ps", "--json", cwd=project).json()] == [(run, "lost")]
    assert wardian("exec", run, "--", "echo", "still", cwd=project).out == "still\n"
    wardian("stop", run, cwd=project)
    assert wardian("ps", "--json", cwd=project).json() == []
    assert engine_here.run("ps", "-q", "--filter", f"label=dev.wardian.run={run}").stdout == ""


def test_sigterm_of_wardian_ends_the_program(wardian: Wardian, project: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "wardian",
        "run",
        "--",
        "sh",
        "-c",
        'trap "exit 7" TERM; echo on; while :; do sleep 0.1; done',
    ]
    child = subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"on\n"
    child.terminate()
    child.communicate(timeout=60)
    assert child.returncode == 7


def test_checks_run_in_an_engine_too(wardian: Wardian, tmp_path: Path, engine_here: Engine) -> None:
    checks = '[images.train.tests]\ngood = "test -x /bin/tool"\nbad = "exit 3"\n'
    checks += 'slow = { run = "sleep 10077", timeout = "1s" }\n'
    project = make_project(tmp_path / "checked", images=f"\n{checks}")
    done = wardian("test", "--engine", engine_here.program, "--json", cwd=project, code=1)
    assert {one["check"]: (one["state"], one["exit_code"]) for one in json.loads(done.out)["checks"]} == {
        "good": ("passed", 0),
        "slow": ("failed", None),
        "bad": ("failed", 3),
    }
    assert "sleep 10077" not in engine_here.run("ps", "--no-trunc").stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_checks_end_with_the_wardian_that_is_killed(
    tmp_path: Path, engine_here: Engine, number: signal.Signals
) -> None:
    """Its clients go on without it: only a container that somebody ends, ends."""
    mark = f"8{time.time_ns() % 10**6}"
    checks = f"\n[images.train.tests]\none = 'trap : TERM; sleep {mark}; sleep {mark}'\ntwo = 'sleep {mark}'\n"
    project = make_project(tmp_path / "checked", images=checks)
    words = [sys.executable, "-m", "wardian", "test", "-j", "2", "--engine", engine_here.program]
    child = subprocess.Popen(words, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ours() -> list[str]:
        names = engine_here.run("ps", "--all", "--quiet", "--filter", "label=dev.wardian.run").stdout.split()
        return [name for name in names if mark in engine_here.run("inspect", name, check=False).stdout]

    def asleep() -> list[bytes]:
        return subprocess.run(["pgrep", "-xf", f"sleep {mark}"], capture_output=True, check=False).stdout.split()

    until(lambda: len(asleep()) == 2)
    assert len(ours()) == 2
    child.send_signal(number)
    child.wait()
    until(lambda: not asleep() and not ours())


def test_two_checkouts_run_side_by_side(wardian: Wardian, project: Path, tmp_path: Path, engine_here: Engine) -> None:
    """Neither names nor ports are fixed: with fixed ones, the second fails."""
    ports = f'gpus = "none"\nengine = "{engine_here.program}"\nports = {{ board = 6006 }}'
    make_project(project, ports)
    other = make_project(tmp_path / "other", ports)
    script = 'echo "$WARDIAN_PORT_BOARD"; nc -lp "$WARDIAN_PORT_BOARD" -e true'
    first = detach(wardian, project, script)
    until(lambda: log(project, first))
    until(lambda: listens(int(log(project, first))))
    second = detach(wardian, other, script)
    until(lambda: log(other, second))
    assert log(project, first) != log(other, second)
    wardian("stop", first, cwd=project)
    wardian("stop", second, cwd=other)


def test_a_run_of_an_engine_is_made_again(wardian: Wardian, project: Path, engine_here: Engine) -> None:
    wardian("run", "--env", "SEED=3", "--", "sh", "-c", 'exit "$SEED"', cwd=project, code=3)
    wardian("reproduce", "--current-code", "@last", cwd=project, code=3)
    assert [record.engine for record in records(project)] == [engine_here.program] * 2
    wardian("reproduce", "--engine", "sandbox", "--current-code", "@last", cwd=project, code=3)
    assert records(project)[-1].engine == "sandbox"


# ── owners ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.getuid() != 0, reason="only root has other users' files")
@pytest.mark.parametrize("ending", ["exit 0", "exit 3", "kill -KILL $$"])
def test_what_another_uid_wrote_is_given_back(wardian: Wardian, project: Path, ending: str) -> None:
    """However the run ends. In an original of ours, --fix-perms never fired."""
    (project / "mine").mkdir()
    (project / "mine").chmod(0o777)
    (project / "before").touch()
    os.chown(project / "before", 4321, 4321)
    time.sleep(0.05)
    script = f"touch mine/new; mkdir mine/deep; ln -s /etc/passwd mine/link; {ending}"
    flags = ("run", "--user", "4321:99")
    wardian(*flags, "--fix-perms", "--", "sh", "-c", script, cwd=project, code=None)
    assert {path.name: path.lstat().st_uid for path in (project / "mine").iterdir()} == {"new": 0, "deep": 0, "link": 0}
    assert (project / "before").stat().st_uid == 4321, "not of this run"
    assert Path("/etc/passwd").stat().st_uid == 0
    wardian(*flags, "--", "touch", "mine/left", cwd=project)
    assert (project / "mine/left").stat().st_uid == 4321, "it was not asked for"


@pytest.mark.skipif(os.getuid() != 0, reason="only root has other users' files")
def test_owners_are_put_right_after_sigterm(wardian: Wardian, project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine").chmod(0o777)
    words = [sys.executable, "-m", "wardian", "run", "--user", "4321:99", "--fix-perms", "--"]
    child = subprocess.Popen(
        [*words, "sh", "-c", "touch mine/new; echo on; exec sleep 100"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout
    assert child.stdout.readline() == b"on\n"
    child.terminate()
    child.communicate(timeout=60)
    assert child.returncode == 143
    assert (project / "mine/new").stat().st_uid == 0


# ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_daemon_no_client_no_permission(
    wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[..., None]
) -> None:
    need("docker")
    project = make_project(tmp_path / "project")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    done = wardian("run", "--engine", "docker", "--", "true", cwd=project, code=125)
    assert done.err.splitlines() == [
        f"wardian: the Docker daemon at unix://{tmp_path}/absent.sock does not answer",
        "  type: sudo systemctl start docker, or use --engine sandbox",
    ]
    assert wardian("load", "--engine", "docker", "train", cwd=project, code=125).out == ""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    for name in ("docker", "podman"):
        done = wardian("run", "--engine", name, "--no-project", "--", "true", cwd=project, code=125)
        assert f"wardian: {name} is not on this machine\n  type: sudo apt-get install" in done.err


def test_an_engine_on_another_machine_gets_no_binds(
    wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: Engine
) -> None:
    """What it says before anything is started; the engine itself is ours, so that the image is there."""
    project = make_project(tmp_path / "project")
    monkeypatch.setattr("wardian.runtimes.docker.elsewhere", lambda _: True)
    done = wardian("run", "--engine", "docker", "--", "true", cwd=project, code=125)
    assert f"docker runs on another machine: {project} of this one cannot be bound there" in done.err
    assert (
        wardian("run", "--engine", "docker", "--no-project", "--", "sh", "-c", "exit 3", cwd=project, code=3).code == 3
    )
    assert docker.run("ps", "-aq", "--filter", "label=dev.wardian.run").stdout == ""


def test_a_gpu_that_is_not_there_is_off_with_one_line(wardian: Wardian, tmp_path: Path, docker: Engine) -> None:
    """A reservation of one makes the engine fail."""
    project = make_project(tmp_path / "project", 'gpus = "auto"')
    done = wardian("run", "--engine", "docker", "--", "true", cwd=project)
    assert len([line for line in done.err.splitlines() if line.startswith("no GPU:")]) == 1
    assert docker.program == "docker"


def test_auto_takes_docker_where_there_is_no_sandbox(
    wardian: Wardian, tmp_path: Path, docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    monkeypatch.setattr("wardian.hosts.sandbox.shutil.which", lambda name: None if name == "bwrap" else f"/bin/{name}")
    done = wardian("run", "--", "sh", "-c", "exit 4", cwd=project, code=4)
    assert "engine: docker, because the sandbox cannot work here: bwrap is not on this machine" in done.err
    assert records(project)[-1].engine == docker.program
