"""The package in a checkout, in the layouts that people use."""

import os
import socket
from pathlib import Path

import pytest

from wardian.errors import SpecError
from wardian.hosts.checkout import is_namespace, package, unusable


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return root


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        (["pyproject.toml", "rsl_rl/__init__.py"], "rsl_rl", "rsl_rl"),
        (["pyproject.toml", "src/rsl_rl/__init__.py", "rsl_rl.egg-info"], "rsl_rl", "src/rsl_rl"),
        (["source/isaaclab/isaaclab/__init__.py", "source/isaaclab/setup.py"], "isaaclab", "source/isaaclab/isaaclab"),
        (
            ["source/isaaclab/isaaclab/__init__.py", "source/isaaclab_rl/isaaclab_rl/__init__.py"],
            "isaaclab_rl",
            "source/isaaclab_rl/isaaclab_rl",
        ),
        (["__init__.py", "core.py"], "rsl_rl", "."),  # the package itself, under another name
        (["setup.py", "space/module.py"], "space", "space"),  # a namespace package
        (["setup.py", "space/inner/__init__.py"], "space", "space"),
        (["src/google/cloud/__init__.py"], "google/cloud", "src/google/cloud"),
        (["six.py", "setup.py"], "six.py", "six.py"),
        (["a/__init__.py", "a/a/__init__.py"], "a", "a"),
        (["src/a/__init__.py", "a/notes.py"], "a", "src/a"),  # a package before a namespace
        (["we[ird]/__init__.py"], "we[ird]", "we[ird]"),
        (["a/__init__.cpython-311-x86_64-linux-gnu.so"], "a", "a"),
    ],
)
def test_layouts(tmp_path: Path, files: list[str], name: str, found: str) -> None:
    checkout = tree(tmp_path / "my checkout", *files)
    assert package(checkout, name) == (checkout / found if found != "." else checkout)


def test_a_package_is_taken_as_it_is_also_with_one_of_its_name_inside(tmp_path: Path) -> None:
    folder = tree(tmp_path, "a/__init__.py", "a/a/__init__.py") / "a"
    assert package(folder, "a") == folder
    assert package(folder, "a") == package(package(folder, "a"), "a")


def test_a_project_that_is_called_like_its_package(tmp_path: Path) -> None:
    folder = tree(tmp_path, "a/pyproject.toml", "a/setup.py", "a/a/__init__.py") / "a"
    assert package(folder, "a") == folder / "a"
    folder = tree(tmp_path, "b/.git/config", "b/train.py") / "b"
    with pytest.raises(SpecError, match="holds no package b"):
        package(folder, "b")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["README"], "holds no package a (looked for a, src/a and source/*/a"),
        (["b/__init__.py"], "holds no package a"),
        (["a/README"], "holds no package a"),
        (["a/__init__.py", "src/a/__init__.py"], "holds a more than once"),
        (["source/x/a/__init__.py", "source/y/a/__init__.py"], "holds a more than once"),
    ],
)
def test_what_is_no_checkout_of_it(tmp_path: Path, files: list[str], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        package(tree(tmp_path, *files), "a")
    assert said in caught.value.message


def test_files(tmp_path: Path) -> None:
    file = tree(tmp_path, "six.py", "notes.txt") / "six.py"
    assert package(file, "six.py") == file
    for path, name in ((file, "six"), (tmp_path / "notes.txt", "six.py")):
        with pytest.raises(SpecError, match="is a file, and"):
            package(path, name)


def test_namespaces(tmp_path: Path) -> None:
    tree(tmp_path, "a/__init__.py", "b/module.py")
    assert [is_namespace(tmp_path / name) for name in ("a", "b", "b/module.py")] == [False, True, False]


def test_what_cannot_be_mounted_and_why(tmp_path: Path) -> None:
    tree(tmp_path, "file", "folder/file")
    (tmp_path / "good").symlink_to("folder")
    (tmp_path / "bad").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        usable = [unusable(tmp_path / name) for name in ("file", "folder", "good", "socket")]
    assert usable == [None] * 4
    assert unusable(tmp_path / "none") == "does not exist on this machine"
    assert unusable(tmp_path / "file/below") is not None
    assert unusable(tmp_path / "bad") == "is a symbolic link to nowhere, which does not exist"
    assert unusable(tmp_path / "loop") is not None
    assert unusable(tmp_path / "pipe") == "is neither a file nor a folder"
    assert unusable(Path("/a\0b")) is not None
    assert unusable(tmp_path / ("x" * 300)) is not None
