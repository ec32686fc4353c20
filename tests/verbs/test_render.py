"""render dockerfile: which image, which files, where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from wardian.lock.file import write
from wardian.lock.model import Base, Lock, LockedImage
from wardian.store.store import Store

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


def test_a_bake_file_of_all_images_is_written_with_what_it_needs(wardian: Wardian, project: Path) -> None:
    wardian("render", "bake", "-o", "docker", cwd=project)

    written = {path.name for path in (project / "docker").iterdir()}
    assert written == {
        "docker-bake.json",
        "Dockerfile.train",
        "Dockerfile.train.dockerignore",
        "Dockerfile.dev",
        "requirements.train.txt",
    }
    target = json.loads((project / "docker" / "docker-bake.json").read_text())["target"]
    assert target["dev"] == {
        "context": ".",
        "dockerfile": "docker/Dockerfile.dev",
        "contexts": {"train": "target:train"},
        "tags": ["demo/dev:latest"],
    }


def test_a_bake_file_of_one_image_has_what_it_stands_on(wardian: Wardian, project: Path) -> None:
    said = wardian("render", "bake", "dev", "--json", cwd=project).json()

    document = json.loads(said["text"])
    assert document["group"]["default"]["targets"] == ["dev"]
    assert set(document["target"]) == {"train", "dev"}
    assert set(said["files"]) >= {"Dockerfile.train", "Dockerfile.dev"}


FAMILY = """\
[project]
name = "family"
[images.ext]
from = "bootstrap:debian:bookworm"
workdir = "/work/ext"
[images.dev]
from = "@ext"
[images.plain]
from = "bootstrap:debian:bookworm"
[images.own]
from = "@dev"
workdir = "/own"
"""


@pytest.mark.parametrize(
    ("image", "folder"), [("ext", "/work/ext"), ("dev", "/work/ext"), ("own", "/own"), ("plain", "/workspace")]
)
def test_an_image_works_where_what_it_stands_on_does(wardian: Wardian, tmp_path: Path, image: str, folder: str) -> None:
    (tmp_path / "wardian.toml").write_text(f'{FAMILY}[services.web]\nimage = "{image}"\ncommand = "true"\n')
    web = wardian("render", "compose", "--json", cwd=tmp_path).json()["content"]["services"]["web"]
    assert (web["working_dir"], web["volumes"][0]["target"]) == (folder, folder)
    opened = wardian("render", "devcontainer", image, "--json", cwd=tmp_path).json()["content"]
    assert opened["workspaceFolder"] == folder


def test_an_image_of_others_works_where_its_config_says(wardian: Wardian, tmp_path: Path, home: Path) -> None:
    add_image(Store(home / "store"), "lab/other:1", [layer({})], config={"WorkingDir": "/there"})
    (tmp_path / "wardian.toml").write_text(f'{FAMILY}[services.web]\nimage = "lab/other:1"\ncommand = "true"\n')
    web = wardian("render", "compose", "--json", cwd=tmp_path).json()["content"]["services"]["web"]
    assert web["working_dir"] == "/there"
