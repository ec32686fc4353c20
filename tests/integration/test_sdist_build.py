"""Source distributions built for real, in the sandbox, over a bootstrapped base."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.indexes import Index, make_sdist, make_wheel, serve, sha256
from wardian.lock.file import read
from wardian.lock.model import Built

Wardian = Callable[..., Any]
# A build backend inside the source: what it sees becomes the wheel's content.
BACKEND = """
import hashlib, base64, json, os, socket, sys, time, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    if os.environ.get("DELTA_FAILS"):
        print("the compiler is on strike")
        raise SystemExit(3)
    try:
        socket.create_connection(("198.51.100.1", 80), timeout=2)
        network = True
    except OSError:
        network = False
    seen = {
        "python": sys.version_info[:2], "network": network, "here": os.getcwd(),
        "prefix": sys.prefix, "uid": os.getuid(), "epoch": os.environ.get("SOURCE_DATE_EPOCH"),
        "value": os.environ.get("DELTA_VALUE"),
        "secrets": sorted(name for name in os.environ if "TOKEN" in name or "PIP_INDEX" in name or "UV_INDEX" in name),
    }
    try:
        import alpha
        seen["alpha"] = alpha.version
    except ImportError:
        seen["alpha"] = None
    if os.environ.get("DELTA_VALUE") == "random":
        seen["time"] = time.time()
    files = {
        "delta/__init__.py": b"value = 1\\n",
        "delta/seen.json": json.dumps(seen, sort_keys=True).encode(),
        "delta-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\\nName: delta\\nVersion: 1.0\\n",
        "delta-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    rows = []
    with zipfile.ZipFile(os.path.join(wheel_directory, "delta-1.0-py3-none-any.whl"), "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            rows.append(f"{name},sha256={digest},{len(content)}")
            out.writestr(name, content)
        rows.append("delta-1.0.dist-info/RECORD,,")
        out.writestr("delta-1.0.dist-info/RECORD", "\\n".join(rows) + "\\n")
    return "delta-1.0-py3-none-any.whl"
"""
PYPROJECT = """
[build-system]
requires = ["alpha==9"]
build-backend = "backend"
backend-path = ["."]
[project]
name = "delta"
version = "1.0"
"""
IMAGE = """
[images.train]
from = "@base"
requirements = ["delta", "alpha"]
[images.train.sdists.delta]
requires = ["alpha"]
env = { DELTA_VALUE = "seven" }
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "served"
    folder.mkdir()
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "alpha", "2.0")
    make_sdist(folder, "delta", "1.0", {"pyproject.toml": PYPROJECT, "backend.py": BACKEND})
    with serve(Index(folder)) as served:
        yield served


@pytest.fixture
def project(tmp_path: Path, with_base: Path, base_project: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image over the bootstrapped one, whose layers the store has; its lock is carried over."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
    monkeypatch.setenv("SECRET_TOKEN", "x")
    folder = tmp_path / "project"
    shutil.copytree(base_project, folder)
    (folder / "wardian.toml").write_text((base_project / "wardian.toml").read_text() + IMAGE)
    return folder


def built(project: Path) -> Built:
    (found,) = read((project / "wardian.lock").read_text(), "wardian.lock").images["train"].built
    return found


def wheel_of(project: Path, home: Path) -> Path:
    made = built(project)
    return home / "store" / "downloads" / made.sha256 / made.filename


def seen(path: Path) -> Any:
    import json

    with zipfile.ZipFile(path) as wheel:
        return json.loads(wheel.read("delta/seen.json"))


def test_a_source_distribution_is_built_in_the_image(project: Path, wardian: Wardian, home: Path, index: Index) -> None:
    (project / "wardian.toml").write_text(
        (project / "wardian.toml").read_text().replace('"alpha"]\n[', '"alpha<2"]\n[')
    )
    said = wardian("lock", cwd=project)
    assert "train: 2 distributions, 1 built from source" in said.out
    made, path = built(project), wheel_of(project, home)
    assert sha256(path) == made.sha256
    assert seen(path) == {
        "alpha": "1.0",  # the version that is locked for the image, not the newest, not the one of [build-system]
        "epoch": "1577836800",
        "here": "/build/source",
        "network": False,
        "prefix": "/build/env",
        "python": [3, 11],
        "secrets": [],
        "uid": 0,
        "value": "seven",
    }
    assert [tool.filename for tool in made.build] == ["alpha-1.0-py3-none-any.whl"]
    assert (made.sdist_url, made.env) == (f"{index.url}/files/delta-1.0.tar.gz", {"DELTA_VALUE": "seven"})
    assert wardian("lock", cwd=project).out == "the lock is fresh\n"

    path.unlink()
    wardian("build", "train", cwd=project)
    assert sha256(path) == made.sha256, "build makes the locked wheel again, byte for byte"
    assert wardian("lock", "--check", cwd=project).out == "the lock is fresh\n"


def test_adding_a_requirement_builds_nothing_again(project: Path, wardian: Wardian, home: Path, index: Index) -> None:
    wardian("lock", cwd=project)
    before, changed = built(project), wheel_of(project, home).stat().st_mtime_ns
    make_wheel(index.folder, "gamma", "1.0")
    text = (project / "wardian.toml").read_text()
    (project / "wardian.toml").write_text(text.replace('["delta", "alpha"]', '["delta", "alpha", "gamma"]'))
    said = wardian("lock", cwd=project)
    assert said.out.splitlines()[:2] == ["train:", "  + gamma 1.0"]
    assert built(project) == before
    assert wheel_of(project, home).stat().st_mtime_ns == changed


def test_a_build_that_gives_other_bytes_is_refused(project: Path, wardian: Wardian, home: Path) -> None:
    text = (project / "wardian.toml").read_text()
    (project / "wardian.toml").write_text(text.replace("seven", "random"))
    wardian("lock", cwd=project)
    wheel_of(project, home).unlink()
    said = wardian("build", "train", cwd=project, code=1)
    assert "building delta 1.0 here gives another wheel than the locked one" in said.err
    assert "wardian lock --archive DIR" in said.err


def test_a_build_that_fails_is_told_with_its_last_lines(project: Path, wardian: Wardian) -> None:
    text = (project / "wardian.toml").read_text()
    (project / "wardian.toml").write_text(text.replace('DELTA_VALUE = "seven"', 'DELTA_FAILS = "1"'))
    before = (project / "wardian.lock").read_text()
    said = wardian("lock", cwd=project, code=1)
    assert "delta 1.0 cannot be built from its source distribution" in said.err
    assert "the compiler is on strike" in said.err
    assert "[images.NAME.sdists.delta]" in said.err
    assert (project / "wardian.lock").read_text() == before


def test_build_requirements_that_contradict_the_image(project: Path, wardian: Wardian) -> None:
    text = (project / "wardian.toml").read_text()
    (project / "wardian.toml").write_text(text.replace('requires = ["alpha"]\n', ""))
    said = wardian("lock", cwd=project, code=1)
    assert "train, building delta: the build requirements cannot be met" in said.err
    assert "`requires` in [images.train.sdists.delta] replaces" in said.err


def test_an_archive_builds_where_nothing_else_is_known(
    project: Path, wardian: Wardian, home: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = project.parent / "archive"
    wardian("lock", "--archive", str(archive), cwd=project)
    assert sorted(path.name for path in (archive / "wheels").iterdir()) == [
        "alpha-2.0-py3-none-any.whl",
        "delta-1.0-py3-none-any.whl",
    ]
    assert [path.name for path in (archive / "sdists").iterdir()] == ["delta-1.0.tar.gz"]
    assert len(list((archive / "debs").iterdir())) > 80
    for path in (home / "store" / "downloads").iterdir():
        shutil.rmtree(path)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    asked = len(index.authorizations)
    said = wardian("build", "--from", str(archive), "--json", cwd=project)
    assert said.json()["train"]["digest"].startswith("sha256:")
    assert len(index.authorizations) == asked
