"""Ranges of ids as the files of this machine tell them; useradd is the oracle of what is free."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wardian.hosts import subids


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    named = (tmp_path / "subuid", tmp_path / "subgid")
    monkeypatch.setattr(subids, "FILES", named)
    return named


def test_a_user_needs_a_line_of_their_own_in_both(files: tuple[Path, Path]) -> None:
    files[0].write_text("adam:100000:65536\nada:165536:65536\n")
    assert not subids.listed("ada")
    files[1].write_text("ada:165536:65536\n")
    assert subids.listed("ada")
    assert not subids.listed("ad")


def test_nobody_gets_the_range_of_another(files: tuple[Path, Path]) -> None:
    assert subids.command("ada") == "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ada"
    files[0].write_text("bob:100000:65536\nhalf a line\neve:many:65536\n")
    files[1].write_text("bob:200000:65536\n")
    assert subids.command("ada") == "sudo usermod --add-subuids 265536-331071 --add-subgids 265536-331071 ada"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can ask useradd")
def test_useradd_would_choose_the_same(tmp_path: Path, need: Callable[..., None]) -> None:
    need("useradd")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        shutil.copy(Path("/etc") / name, root / "etc")
    for name in ("subuid", "subgid"):
        (root / "etc" / name).write_text("bob:100000:65536\n")

    subprocess.run(["useradd", "--prefix", str(root), "wardian-ada"], check=True, capture_output=True)

    assert list(subids.ranges(root / "etc" / "subuid"))[-1] == ("wardian-ada", 165536, 65536)
    assert subids.free(iter([("bob", 100000, 65536)])) == 165536
