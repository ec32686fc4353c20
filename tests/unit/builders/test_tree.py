"""Files of a project as entries: what is copied where, what is left out, what is refused."""

import os
from pathlib import Path

import pytest

from wardian.builders.tree import Tree
from wardian.errors import SpecError
from wardian.plan.layers import Entry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a bit of everything."""
    project = tmp_path / "project"
    (project / "configs" / "deep").mkdir(parents=True)
    (project / "configs" / "a.toml").write_text("x = 1\n")
    (project / "configs" / "run.sh").write_text("#!/bin/sh\n")
    (project / "configs" / "run.sh").chmod(0o700)
    (project / "configs" / "deep" / "b.toml").write_text("y = 2\n")
    (project / "configs" / ".env").write_text("SECRET=1\n")
    (project / "configs" / "__pycache__").mkdir()
    (project / "configs" / "link").symlink_to("deep/b.toml")
    return project


def paths(entries: tuple[Entry, ...]) -> dict[str, tuple[str, int]]:
    return {entry.path: (entry.kind, entry.mode) for entry in entries}


def copied(root: Path, source: str, target: str) -> tuple[Entry, ...]:
    return Tree.open(root).copied(source, target, place="images.train.copy[0]")


def test_the_content_of_a_folder_is_copied(root: Path) -> None:
    assert paths(copied(root, "configs", "/w/configs")) == {
        "/w/configs": ("dir", 0o755),
        "/w/configs/a.toml": ("file", 0o644),
        "/w/configs/deep": ("dir", 0o755),
        "/w/configs/deep/b.toml": ("file", 0o644),
        "/w/configs/link": ("symlink", 0o777),
        "/w/configs/run.sh": ("file", 0o755),
    }


def test_secrets_are_told(root: Path) -> None:
    tree = Tree.open(root)
    tree.copied("configs", "/w", place="")
    assert tree.left_out == ["configs/.env"]


def test_a_file_is_copied_to_its_target_or_into_a_folder(root: Path) -> None:
    assert list(paths(copied(root, "configs/a.toml", "/w/b.toml"))) == ["/w/b.toml"]
    assert list(paths(copied(root, "configs/a.toml", "/w/"))) == ["/w/a.toml"]


def test_a_secret_is_not_copied_by_name(root: Path) -> None:
    assert copied(root, "configs/.env", "/w/.env") == ()


def test_the_ignore_file_is_honoured(root: Path) -> None:
    (root / ".dockerignore").write_text("configs/*\n!configs/deep\n")
    assert list(paths(copied(root, "configs", "/w"))) == ["/w", "/w/deep", "/w/deep/b.toml"]
    (root / ".wardianignore").write_text("configs/deep\n")
    assert "/w/a.toml" in paths(copied(root, "configs", "/w"))


def test_a_wrong_ignore_file_is_named(root: Path) -> None:
    (root / ".wardianignore").write_text("[\n")
    with pytest.raises(SpecError, match=r"\.wardianignore: line 1"):
        copied(root, "configs", "/w")


@pytest.mark.parametrize("source", ["nowhere", "../project/configs", "/etc/passwd", "configs/../.."])
def test_what_is_not_in_the_project_is_refused(root: Path, source: str) -> None:
    with pytest.raises(SpecError, match=r"images\.train\.copy\[0\]"):
        copied(root, source, "/w")


def test_a_link_out_of_the_project_is_refused(root: Path) -> None:
    (root / "outside").symlink_to("/etc")
    with pytest.raises(SpecError, match="leads out of the project"):
        copied(root, "outside", "/w")


@pytest.mark.parametrize("target", ["/etc/passwd", "../other", "deep/../../other"])
def test_a_link_that_is_not_copied_with_its_target_is_refused(root: Path, target: str) -> None:
    (root / "configs" / "bad").symlink_to(target)
    with pytest.raises(SpecError, match="is not copied with it"):
        copied(root, "configs", "/w")


@pytest.mark.parametrize(
    ("target", "path"), [("/bin/tool", "/usr/bin/tool"), ("/lib/x/y", "/usr/lib/x/y"), ("/opt/x", "/opt/x")]
)
def test_merged_folders_are_not_replaced(root: Path, target: str, path: str) -> None:
    assert [entry.path for entry in copied(root, "configs/a.toml", target)] == [path]


def test_the_callers_umask_does_not_count(root: Path) -> None:
    before = paths(copied(root, "configs", "/w"))
    (root / "configs" / "a.toml").chmod(0o600)
    (root / "configs" / "deep").chmod(0o700)
    assert paths(copied(root, "configs", "/w")) == before


def test_names_may_hold_anything(root: Path) -> None:
    for name in (b"a b", b"new\nline", "ü".encode(), b"raw\xff"):
        Path(os.fsdecode(os.fsencode(root / "configs" / "deep") + b"/" + name)).write_text("x")
    assert len(copied(root, "configs/deep", "/w")) == 6


def test_sockets_and_pipes_are_left_out(root: Path) -> None:
    os.mkfifo(root / "configs" / "pipe")
    assert "/w/pipe" not in paths(copied(root, "configs", "/w"))


def test_a_whole_project_may_be_copied(root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("x")
    found = paths(copied(root, ".", "/w"))
    assert "/w/configs/a.toml" in found
    assert not any(".git" in path for path in found)
