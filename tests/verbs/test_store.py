"""`wardian store`: what a person and a program see of verify, prune and df."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from wardian.store.store import Store

Wardian = Callable[..., Any]


@pytest.fixture
def root(home: Path) -> Path:
    store = Store(home / "store")
    shared = layer({"shared": b"x" * 4000})
    add_image(store, "empo/train:latest", [shared, layer({"a": os.urandom(5000)})])
    add_image(store, "empo/dev:latest", [shared])
    return store.root


def spoil(root: Path) -> str:
    image = Store(root).resolve("empo/train:latest")
    assert image
    path = Store(root).path(Store(root).manifest(image.digest).layers[1].digest)
    path.chmod(0o644)
    path.write_bytes(b"spoilt")
    return str(path)


def test_a_whole_store(wardian: Wardian, root: Path) -> None:
    said = wardian("store", "verify")
    assert said.out == f"{root} is whole\n"
    assert wardian("store", "verify", "--json").json() == {"store": str(root), "faults": [], "repaired": False}


def test_an_absent_store_is_whole_empty_and_small(wardian: Wardian, home: Path) -> None:
    assert "is whole" in wardian("store", "verify").out
    assert wardian("store", "prune").out == "nothing to remove\n"
    assert wardian("store", "df", "--json").json()["total"] == 0
    assert not (home / "store").exists()  # looking makes nothing


def test_a_touched_blob_is_told_with_exit_code_1_and_repaired(wardian: Wardian, root: Path) -> None:
    path = spoil(root)
    said = wardian("store", "verify", code=1)
    assert f"{path}: was changed" in said.out
    assert "empo/train:latest" in said.out
    assert "type: wardian store verify --repair" in said.out
    assert {fault["place"] for fault in wardian("store", "verify", "--json", code=1).json()["faults"]} == {
        path,
        "empo/train:latest",
    }
    assert "repaired 2 faults" in wardian("store", "verify", "--repair").out
    assert "is whole" in wardian("store", "verify").out
    assert [entry.reference for entry in Store(root).references()] == ["empo/dev:latest"]


def test_prune_lists_first_and_removes_when_told(wardian: Wardian, root: Path) -> None:
    assert wardian("store", "prune").out == "nothing to remove\n"
    Store(root).untag("empo/train:latest")
    before = sorted((root / "blobs" / "sha256").iterdir())
    said = wardian("store", "prune")
    assert said.out.count("blob ") == 3
    assert "to remove them, type: wardian store prune --yes" in said.out
    assert sorted((root / "blobs" / "sha256").iterdir()) == before
    listed = wardian("store", "prune", "--json").json()
    assert (listed["removed"], len(listed["items"])) == (False, 3)
    assert wardian("store", "prune", "--yes").out.startswith("removed 3 things, ")
    assert len(list((root / "blobs" / "sha256").iterdir())) == len(before) - 3
    assert wardian("store", "prune").out == "nothing to remove\n"
    assert "is whole" in wardian("store", "verify").out


def test_prune_stops_at_a_broken_image(wardian: Wardian, root: Path) -> None:
    Path(spoil(root)).unlink()
    said = wardian("store", "prune", "--yes", code=1)
    assert "empo/train:latest is broken" in said.err
    assert "wardian store verify --repair" in said.err
    assert len(said.err.strip().splitlines()) == 2


def test_prune_stops_while_another_wardian_writes(wardian: Wardian, root: Path) -> None:
    other = Store(root)
    other.put(b"not yet named", "x")
    said = wardian("store", "prune", "--yes", code=1)
    assert "another wardian is building or pulling" in said.err
    assert other.has(other.put(b"not yet named", "x").digest)


def test_df_shows_what_is_shared(wardian: Wardian, root: Path) -> None:
    said = wardian("store", "df")
    assert said.out.splitlines()[0].split() == ["IMAGE", "SIZE", "SHARED", "UNIQUE", "DIGEST"]
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == ["empo/dev:latest", "empo/train:latest"]
    assert str(root) in said.err
    data = wardian("store", "df", "--json").json()
    assert data["blobs"] == data["total"] == sum(path.stat().st_size for path in (root / "blobs/sha256").iterdir())
    assert data["images"][0]["shared"] == data["images"][1]["shared"] > 0
    assert data["images"][1]["unique"] > 5000


def test_a_machine_without_namespaces_still_cleans_up(
    wardian: Wardian, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Store(root).resolve("empo/train:latest")
    assert image
    blob = Store(root).path(Store(root).manifest(image.digest).layers[1].digest)
    Store(root).untag("empo/train:latest")
    monkeypatch.setenv("PATH", str(tmp_path))  # no unshare, no bwrap
    (tmp_path / "sh").symlink_to("/bin/sh")
    (tmp_path / "id").symlink_to("/usr/bin/id")
    assert str(blob) in wardian("store", "prune").out
    wardian("store", "prune", "--yes")
    assert not blob.exists()
    assert "is whole" in wardian("store", "verify").out


def test_help_has_an_example(wardian: Wardian) -> None:
    for words in ((), ("verify",), ("prune",), ("df",)):
        said = wardian("store", *words, "--help").out
        assert "Usage: wardian store" in said
        assert "Example:" in said


def test_a_mistyped_word_is_exit_code_2(wardian: Wardian) -> None:
    wardian("store", "purge", code=2)
    wardian("store", "prune", "--days", "many", code=2)
