"""Which code a run used, told by a real git, and the way back."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wardian.errors import WardianError
from wardian.hosts.local import LocalHost
from wardian.runs.record import PATCH, Code
from wardian.runs.snapshot import LARGEST_FILE, restore, snapshot


@pytest.fixture(autouse=True)
def _git(need: Callable[..., None]) -> None:
    need("git")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / 'a project\'s "code"'
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("print(1)\n")
    (folder / "gone.py").write_text("x\n")
    (folder / ".gitignore").write_text("ignored\n.wardian\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def look(project: Path, run: Path) -> Code:
    return snapshot(LocalHost(), project, run)


def again(project: Path, run: Path, code: Code, tmp_path: Path) -> Path:
    (tmp_path / "again").mkdir()
    return restore(LocalHost(), project, code, run / PATCH, tmp_path / "again")


def tree(folder: Path) -> dict[str, object]:
    """Path → content and whether it is executable, or where a link leads."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split("/")[0] == ".git" or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def test_a_clean_folder_is_its_commit(project: Path, run: Path, tmp_path: Path) -> None:
    code = look(project, run)
    assert code == Code(git(project, "rev-parse", "HEAD"))
    assert list(run.iterdir()) == []
    assert tree(again(project, run, code, tmp_path)) == tree(project)


def test_every_kind_of_change_comes_back(project: Path, run: Path, tmp_path: Path) -> None:
    (project / "train.py").write_text("print(2)")
    (project / "gone.py").unlink()
    (project / "new é \n'file'.py").write_text("new")
    (project / "binary").write_bytes(bytes(range(256)) * 20)
    (project / "tool").write_text("#!/bin/sh\n")
    (project / "tool").chmod(0o755)
    (project / "deep/er").mkdir(parents=True)
    (project / "deep/er/x").touch()
    (project / "link").symlink_to("train.py")
    (project / "staged.py").write_text("staged")
    git(project, "add", "staged.py")
    (project / "staged.py").write_text("and changed again")
    (project / "ignored").write_text("not code")
    code = look(project, run)
    assert (code.patch, code.left_out) == (True, ())
    wanted = tree(project)
    del wanted["ignored"]
    assert tree(again(project, run, code, tmp_path)) == wanted


def test_what_is_staged_comes_back_too(project: Path, run: Path, tmp_path: Path) -> None:
    (project / "folder").mkdir()
    (project / "folder/inner").write_text("x")
    (project / "file").write_text("y")
    git(project, "add", ".")
    git(project, "commit", "-qm", "second")
    git(project, "mv", "train.py", "renamed.py")
    git(project, "rm", "-q", "gone.py")
    git(project, "rm", "-qr", "folder")
    (project / "folder").write_text("a folder became a file")
    git(project, "rm", "-q", "file")
    (project / "file").mkdir()
    (project / "file/inner").write_text("a file became a folder")
    (project / "meant.py").write_text("of add -N")
    git(project, "add", "-N", "meant.py")
    code = look(project, run)
    assert (code.patch, code.left_out) == (True, ())
    assert tree(again(project, run, code, tmp_path)) == tree(project)


def test_a_merge_that_is_not_done_is_recorded_as_it_lies_there(project: Path, run: Path, tmp_path: Path) -> None:
    git(project, "checkout", "-qb", "other")
    for branch in ("other", "main"):
        git(project, "checkout", "-q", branch)
        (project / "train.py").write_text(f"print({branch!r})\n")
        git(project, "commit", "-qam", branch)
    subprocess.run(["git", "merge", "-q", "other"], cwd=project, capture_output=True, check=False)
    assert "<<<<<<<" in (project / "train.py").read_text()
    code = look(project, run)
    assert tree(again(project, run, code, tmp_path)) == tree(project)


def test_a_run_goes_on_when_git_cannot_say_what_changed(project: Path, run: Path) -> None:
    (project / ".git/index").write_bytes(b"damaged")
    code = look(project, run)
    assert (code.revision, code.patch) == (git(project, "rev-parse", "HEAD"), False)
    assert "git exited with 128" in str(code.reason)


def test_the_repository_is_not_touched(project: Path, run: Path) -> None:
    (project / "new.py").write_text("new")
    (project / "train.py").write_text("changed")
    before = {path: path.stat().st_mtime_ns for path in (project / ".git").rglob("*")}
    status = git(project, "--no-optional-locks", "status", "--porcelain")
    look(project, run)
    assert {path: path.stat().st_mtime_ns for path in (project / ".git").rglob("*")} == before
    assert git(project, "--no-optional-locks", "status", "--porcelain") == status


@pytest.mark.parametrize("name", [".env", ".env.local", "sub/.ENV", "server.pem", "id_rsa", "id_ed25519.bak", ".netrc"])
def test_secrets_stay_out_of_the_patch(project: Path, run: Path, name: str) -> None:
    path = project / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("TOKEN=hunter2-untracked\n")
    (project / "train.py").write_text("changed")
    code = look(project, run)
    assert code.left_out == (name,)
    assert b"hunter2" not in (run / PATCH).read_bytes()


def test_a_secret_that_git_tracks_stays_out_too(project: Path, run: Path) -> None:
    (project / ".env").write_text("A=1\n")
    git(project, "add", "-f", ".env")
    git(project, "commit", "-qm", "by mistake")
    (project / ".env").write_text("A=hunter2\n")
    (project / "train.py").write_text("changed")
    assert look(project, run).left_out == (".env",)
    assert b"hunter2" not in (run / PATCH).read_bytes()
    git(project, "add", ".env")  # staged is no different
    look(project, run)
    assert b"hunter2" not in (run / PATCH).read_bytes()


def test_large_new_files_are_named_not_kept(project: Path, run: Path) -> None:
    (project / "data.bin").write_bytes(b"x" * (LARGEST_FILE + 1))
    (project / "pipe").touch()
    (project / "pipe").unlink()
    os.mkfifo(project / "pipe")
    code = look(project, run)
    assert set(code.left_out) >= {"data.bin"}
    assert not code.patch


def test_changes_that_are_too_large_leave_no_patch(project: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.runs.snapshot.LARGEST_PATCH", 100)
    (project / "train.py").write_text("x" * 1000)
    code = look(project, run)
    assert (code.patch, code.left_out) == (False, ("train.py",))
    assert "larger than" in str(code.reason)


def test_a_project_in_a_folder_of_a_repository(project: Path, run: Path, tmp_path: Path) -> None:
    inner = project / "packages/one"
    inner.mkdir(parents=True)
    (inner / "a.py").write_text("a")
    (project / "train.py").write_text("changed beside it")
    code = look(inner, run)
    assert code.prefix == "packages/one/"
    found = again(project, run, code, tmp_path)
    assert (found / "a.py").read_text() == "a"
    assert (found / "../../train.py").read_text() == "changed beside it"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: None, "not in a git repository"),
        (lambda folder: git(folder, "init", "-q"), "no commit"),
    ],
)
def test_no_repository_and_no_commit_are_said(
    tmp_path: Path, run: Path, make: Callable[[Path], object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    make(folder)
    code = look(folder, run)
    assert code.revision is None
    assert reason in str(code.reason)


def test_no_git_is_said(project: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert look(project, run).reason == "git is not on this machine"


def test_a_commit_that_is_gone(project: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(WardianError, match="commit 1234567890123456789012345678901234567890 is not in"):
        again(project, run, Code("1234567890" * 4), tmp_path)


def test_a_patch_that_was_touched(project: Path, run: Path, tmp_path: Path) -> None:
    (run / PATCH).write_bytes(b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n")
    with pytest.raises(WardianError, match="does not apply"):
        again(project, run, Code(git(project, "rev-parse", "HEAD"), patch=True), tmp_path)


def test_the_users_git_settings_do_not_matter(project: Path, run: Path, tmp_path: Path) -> None:
    for setting in (
        *(
            "diff.noprefix true",
            "diff.mnemonicPrefix true",
            "color.ui always",
            "core.quotePath true",
            "diff.renames copies",
        ),
        *("core.autocrlf false", "status.showUntrackedFiles no", "status.relativePaths true", "diff.external false"),
    ):
        git(project, "config", *setting.split())
    (project / "né.py").write_text("new")
    (project / "train.py").write_text("changed\n")
    code = look(project, run)
    assert tree(again(project, run, code, tmp_path)) == tree(project)
