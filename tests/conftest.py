"""What every test may use. No test sees the real home, the real store or the machine's own Wardian settings."""

import dataclasses
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import engines
from tests.stores import linked

hypothesis.settings.register_profile("wardian", deadline=None)  # a loaded machine is no failure
hypothesis.settings.load_profile("wardian")

REQUIRED = os.environ.get("WARDIAN_REQUIRE_ENGINES") == "1"
PIP_CONFIG = (
    Path.home() / ".config" / "pip" / "pip.conf"
)  # the machine's package indexes stay known in an isolated HOME
PLAIN_USER = "wardian-test"
BASE = pytest.StashKey[Path]()  # the base folder that this run made
PASSED = pytest.StashKey[bool]()
FAILED = pytest.StashKey[bool]()  # a test's, in any of its phases


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update", action="store_true", help="rewrite what the cases expect; read the diff before you commit it"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Work in a base folder of this test run alone.

    Pytest closes the one that all runs of a user share whenever another run begins, and with it the way of the plain
    user that the tests become.
    """
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        # Not mkdtemp, whose names may end with "_": podman takes the path of an image for its name, and refuses that.
        temporary = os.environ.get("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        base = Path(temporary) / f"pytest-wardian-{secrets.token_hex(4)}"
        base.mkdir(mode=0o700)
        config.option.basetemp = str(base)
        config.stash[BASE] = base
    os.environ.setdefault(engines.CONTROLLER, str(os.getpid()))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and all it starts, ignores it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember what failed: its folders stay, those of other tests go (all together are many gigabytes)."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember whether there is something to look at."""
    if exitstatus == 0:
        session.config.stash[PASSED] = True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which engines ran."""
    for line in engines.told(Path(config.option.basetemp)):
        terminalreporter.line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the engines; leave the base folder only when a test failed."""
    if not hasattr(config, "workerinput") and config.option.basetemp:
        engines.end(Path(config.option.basetemp))
    if PASSED in config.stash and BASE in config.stash:
        shutil.rmtree(config.stash[BASE], ignore_errors=True)


@pytest.fixture
def expected(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a case's file, or write the file under --update."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; run: pytest --update"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(autouse=True)
def home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """An empty HOME with an empty store, for this test alone."""
    folder = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(("WARDIAN_", "XDG_", "GIT_", "DOCKER_", "REGISTRY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("WARDIAN_HOME", str(folder / "store"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "A Tester")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "tester@example.org")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "A Tester")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "tester@example.org")
    if PIP_CONFIG.exists() and "PIP_CONFIG_FILE" not in os.environ:
        monkeypatch.setenv("PIP_CONFIG_FILE", str(PIP_CONFIG))
    yield folder
    if FAILED not in request.node.stash:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """Name the programs a test needs: absent, it is skipped here and fails where WARDIAN_REQUIRE_ENGINES=1."""
    return _need


def _need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        _absent(f"not on this machine: {', '.join(missing)}")


def _absent(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"{reason} (and WARDIAN_REQUIRE_ENGINES=1)", pytrace=False)
    pytest.skip(reason)


@dataclasses.dataclass(frozen=True)
class PlainUser:
    """An unprivileged user with subordinate ids, and a home that it owns."""

    uid: int
    gid: int
    home: Path
    prefix: tuple[str, ...]  # an argv prefix that runs a program as this user; empty when we are it

    def own(self, path: Path) -> Path:
        """Give a tree to the user, and let it reach it."""
        if self.prefix:
            subprocess.run(["chown", "-R", f"{self.uid}:{self.gid}", str(path)], check=True)
            for parent in path.parents:
                if parent.stat().st_mode & 0o001 == 0:
                    parent.chmod(parent.stat().st_mode | 0o011)
        return path


@pytest.fixture(scope="session")
def plain_user() -> PlainUser:
    """Ourselves when we are not root; else a user made for the tests (``scripts/setup.sh`` makes it)."""
    if os.getuid():
        return PlainUser(os.getuid(), os.getgid(), Path.home(), ())
    _need("setpriv", "newuidmap")
    try:
        user = pwd.getpwnam(PLAIN_USER)
    except KeyError:
        _absent(f"no user {PLAIN_USER}; type: make setup")
        raise
    environment = ("env", f"HOME={user.pw_dir}", f"USER={PLAIN_USER}", f"LOGNAME={PLAIN_USER}")
    drop = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--inh-caps=-all")
    return PlainUser(user.pw_uid, user.pw_gid, Path(user.pw_dir), (*drop, *environment))


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one command line said and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The answer, parsed."""
        return json.loads(self.out)


Wardian = Callable[..., Answer]


@pytest.fixture
def wardian(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Wardian:
    """Run a command line in this process: ``wardian("lock", "--check", cwd=folder, code=1)``."""

    def run(*argv: str, cwd: Path | None = None, code: int | None = 0) -> Answer:
        from wardian.main import guarded

        capfd.readouterr()
        with monkeypatch.context() as patch:
            if cwd is not None:
                patch.chdir(cwd)
            ended = guarded(list(argv))
        sys.stdout.flush()
        sys.stderr.flush()
        said = capfd.readouterr()
        assert code is None or ended == code, f"wardian {argv} exited with {ended}\n{said.out}\n{said.err}"
        return Answer(ended, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One folder for all workers of this test run, for what is expensive to make (guard it with a lock file)."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


BASE_PROJECT = """\
[project]
name = "base"

[images.base]
from = "bootstrap:debian:bookworm"
python = "3.11"
"""
TORCH = 'requirements = ["torch==2.13.0"]\n'


@pytest.fixture(scope="session")
def base_store(session_folder: Path) -> Path:
    """A WARDIAN_HOME that holds one real bootstrapped image with Python, ``base/base:latest``; never change it."""
    _need("mmdebstrap", "bwrap", "apt-get")
    return _store(session_folder, "base", None)


@pytest.fixture(scope="session")
def torch_store(session_folder: Path, base_store: Path) -> Path:
    """``base_store`` with torch, unpacked and compiled, for the systems that begin with it; never change it."""
    return _store(session_folder, "torch", base_store, "run", "--", "python", "-c", "import torch, torch.optim")


def _store(session_folder: Path, name: str, source: Path | None, *then: str) -> Path:
    """A store in which one image was locked and built, once for all workers, and what it was built from."""
    from filelock import FileLock

    folder, project = session_folder / f"{name}-store", session_folder / f"{name}-project"
    done_once = session_folder / f"{name}-store.done"
    with FileLock(f"{folder}.lock"):
        if not done_once.exists():
            if source:
                linked(source, folder)
            project.mkdir(exist_ok=True)
            (project / "wardian.toml").write_text(BASE_PROJECT + (TORCH if source else ""))
            for argv in [["lock"], ["build"], *([then] if then else [])]:
                done = subprocess.run(
                    [sys.executable, "-m", "wardian", *argv],
                    cwd=project,
                    env={**os.environ, "WARDIAN_HOME": str(folder)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stdout + done.stderr
            done_once.touch()
    return folder


@pytest.fixture(scope="session")
def checkpoints(session_folder: Path) -> Path:
    """Real sharded checkpoints by their names in ``tests.checkpoints.CASES``; never change them."""
    from tests.checkpoints import checkpoints

    return checkpoints(session_folder)


@pytest.fixture(scope="session")
def base_project(base_store: Path) -> Path:
    """The project that ``base_store`` was built from, with its lock."""
    return base_store.parent / "base-project"


@pytest.fixture
def with_base(base_store: Path, home: Path) -> Path:
    """This test's own store, already holding the base image (blobs are linked, not copied)."""
    store = home / "store"
    linked(base_store, store)
    return store


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], engines.Engine]:
    """An engine by its name (docker, docker_containerd, podman, podman_rootless), running for all tests of this worker.

    Absent, it is named: the test is skipped, and fails where WARDIAN_REQUIRE_ENGINES=1.
    """
    base = tmp_path_factory.getbasetemp()

    def running(name: str) -> engines.Engine:
        try:
            if name.startswith("docker"):
                return engines.docker(base, "containerd" if name == "docker_containerd" else "graph")
            if name == "podman":
                return engines.podman(base)
            user: PlainUser = request.getfixturevalue("plain_user")
            for folder in (base, base.parent):
                if folder.stat().st_mode & 0o001 == 0:
                    folder.chmod(folder.stat().st_mode | 0o011)
            return engines.podman(base, pwd.getpwuid(user.uid).pw_name, user.prefix)
        except engines.Absent as absent:
            _absent(f"{name}: {absent}")
            raise

    return running


@pytest.fixture
def docker(engine: Callable[[str], engines.Engine], home: Path, monkeypatch: pytest.MonkeyPatch) -> engines.Engine:
    """A real Docker daemon, with compose and buildx, that this test's environment leads to; logins are this test's."""
    found = engine("docker")
    config = home / ".docker"
    config.mkdir()
    shutil.copy(Path(found.env["DOCKER_CONFIG"]) / "config.json", config)
    found = dataclasses.replace(found, env={**found.env, "DOCKER_CONFIG": str(config)})
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def podman(engine: Callable[[str], engines.Engine], monkeypatch: pytest.MonkeyPatch) -> engines.Engine:
    """A real Podman as root, that this test's environment leads to."""
    found = engine("podman")
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def podman_rootless(engine: Callable[[str], engines.Engine], monkeypatch: pytest.MonkeyPatch) -> engines.Engine:
    """A real Podman of a plain user; this test's environment leads to it only if we are that user."""
    found = engine("podman_rootless")
    for name, value in found.env.items() if not found.prefix else ():
        monkeypatch.setenv(name, value)
    return found
