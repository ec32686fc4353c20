"""`wardian lock`, whole: over a base image in the store and a package index on loopback."""

import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from tests.indexes import PASSWORD, USER, Index, make_wheel, serve
from wardian.lock.file import read
from wardian.lock.model import Lock
from wardian.lock.pylock import pins
from wardian.store.store import Store

Wardian = Callable[..., Any]
OS_RELEASE = b'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n'
STATUS = b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n\n"
TOML = """\
[project]
name = "p"

[images.base]
from = "example.org/python:3.11"
requirements = ["alpha<2"]

[images.dev]
from = "@base"
requirements = ["gamma"]
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "served"
    folder.mkdir()
    make_wheel(folder, "alpha", "1.0", requires=["beta>=1"])
    make_wheel(folder, "alpha", "2.0", requires=["beta>=2"])
    make_wheel(folder, "beta", "1.0")
    make_wheel(folder, "gamma", "1.0", requires=["alpha"])
    with serve(Index(folder)) as served:
        yield served


@pytest.fixture
def project(tmp_path: Path, home: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose base image is in the store; nothing beyond loopback is asked."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
    add_base(Store(home / "store"))
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "wardian.toml").write_text(TOML)
    return folder


def add_base(store: Store, reference: str = "example.org/python:3.11", version: str = "3.11") -> str:
    files = {"usr/bin/python" + version: b"", "etc/os-release": OS_RELEASE, "var/lib/dpkg/status": STATUS}
    config = {"Labels": {"dev.wardian.python": version, "dev.wardian.interpreter": f"/usr/bin/python{version}"}}
    return add_image(store, reference, [layer(files)], config=config).digest


def lock_of(project: Path) -> Lock:
    return read((project / "wardian.lock").read_text(), "wardian.lock")


def names(project: Path) -> list[str]:
    return sorted(path.name for path in project.iterdir())


def edit(project: Path, old: str, new: str) -> None:
    path = project / "wardian.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_project_is_locked(project: Path, wardian: Wardian) -> None:
    said = wardian("lock", cwd=project)
    stands = lock_of(project).images["base"].base
    assert stands is not None
    assert stands.digest is not None
    assert said.out.splitlines() == [
        f"base: example.org/python:3.11 ({stands.digest[:19]}), 2 distributions",
        "dev: 3 distributions",
        "written: pylock.base.toml, pylock.dev.toml, wardian.lock",
    ]
    lock = lock_of(project)
    base, dev = lock.images["base"], lock.images["dev"]
    assert (base.python, base.interpreter, base.pylock) == ("3.11", "/usr/bin/python3.11", "pylock.base.toml")
    assert dev.base is None
    assert pins((project / "pylock.base.toml").read_text()) == {"alpha": "1.0", "beta": "1.0"}
    assert pins((project / "pylock.dev.toml").read_text()) == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    data = tomllib.loads((project / "pylock.dev.toml").read_text())
    assert data["tool"]["wardian"] == {"glibc": 36, "requested": ["alpha", "gamma"]}
    assert names(project) == ["pylock.base.toml", "pylock.dev.toml", "wardian.lock", "wardian.toml"]


def test_a_fresh_lock_asks_nobody(project: Path, wardian: Wardian, index: Index) -> None:
    wardian("lock", cwd=project)
    before, asked = (project / "wardian.lock").stat().st_mtime_ns, len(index.authorizations)
    assert wardian("lock", cwd=project).out == "the lock is fresh\n"
    assert wardian("lock", "--check", cwd=project).out == "the lock is fresh\n"
    assert wardian("lock", "--json", cwd=project).json() == {"changed": False, "changes": [], "files": []}
    assert ((project / "wardian.lock").stat().st_mtime_ns, len(index.authorizations)) == (before, asked)


def test_locking_twice_from_nothing_gives_the_same_bytes(project: Path, wardian: Wardian) -> None:
    wardian("lock", cwd=project)
    first = {name: (project / name).read_bytes() for name in names(project)}
    for name in names(project):
        if name != "wardian.toml":
            (project / name).unlink()
    wardian("lock", cwd=project)
    assert {name: (project / name).read_bytes() for name in names(project)} == first


def test_check_names_what_is_stale(project: Path, wardian: Wardian) -> None:
    said = wardian("lock", "--check", cwd=project, code=1)
    assert said.err.splitlines()[0] == "wardian: the lock is stale: base is not locked yet; dev is not locked yet"
    wardian("lock", cwd=project)
    edit(project, '"alpha<2"', '"alpha<3"')
    said = wardian("lock", "--check", cwd=project, code=1)
    assert (
        "base: requirements changed from" in said.err or "base: requirements changed (+alpha<3, -alpha<2)" in said.err
    )
    data = wardian("lock", "--check", "--json", cwd=project, code=1).json()
    assert data["fresh"] is False
    assert data["reasons"][0].startswith("base: requirements changed")
    assert data["reasons"][1] == "dev: its parent base changed"


def test_only_what_changed_is_resolved_and_versions_stay(project: Path, wardian: Wardian, index: Index) -> None:
    wardian("lock", cwd=project)
    base = (project / "pylock.base.toml").read_text()
    make_wheel(index.folder, "beta", "2.0")
    make_wheel(index.folder, "delta", "1.0")
    edit(project, '["gamma"]', '["gamma", "delta"]')
    said = wardian("lock", cwd=project)
    assert said.out.splitlines() == ["dev:", "  + delta 1.0", "written: pylock.dev.toml, wardian.lock"]
    assert (project / "pylock.base.toml").read_text() == base


def test_upgrades(project: Path, wardian: Wardian, index: Index) -> None:
    wardian("lock", cwd=project)
    make_wheel(index.folder, "beta", "1.1")
    make_wheel(index.folder, "gamma", "1.1")
    assert wardian("lock", cwd=project).out == "the lock is fresh\n"
    dry = wardian("lock", "--upgrade", "gamma", "--dry-run", cwd=project)
    assert dry.out.splitlines() == ["dev:", "    gamma 1.0 → 1.1", "nothing is written: this is a dry run"]
    assert pins((project / "pylock.dev.toml").read_text())["gamma"] == "1.0"
    data = wardian("lock", "--upgrade", "gamma", "--json", cwd=project).json()
    assert data["changes"] == [
        {"image": "dev", "kind": "distribution", "name": "gamma", "before": "1.0", "after": "1.1"}
    ]
    said = wardian("lock", "--upgrade", cwd=project)
    assert said.out.splitlines()[:4] == ["base:", "    beta 1.0 → 1.1", "dev:", "    beta 1.0 → 1.1"]
    assert wardian("lock", "--upgrade", cwd=project).out == "nothing moved\n"
    wrong = wardian("lock", "--upgrade", "gamam", cwd=project, code=2)
    assert "nothing that is locked is called 'gamam'" in wrong.err
    assert "did you mean gamma" in wrong.err


def test_a_base_moves_when_it_is_asked_to(project: Path, wardian: Wardian, home: Path) -> None:
    wardian("lock", cwd=project)
    before = lock_of(project).images["base"].base
    store = Store(home / "store")
    digest = add_image(
        store,
        "example.org/python:3.11",
        [layer({"usr/bin/python3.11": b"new", "var/lib/dpkg/status": STATUS})],
        config={"Labels": {"dev.wardian.python": "3.11", "dev.wardian.interpreter": "/usr/bin/python3.11"}},
    ).digest
    edit(project, '"alpha<2"', '"alpha<2", "beta"')
    wardian("lock", cwd=project)
    assert lock_of(project).images["base"].base == before
    wardian("lock", "--upgrade", "example.org/python:3.11", cwd=project)
    moved = lock_of(project).images["base"].base
    assert moved is not None
    assert moved.digest == digest


def test_a_child_that_needs_another_version(project: Path, wardian: Wardian) -> None:
    edit(project, '["gamma"]', '["alpha>=2"]')
    said = wardian("lock", cwd=project, code=1)
    assert said.err.splitlines()[-2].startswith("wardian: dev: the requirements do not fit what @base has: ")
    assert "alpha 1.0 comes from @base" in said.err
    assert names(project) == ["wardian.toml"], "all or nothing"


def test_an_unsatisfiable_requirement(project: Path, wardian: Wardian) -> None:
    edit(project, '"alpha<2"', '"alpha>7"')
    said = wardian("lock", cwd=project, code=1)
    assert (
        "wardian: base: the requirements cannot be met: only alpha<=2.0 is available and you require alpha>7"
        in said.err
    )


def test_a_python_that_the_base_has_not(project: Path, wardian: Wardian) -> None:
    edit(project, 'requirements = ["alpha<2"]', 'python = "3.12"\nrequirements = ["alpha<2"]')
    said = wardian("lock", cwd=project, code=2)
    assert "images.base.python: example.org/python:3.11 has Python 3.11, not 3.12" in said.err


def test_an_image_that_asks_for_nothing_of_its_own(project: Path, wardian: Wardian) -> None:
    edit(project, 'requirements = ["gamma"]', 'env = { A = "1" }')
    wardian("lock", cwd=project)
    lock = lock_of(project)
    assert lock.images["dev"].pylock == "pylock.base.toml"
    assert names(project) == ["pylock.base.toml", "wardian.lock", "wardian.toml"]
    edit(project, '"1"', '"2"')
    assert wardian("lock", cwd=project).out == "the lock is fresh\n"


def test_an_image_that_goes(project: Path, wardian: Wardian) -> None:
    wardian("lock", cwd=project)
    edit(project, TOML[TOML.index("[images.dev]") :], "")
    assert wardian("lock", "--check", cwd=project, code=1).err.startswith(
        "wardian: the lock is stale: dev is locked, but no"
    )
    assert wardian("lock", cwd=project).out.splitlines()[0] == "dev: no longer locked"
    assert names(project) == ["pylock.base.toml", "wardian.lock", "wardian.toml"]


def test_a_matrix_has_a_lock_for_each_variant(project: Path, wardian: Wardian) -> None:
    edit(
        project,
        'requirements = ["alpha<2"]',
        'requirements = ["alpha=={a}"]\nmatrix = { a = ["1.0", "2.0"] }\ntags = ["a{a}"]',
    )
    edit(project, 'requirements = ["gamma"]', 'requirements = ["gamma"]\ntags = ["a{a}"]')
    make_wheel(Path(project.parent, "served"), "beta", "2.0")
    wardian("lock", cwd=project)
    assert list(lock_of(project).images) == ["base[a=1.0]", "base[a=2.0]", "dev[a=1.0]", "dev[a=2.0]"]
    assert pins((project / "pylock.dev-a-2_0.toml").read_text()) == {"alpha": "2.0", "beta": "2.0", "gamma": "1.0"}
    assert pins((project / "pylock.base-a-1_0.toml").read_text())["alpha"] == "1.0"


def test_requirement_files_groups_and_extras(project: Path, wardian: Wardian) -> None:
    (project / "env").mkdir()
    (project / "env" / "r.txt").write_text("-r more.txt\n")
    (project / "env" / "more.txt").write_text("alpha==1.0\n")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "1"\ndependencies = ["beta"]\n[dependency-groups]\ntest = ["gamma"]\n'
    )
    edit(project, 'requirements = ["alpha<2"]', 'files = ["env/r.txt"]')
    edit(project, 'requirements = ["gamma"]', 'groups = ["test"]\nextras = [""]')
    wardian("lock", cwd=project)
    assert pins((project / "pylock.dev.toml").read_text()) == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    (project / "env" / "more.txt").write_text("alpha==1.0\nbeta\n")
    assert "base: env/more.txt changed" in wardian("lock", "--check", cwd=project, code=1).err
    (project / "env" / "more.txt").unlink()
    assert "there is no file 'env/more.txt'" in wardian("lock", "--check", cwd=project, code=2).err


def test_the_base_of_another_wardian_project_is_built_upon(project: Path, wardian: Wardian, home: Path) -> None:
    wardian("lock", cwd=project)
    text = (project / "pylock.base.toml").read_bytes()
    files = {"usr/bin/python3.11": b"", "var/lib/dpkg/status": STATUS, "opt/env/pylock.toml": text}
    labels = {"dev.wardian.python": "3.11", "dev.wardian.interpreter": "/usr/bin/python3.11"}
    add_image(Store(home / "store"), "example.org/trainer:1", [layer(files)], config={"Labels": labels})
    other = project.parent / "other"
    other.mkdir()
    (other / "wardian.toml").write_text(
        '[project]\nname = "o"\n[images.x]\nfrom = "example.org/trainer:1"\nrequirements = ["gamma"]\n'
    )
    wardian("lock", cwd=other)
    entry = lock_of(other).images["x"]
    assert entry.inherited == ("alpha==1.0", "beta==1.0")
    assert pins((other / "pylock.x.toml").read_text()) == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    edit(other, '"gamma"', '"alpha>=2"')
    said = wardian("lock", cwd=other, code=1)
    assert "x: the requirements do not fit what example.org/trainer:1 has" in said.err


def test_secrets_stay_out(project: Path, wardian: Wardian, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.auth = True
    refused = wardian("lock", cwd=project, code=1).err
    assert f"base: the package index at {index.url.removeprefix('http://')} answers 401 Unauthorized" in refused
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple.replace("://", f"://{USER}:{PASSWORD}@"))
    edit(project, 'requirements = ["alpha<2"]', f'requirements = ["alpha<2"]\nindex = ["{index.url}/simple/"]')
    said = wardian("lock", "--verbose", cwd=project)
    written = "".join((project / name).read_text() for name in names(project))
    assert PASSWORD not in written + said.out + said.err


def test_a_pylock_changed_by_hand_is_made_again(project: Path, wardian: Wardian) -> None:
    wardian("lock", cwd=project)
    before = (project / "pylock.base.toml").read_text()
    (project / "pylock.base.toml").write_text(before.replace("alpha", "alhpa"))
    assert "pylock.base.toml is not the one that was locked" in wardian("lock", "--check", cwd=project, code=1).err
    wardian("lock", cwd=project)
    assert (project / "pylock.base.toml").read_text() == before


@pytest.mark.parametrize("text", ["version = [\n", "<<<<<<< HEAD\nversion = 1\n", "version = 9\n"])
def test_a_broken_lock_is_named_not_overwritten(project: Path, wardian: Wardian, text: str) -> None:
    (project / "wardian.lock").write_text(text)
    said = wardian("lock", cwd=project, code=2)
    assert said.err.startswith("wardian: wardian.lock")
    assert (project / "wardian.lock").read_text() == text


def test_options_that_contradict(project: Path, wardian: Wardian) -> None:
    assert "--check changes nothing" in wardian("lock", "--check", "--upgrade", cwd=project, code=2).err


def test_an_archive_and_a_store_that_is_empty(
    project: Path, wardian: Wardian, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = project.parent / "archive"
    wardian("lock", "--archive", str(archive), cwd=project)
    sums = (archive / "SHA256SUMS").read_text()
    assert sorted(line.split("  ")[1] for line in sums.splitlines()) == [
        f"wheels/{name}-1.0-py3-none-any.whl" for name in ("alpha", "beta", "gamma")
    ]
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=archive, check=False).returncode == 0
    assert len(list((archive / "images").iterdir())) == 1
    again = wardian("lock", "--archive", str(archive), cwd=project)
    assert "0 are new" in again.err
    from wardian.resolvers.archive import take_base

    digest = lock_of(project).images["base"].base
    assert digest is not None
    assert digest.digest is not None
    empty = Store(project.parent / "empty")
    assert take_base(archive, digest.digest, empty) is not None
    assert empty.config(digest.digest)["architecture"] == "amd64"
    assert take_base(archive, "sha256:" + "0" * 64, empty) is None


def test_a_fresh_lock_asks_nobody_and_loads_little(project: Path, wardian: Wardian, index: Index) -> None:
    wardian("lock", cwd=project)
    asked = len(index.authorizations)
    program = "import sys; from wardian.main import guarded; guarded(['lock', '--verbose']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=project, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("the lock is fresh\n")
    assert done.stderr == ""
    assert not {"httpx", "rich", "zstandard", "wardian.resolvers.session"} & set(done.stdout.split())
    assert len(index.authorizations) == asked


def test_another_requirement_loads_nothing_that_builds(project: Path, wardian: Wardian, index: Index) -> None:
    """It is what one waits for most often: no planner, no sandbox, no builder of source distributions."""
    wardian("lock", cwd=project)
    edit(project, 'requirements = ["alpha<2"]', 'requirements = ["alpha<2", "gamma"]')
    program = "import sys; from wardian.main import guarded; guarded(['lock']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=project, check=True, capture_output=True, text=True)
    assert "+ gamma" in done.stdout
    loaded = {"wardian.plan.layers", "wardian.hosts.sandbox", "wardian.builders.stack", "wardian.resolvers.sdist"}
    assert not loaded & set(done.stdout.split())


def test_a_lock_that_is_killed_leaves_a_lock_or_none(project: Path, wardian: Wardian) -> None:
    """Killed at fifty random moments while each file changes: what is there is whole, and the next run ends well."""
    argv = [sys.executable, "-m", "wardian", "lock"]
    wardian("lock", cwd=project)
    edit(project, '"alpha<2"', '"beta"')
    started = time.monotonic()
    subprocess.run(argv, cwd=project, check=True, capture_output=True)
    whole = time.monotonic() - started
    chance, ended = random.Random(7), []
    for turn in range(50):
        edit(project, *(('"beta"', '"alpha<2"') if turn % 2 == 0 else ('"alpha<2"', '"beta"')))
        child = subprocess.Popen(argv, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, whole))
        child.kill()
        ended.append(child.wait())
        for image in lock_of(project).images.values():
            assert image.pylock
            assert pins((project / image.pylock).read_text()), "whole, be it the old one or the new one"
    assert ended.count(-signal.SIGKILL) > 25, "most were killed"
    for old, new in (('"beta"', '"alpha<2"'), ('"alpha<2"', '"beta"')):  # each file changes once more
        edit(project, old, new)
        wardian("lock", cwd=project)
    assert wardian("lock", "--check", cwd=project).out == "the lock is fresh\n"
    assert names(project) == ["pylock.base.toml", "pylock.dev.toml", "wardian.lock", "wardian.toml"]


def test_two_locks_at_once(project: Path, wardian: Wardian) -> None:
    argv = [sys.executable, "-m", "wardian", "lock"]
    children = [subprocess.Popen(argv, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for child in children:
        _, error = child.communicate(timeout=120)
        assert child.returncode == 0, error
    assert wardian("lock", "--check", cwd=project).out == "the lock is fresh\n"
