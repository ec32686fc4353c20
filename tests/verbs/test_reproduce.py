"""`wardian reproduce`: the same image, words, code and environment once more."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.verbs.running import make_project, make_store, records

Wardian = Callable[..., Any]


@pytest.fixture(scope="module")
def busybox_store(tmp_path_factory: pytest.TempPathFactory, need: Callable[..., None]) -> Path:
    need("bwrap", "unshare", "busybox", "git")
    return make_store(tmp_path_factory.mktemp("busybox") / "store")


@pytest.fixture
def project(busybox_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARDIAN_HOME", str(busybox_store))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = make_project(tmp_path / "project")
    (folder / "train.sh").write_text("echo version 1 $SEED $*; echo result >out.txt; exit 3\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_a_run_once_more_with_the_code_it_had(wardian: Wardian, project: Path) -> None:
    (project / "train.sh").write_text("echo version 2 $SEED $*; cat beside.txt; echo result >out.txt; exit 3\n")
    (project / "beside.txt").write_text("never committed\n")
    words = ("run", "--env", "SEED=7", "--", "sh", "train.sh", "a b", "")
    first = wardian(*words, cwd=project, code=3)
    for path in ("train.sh", "beside.txt", "out.txt"):
        (project / path).unlink()
    again = wardian("reproduce", "@last", cwd=project, code=3)
    assert again.out == first.out == "version 2 7 a b\nnever committed\n"
    one, two = records(project)
    assert (two.of, two.digest, two.argv, two.env, two.code) == (one.id, one.digest, one.argv, one.env, one.code)
    assert two.project is not None
    assert (Path(two.project) / "out.txt").read_text() == "result\n", "results stay where the code was put"
    assert not (project / "out.txt").exists()


def test_a_reproduced_run_can_be_reproduced(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "sh", "train.sh", cwd=project, code=3)
    wardian("reproduce", "@last", cwd=project, code=3)
    assert wardian("reproduce", "@last", cwd=project, code=3).out == "version 1\n"


def test_a_reproduced_run_keeps_the_patch_it_was_made_with(wardian: Wardian, project: Path) -> None:
    (project / "train.sh").write_text("echo patched\n")
    wardian("run", "--", "sh", "train.sh", cwd=project)
    (project / "train.sh").write_text("echo now\n")
    for _ in range(2):
        assert wardian("reproduce", "@last", cwd=project).out == "patched\n"
    assert [record.variant for record in records(project)] == ["train"] * 3


def test_a_patch_that_is_gone_is_said_and_nothing_is_left(wardian: Wardian, project: Path) -> None:
    (project / "train.sh").write_text("echo patched\n")
    wardian("run", "--", "sh", "train.sh", cwd=project)
    (patch,) = project.glob(".wardian/runs/*/code.patch")
    patch.unlink()
    assert "the run's patch does not apply" in wardian("reproduce", "@last", cwd=project, code=125).err
    assert list((project / ".wardian/runs").iterdir()) == [patch.parent]


def test_the_code_as_it_is_now_when_asked(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "sh", "train.sh", cwd=project, code=3)
    (project / "train.sh").write_text("echo now\n")
    done = wardian("reproduce", "--current-code", "@last", cwd=project)
    assert done.out == "now\n"
    assert "code: the folder as it is now, not" in done.err


def test_code_that_was_not_recorded_is_refused(wardian: Wardian, project: Path) -> None:
    shutil.rmtree(project / ".git")
    wardian("run", "--", "sh", "train.sh", cwd=project, code=3)
    done = wardian("reproduce", "@last", cwd=project, code=125)
    assert "has no recorded code: the project is not in a git repository" in done.err
    assert "--current-code" in done.err
    assert wardian("reproduce", "--current-code", "@last", cwd=project, code=3).out == "version 1\n"


def test_a_commit_that_is_gone_is_refused(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "sh", "train.sh", cwd=project, code=3)
    shutil.rmtree(project / ".git")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "another history"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    done = wardian("reproduce", "@last", cwd=project, code=125)
    assert "is not in" in done.err
    assert len(records(project)) == 1


def test_an_image_that_is_gone_is_named_with_the_way_to_it(
    wardian: Wardian, project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wardian("run", "--", "true", cwd=project)
    record = records(project)[0]
    monkeypatch.setenv("WARDIAN_HOME", str(home / "empty"))
    done = wardian("reproduce", "@last", cwd=project, code=125)
    assert f"the run's image {record.digest} is not in the store" in done.err
    assert f"wardian build train (at the lock {record.lock})" in done.err


def test_what_cannot_be_the_same_is_said(wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".env").write_text("X=1\n")
    monkeypatch.setenv("A_KEY", "s3cr3t")
    wardian("run", "--env-pass", "A_KEY", "--env", "B_TOKEN=typed", "--", "true", cwd=project)
    monkeypatch.delenv("A_KEY")
    done = wardian("reproduce", "@last", cwd=project)
    assert "code: these files were not recorded: .env" in done.err
    for name in ("A_KEY", "B_TOKEN"):
        assert f"environment: {name} is not set now" in done.err
    monkeypatch.setenv("B_TOKEN", "again")
    script = 'test "$B_TOKEN" = again'
    wardian("run", "--env", "B_TOKEN=again", "--", "sh", "-c", script, cwd=project)
    wardian("reproduce", "@last", cwd=project)


def test_mounts_user_and_workdir_are_the_same(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_text("data\n")
    words = (
        "--mount",
        f"{tmp_path}/data:/data:ro",
        "--user",
        "root",
        "--workdir",
        "/data",
        "--shm",
        "1m",
        "--no-network",
    )
    first = wardian("run", *words, "--", "sh", "-c", "id -u; pwd; cat x; ls /workspace", cwd=project)
    assert wardian("reproduce", "@last", cwd=project).out == first.out
    one, two = records(project)
    assert (two.mounts, two.user, two.workdir, two.shm, two.network) == (one.mounts, "root", "/data", 1024**2, False)
    shutil.rmtree(tmp_path / "data")
    assert f"{tmp_path}/data does not exist" in wardian("reproduce", "@last", cwd=project, code=2).err


@pytest.mark.skipif(os.getuid() != 0, reason="only root has other users' files")
def test_files_of_others_are_given_back_again(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    flags = ("--user", "4321:99", "--mount", f"{data}:/data")
    wardian("run", *flags, "--fix-perms", "--", "sh", "-c", "mktemp /data/XXXXXX", cwd=project)
    wardian("reproduce", "@last", "--current-code", cwd=project)
    assert [path.stat().st_uid for path in data.iterdir()] == [0, 0]
    assert [one.fix_perms for one in records(project)] == [True, True]
    wardian("run", *flags, "--", "touch", "/data/left", cwd=project)
    assert not records(project)[-1].fix_perms
    wardian("reproduce", "@last", "--current-code", cwd=project)
    assert (data / "left").stat().st_uid == 4321, "it was not asked for, and so is not now"


def test_a_run_without_the_project(wardian: Wardian, project: Path) -> None:
    wardian("run", "--no-project", "--", "ls", "-A", cwd=project)
    assert wardian("reproduce", "@last", cwd=project).out == ""


def test_files_of_the_new_run_belong_to_the_caller(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "sh", "train.sh", cwd=project, code=3)
    wardian("reproduce", "@last", cwd=project, code=3)
    made = Path(str(records(project)[-1].project)) / "out.txt"
    assert made.stat().st_uid == os.getuid()
