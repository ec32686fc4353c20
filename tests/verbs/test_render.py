"""render dockerfile: which image, which files, where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wardian.lock.file import write
from wardian.lock.model import Base, Lock, LockedImage

Wardian = Callable[..., Any]
SHA = "0" * 64
DIGEST = f"sha256:{'a' * 64}"
WHEEL = "numpy-2.0.1-py3-none-any.whl"
PYLOCK = f"""\
lock-version = "1.0"
created-by = "wardian"
requires-python = ">=3.11"

[[packages]]
name = "numpy"
version = "2.0.1"
wheels = [
  {{ name = "{WHEEL}", url = "https://files.pythonhosted.org/packages/{WHEEL}", hashes = {{ sha256 = "{SHA}" }} }},
]
"""
FILE = """\
[project]
name = "demo"

[images.train]
from = "python:3.11"
requirements = ["numpy"]
copy = [{ source = "configs", target = "/configs" }]

[images.dev]
from = "@train"
run = ["true"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "wardian.toml").write_text(FILE)
    python = {
        "python": "3.11",
        "interpreter": "/usr/local/bin/python3.11",
        "pylock": "pylock.train.toml",
        "pylock_sha256": SHA,
    }
    train = LockedImage.model_validate({"inputs": SHA, "base": Base(reference="python:3.11", digest=DIGEST), **python})
    dev = LockedImage.model_validate({"inputs": SHA, **python})
    (tmp_path / "wardian.lock").write_text(write(Lock(images={"train": train, "dev": dev})))
    (tmp_path / "pylock.train.toml").write_text(PYLOCK)
    return tmp_path


def test_a_dockerfile_is_printed(wardian: Wardian, project: Path) -> None:
    said = wardian("render", "dockerfile", "dev", cwd=project)
    assert f"FROM python:3.11@{DIGEST} AS train" in said.out
    assert "FROM train AS dev" in said.out
    assert "it needs requirements.train.txt, Dockerfile.dockerignore: write them with -o" in said.err
    data = wardian("render", "dockerfile", "train", "--json", cwd=project).json()
    assert data["image"] == "train"
    assert data["files"]["requirements.train.txt"] == f"numpy==2.0.1 \\\n    --hash=sha256:{SHA}\n"


def test_files_are_written_beside_it(wardian: Wardian, project: Path) -> None:
    (project / ".dockerignore").write_text("data\n")
    wardian("render", "dockerfile", "train", "-o", "docker/train", cwd=project)
    folder = project / "docker" / "train"
    written = sorted(path.name for path in folder.iterdir())
    assert written == ["Dockerfile", "Dockerfile.dockerignore", "requirements.train.txt"]
    ignored = (folder / "Dockerfile.dockerignore").read_text().splitlines()
    assert (ignored[0], "**/.env*" in ignored) == ("data", True)
    assert "COPY docker/train/requirements.train.txt" in (folder / "Dockerfile").read_text()
    assert "there already" in wardian("render", "dockerfile", "train", "-o", "docker/train", cwd=project, code=2).err
    wardian("render", "dockerfile", "train", "-o", "docker/train", "--force", cwd=project)


def test_a_folder_outside_has_no_files_to_copy(wardian: Wardian, project: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside")
    said = wardian("render", "dockerfile", "train", "-o", str(outside), cwd=project, code=2)
    assert "lies outside the project" in said.err
    assert list(outside.iterdir()) == []


def test_which_image_must_be_clear(wardian: Wardian, project: Path) -> None:
    said = wardian("render", "dockerfile", cwd=project, code=2)
    assert "which image? There are train, dev" in said.err
    assert wardian("render", "dockerfile", "nope", cwd=project, code=2).err
    assert wardian("render", "compose", "train", cwd=project, code=2).err
    wardian("render", "dockerfile", "--set", 'run.image="train"', cwd=project)


def test_what_the_lock_lacks_is_said(wardian: Wardian, project: Path) -> None:
    (project / "pylock.train.toml").unlink()
    assert "pylock.train.toml is missing" in wardian("render", "dockerfile", "train", cwd=project, code=1).err
    (project / "wardian.lock").unlink()
    said = wardian("render", "dockerfile", "train", cwd=project, code=1)
    assert "train is not in wardian.lock" in said.err
    assert "wardian lock" in said.err
