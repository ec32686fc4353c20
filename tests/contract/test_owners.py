"""To whom belongs what a run wrote: every user mode in every engine, for every caller, with and without --fix-perms."""

import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.test_runtime import environment, person
from tests.images import add_image, layer
from tests.people import Person, hear_signals
from tests.rootfs import MODES, defaults, files
from tests.verbs.running import make_project, make_store
from wardian.store.store import Store

Owner = tuple[int, int] | None
CALLER = None  # whoever typed it
# mode → owner, where a uid inside is that uid of this machine; else every uid inside is the caller's.
REAL: dict[str, Owner] = {
    "host": CALLER,
    "root": (0, 0),
    "4321:99": (4321, 99),
    "root --fix-perms": CALLER,
    "4321:99 --fix-perms": CALLER,
}
OURS: dict[str, Owner] = dict.fromkeys(REAL, CALLER)
WORLDS = [
    ("sandbox", "root", REAL),
    ("sandbox", "subids", OURS),
    ("docker", "root", REAL),
    ("docker", "subids", REAL),  # the daemon is root; its socket is open to the caller
    ("podman", "root", REAL),
    ("podman", "subids", OURS),
]
HERE = [one for one in WORLDS if os.getuid() == 0 or one[2] is OURS]  # only root has other users' files
Shared = tuple[str, Person, tuple[str, ...], dict[str, Owner]]


@dataclasses.dataclass
class World:
    """One engine and one caller, with a project whose folder ``mine`` is open to everybody."""

    engine: str
    person: Person
    python: tuple[str, ...]
    owners: dict[str, Owner]
    project: Path

    def words(self, mode: str, script: str) -> list[str]:
        """The command line that runs a script in a user mode."""
        run = ("run", "--engine", self.engine, "--user", *mode.split(), "--", "sh", "-c", script)
        return [*self.python, "-m", "wardian", *run]

    def run(self, mode: str, script: str, code: int = 0) -> str:
        """Run it to its end; what was said besides what it wrote."""
        done = subprocess.run(
            self.words(mode, script), cwd=self.project, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    def owner(self, mode: str) -> tuple[int, int]:
        """Whose the files of a mode are."""
        return self.owners[mode] or (self.person.uid, self.person.gid)

    def found(self) -> dict[str, tuple[int, int]]:
        """What is in the folder, and whose."""
        seen = {path: path.lstat() for path in (self.project / "mine").rglob("*")}
        return {path.name: (one.st_uid, one.st_gid) for path, one in seen.items()}


@pytest.fixture(scope="module", params=HERE, ids=[f"{engine}-{kind}" for engine, kind, _ in HERE])
def shared(
    request: pytest.FixtureRequest, need: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Shared:
    need("bwrap", "unshare", "setpriv", "busybox")
    engine, kind, owners = request.param
    who = person(kind, request)
    root = tmp_path_factory.mktemp("store")
    make_store(root / "store")
    merged = {f"usr/{path}" if path.startswith("bin") else path: content for path, content in files().items()}
    merged |= {f"usr/{name}": None for name in ("lib", "lib64", "sbin")}
    merged |= {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}
    modes = {f"usr/{path}" if path.startswith("bin") else path: mode for path, mode in MODES.items()}
    config = defaults({"WorkingDir": "/workspace"})
    add_image(Store(root / "store"), "demo/merged:latest", [layer(merged, modes=modes)], config=config)
    words = environment(engine, who, root, request)
    who.own(root)
    return engine, who, ("env", f"WARDIAN_HOME={root}/store", *words, *who.python()), owners


@pytest.fixture
def world(shared: Shared, tmp_path: Path) -> World:
    engine, who, python, owners = shared
    project = make_project(tmp_path / "a project")
    (project / "mine").mkdir()
    who.own(tmp_path)
    (project / "mine").chmod(0o777)
    return World(engine, who, python, owners, project)


def before(world: World) -> dict[str, tuple[int, int]]:
    """Files that lie there already: of root, of somebody else, of the caller."""
    owners = {"of-root": (0, 0), "of-another": (77, 77)} if os.getuid() == 0 else {}
    owners["of-caller"] = (world.person.uid, world.person.gid)
    for name, (uid, gid) in owners.items():
        (world.project / "mine" / name).touch()
        os.chown(world.project / "mine" / name, uid, gid)
    time.sleep(0.05)  # a file system's clock may be that much behind
    return owners


@pytest.mark.parametrize("mode", REAL)
def test_whose_files_are_in_each_mode(world: World, mode: str) -> None:
    old = before(world)
    world.run(mode, "echo x >mine/new; mkdir mine/deep; echo x >mine/deep/er; ln -s /etc/passwd mine/link")
    assert world.found() == old | dict.fromkeys(("new", "deep", "er", "link"), world.owner(mode))
    assert Path("/etc/passwd").stat().st_uid == 0


@pytest.mark.parametrize(("ending", "code"), [("exit 3", 3), ("kill -KILL $$", 137), ("exec /no/such/program", 127)])
def test_they_are_given_back_however_the_program_ends(world: World, ending: str, code: int) -> None:
    old = before(world)
    world.run("root --fix-perms", f"touch mine/new; {ending}", code)
    assert world.found() == {**old, "new": (world.person.uid, world.person.gid)}


def test_they_are_given_back_where_bin_is_a_link(world: World) -> None:
    """As in Debian's images: what gives them back has this machine's programs bound over them."""
    world.run("root --fix-perms --image demo/merged:latest", "touch mine/new")
    assert world.found() == {"new": (world.person.uid, world.person.gid)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_they_are_given_back_after_a_signal(world: World, number: signal.Signals) -> None:
    old = before(world)
    child = subprocess.Popen(
        world.words("root --fix-perms", "touch mine/new; echo on; exec sleep 1000"),
        cwd=world.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_signals,  # noqa: PLW1509 - no thread of ours holds a lock
    )
    assert child.stdout
    assert child.stdout.readline() == b"on\n"
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 128 + number, said.decode()
    assert world.found() == {**old, "new": (world.person.uid, world.person.gid)}


def test_a_mount_that_vanished_meanwhile_is_no_reason_to_fail(world: World, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.mkdir(mode=0o777)
    world.person.own(extra)
    mode = f"root --fix-perms --mount {extra}:/extra"
    child = subprocess.Popen(
        world.words(mode, "touch mine/new; echo on; read -r line; exit 4"),
        cwd=world.project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout
    assert child.stdout.readline() == b"on\n"
    shutil.rmtree(extra)
    _, said = child.communicate(b"\n", timeout=60)
    assert (child.returncode, b"Traceback" in said) == (4, False)
    assert world.found() == {"new": (world.person.uid, world.person.gid)}
