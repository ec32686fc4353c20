"""Source distributions that only their build backend knows: asked in a sandbox, never on the host."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.indexes import make_wheel
from wardian.lock.file import read
from wardian.lock.pylock import pins

Wardian = Callable[..., Any]
# Each thing that a stranger's code could see or reach becomes a requirement, so that the lock tells of it.
SETUP = """
import os, socket, sys
from setuptools import setup

home = os.path.expanduser("~")
open(os.path.join(home, "MARK"), "w").write("was here")
requires = ["alpha" if sys.base_prefix == "/usr" and sys.version_info[:2] == (3, 11) else "another-python"]
if any("SECRET" in name or "PASSWORD" in value for name, value in os.environ.items()):
    requires.append("saw-the-environment")
if home != "/build/home" or os.path.exists({secret!r}):
    requires.append("saw-the-host")
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=2)
    requires.append("had-network")
except OSError:
    pass
if os.environ.get("DYN_WANTS"):
    requires.append(os.environ["DYN_WANTS"])
setup(name="dyn", version="2.0", install_requires=requires, extras_require={{"more": ["beta"]}}, py_modules=["dyn"])
"""
IMAGE = """
[images.train]
from = "@base"
requirements = ["dyn[more]"]
"""
# A backend without the optional hook: its requirements are in the wheel alone.
BACKEND = """
import os, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "dyn-2.0-py3-none-any.whl"
    said = "Metadata-Version: 2.1\\nName: {name}\\nVersion: 2.0\\nRequires-Dist: beta\\n"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as out:
        out.writestr("dyn.py", "")
        out.writestr("dyn-2.0.dist-info/METADATA", said)
        out.writestr("dyn-2.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        out.writestr("dyn-2.0.dist-info/RECORD", "dyn.py,,\\ndyn-2.0.dist-info/METADATA,,\\n"
            "dyn-2.0.dist-info/WHEEL,,\\ndyn-2.0.dist-info/RECORD,,\\n")
    return name
"""
IN_TREE = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def old_sdist(path: Path, files: Mapping[str, str], name: str = "dyn-2.0") -> Path:
    """A source distribution as setuptools made them for years: PKG-INFO says nothing of what it requires."""
    whole = {"PKG-INFO": "Metadata-Version: 1.0\nName: dyn\nVersion: 2.0\n", "dyn.py": "value = 2\n", **files}
    with tarfile.open(path, "w:gz") as tar:
        for inner, text in whole.items():
            entry = tarfile.TarInfo(f"{name}/{inner}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A find-links folder beside the machine's indexes, which have setuptools."""
    folder = tmp_path / "links"
    folder.mkdir()
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "beta", "1.0")
    make_wheel(folder, "dyn", "1.0")  # what a resolver that refuses builds would take in silence
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("SECRET_TOKEN", "PASSWORD")
    return folder


@pytest.fixture
def project(tmp_path: Path, with_base: Path, base_project: Path, links: Path) -> Path:
    """An image over the bootstrapped one, whose layers the store has."""
    folder = tmp_path / "project"
    shutil.copytree(base_project, folder)
    (folder / "wardian.toml").write_text((base_project / "wardian.toml").read_text() + IMAGE)
    return folder


def wants(project: Path, image: str) -> None:
    """Ask for something else than the plain image does."""
    text = (project / "wardian.toml").read_text()
    (project / "wardian.toml").write_text(text.replace(IMAGE, image))


def locked(project: Path) -> dict[str, str]:
    return pins((project / "pylock.train.toml").read_text())


def test_a_setup_py_runs_in_the_image_and_nowhere_else(
    project: Path, links: Path, wardian: Wardian, home: Path, tmp_path: Path
) -> None:
    import socket

    (tmp_path / "secret").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = SETUP.format(secret=str(tmp_path / "secret"), port=server.getsockname()[1])
        old_sdist(links / "dyn-2.0.tar.gz", {"setup.py": text})
        said = wardian("lock", cwd=project)
    assert locked(project) == {"alpha": "1.0", "beta": "1.0", "dyn": "2.0"}
    assert "train: asking dyn 2.0 what it requires" in said.err
    assert not [path for path in (*tmp_path.rglob("MARK"), *home.rglob("MARK"), Path.home() / "MARK") if path.exists()]
    (built,) = read((project / "wardian.lock").read_text(), "wardian.lock").images["train"].built
    assert (built.name, built.version, [tool.name for tool in built.build]) == ("dyn", "2.0", ["setuptools"])


def test_an_answer_is_kept(project: Path, links: Path, wardian: Wardian, home: Path) -> None:
    old_sdist(links / "dyn-2.0.tar.gz", {"setup.py": SETUP.format(secret="/nowhere", port=9)})
    wardian("lock", cwd=project)
    make_wheel(links, "gamma", "1.0")
    wants(project, IMAGE.replace("[more]", '", "gamma'))
    said = wardian("lock", cwd=project)
    assert locked(project) == {"alpha": "1.0", "dyn": "2.0", "gamma": "1.0"}
    assert "asking dyn" not in said.err
    assert len(list((home / "store" / "cache" / "metadata").iterdir())) == 1


def test_what_the_project_says_of_building_counts(project: Path, links: Path, wardian: Wardian) -> None:
    old_sdist(links / "dyn-2.0.tar.gz", {"setup.py": SETUP.format(secret="/nowhere", port=9)})
    make_wheel(links, "gamma", "1.0")
    table = '[images.train.sdists.dyn]\nrequires = ["setuptools<75"]\nenv = { DYN_WANTS = "gamma" }\n'
    wants(project, IMAGE + table)
    wardian("lock", cwd=project)
    assert locked(project) == {"alpha": "1.0", "beta": "1.0", "dyn": "2.0", "gamma": "1.0"}


@pytest.mark.parametrize("place", ["index", "address", "archive"])
def test_a_backend_without_the_hook(project: Path, links: Path, wardian: Wardian, tmp_path: Path, place: str) -> None:
    """By name, by the address of a source distribution, and by that of an archive with another name."""
    path = {
        "index": links / "dyn-2.0.tar.gz",
        "address": tmp_path / "dyn-2.0.tar.gz",
        "archive": tmp_path / "main.tar.gz",
    }
    old_sdist(path[place], {"pyproject.toml": IN_TREE, "backend.py": BACKEND.format(name="dyn")})
    line = "dyn" if place == "index" else f"dyn @ {path[place].as_uri()}"
    wants(project, IMAGE.replace('"dyn[more]"', json.dumps(line)))
    wardian("lock", cwd=project)
    assert locked(project) == {"beta": "1.0", "dyn": "2.0"}


def test_a_backend_that_tells_of_another_distribution(project: Path, links: Path, wardian: Wardian) -> None:
    old_sdist(links / "dyn-2.0.tar.gz", {"pyproject.toml": IN_TREE, "backend.py": BACKEND.format(name="alpha")})
    said = wardian("lock", cwd=project, code=1)
    assert "the build backend of dyn 2.0 tells of alpha 2.0" in said.err


def test_a_backend_that_points_out_of_the_sandbox(project: Path, links: Path, wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.1\nName: dyn\nVersion: 2.0\nRequires-Dist: of-the-host\n")
    lines = (
        "import os",
        "def prepare_metadata_for_build_wheel(folder, config_settings=None):",
        "    os.makedirs(folder + '/dyn-2.0.dist-info')",
        f"    os.symlink({str(tmp_path / 'METADATA')!r}, folder + '/dyn-2.0.dist-info/METADATA')",
        "    return 'dyn-2.0.dist-info'",
    )
    old_sdist(links / "dyn-2.0.tar.gz", {"pyproject.toml": IN_TREE, "backend.py": "\n".join(lines)})
    said = wardian("lock", cwd=project, code=1)
    assert "the build backend of dyn leaves no metadata" in said.err
    assert "of-the-host" not in said.err


def test_a_hook_that_fails_is_told_with_its_last_lines(project: Path, links: Path, wardian: Wardian) -> None:
    old_sdist(links / "dyn-2.0.tar.gz", {"setup.py": "raise SystemExit('the moon is in the wrong house')"})
    before = (project / "wardian.lock").read_text()
    said = wardian("lock", cwd=project, code=1)
    assert "dyn 2.0 does not tell what it requires" in said.err
    assert "the moon is in the wrong house" in said.err
    assert "[images.NAME.sdists.dyn]" in said.err
    assert (project / "wardian.lock").read_text() == before


def test_a_machine_that_cannot_execute_is_told_what_to_do(
    project: Path, links: Path, wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SETUP.format(secret="/nowhere", port=9)
    old_sdist(links / "dyn-2.0.tar.gz", {"setup.py": f"open({str(tmp_path / 'MARK')!r}, 'w')\n{text}"})
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "id", "unshare", "setpriv", "cat", "env", "rm", "apt-get", "apt-cache", "dpkg", "gpgv"):
        if found := shutil.which(name):
            (bare / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(bare))
    said = wardian("lock", cwd=project, code=1)
    assert "train: dyn 2.0 tells what it requires only when it is built, in a sandbox: bwrap is not on this" in said.err
    assert "apt-get install bubblewrap" in said.err
    assert not (tmp_path / "MARK").exists()
