"""`wardian merge --upload`, by the real huggingface_hub, to a hub on loopback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub import TOKEN, Hub, Repository, hub


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def shards(checkpoints: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(checkpoints / "fsdp2 of 4", tmp_path / "shards"))
    (folder / "optim_world_size_4_rank_0.pt").write_bytes(b"state of an optimizer")
    return folder


def merge(shards: Path, server: Hub, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    argv = [sys.executable, "-m", "wardian", "merge", str(shards), "--out", str(shards.parent / "out"), *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def merged(shards: Path) -> dict[str, bytes]:
    out = shards.parent / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_what_was_merged_arrives_and_is_private(shards: Path, server: Hub) -> None:
    done = merge(shards, server, "--hf_upload_path", "me/model")
    assert done.returncode == 0, done.stderr
    assert "uploaded to me/model, private" in done.stderr
    repository = server.repositories["me/model"]
    assert repository.private
    assert repository.branches == {"main": merged(shards)}
    assert {"model.safetensors", "config.json", "merge-manifest.json"} <= repository.branches["main"].keys()
    assert TOKEN not in done.stdout + done.stderr


def test_a_public_one_on_a_branch(shards: Path, server: Hub) -> None:
    for _ in range(2):  # the second time both are there
        done = merge(shards, server, "--upload", "me/model", "--public", "--revision", "step-7", "--overwrite")
        assert (done.returncode, "uploaded to me/model, public" in done.stderr) == (0, True), done.stderr
    repository = server.repositories["me/model"]
    assert not repository.private
    assert repository.branches == {"main": {}, "step-7": merged(shards)}


def test_a_repository_stays_as_public_as_it_is(shards: Path, server: Hub) -> None:
    """`private` is ignored for one that exists, so who asked for none to see it is not shown to all."""
    server.repositories["me/open"] = Repository(private=False)
    done = merge(shards, server, "--upload", "me/open")
    assert done.returncode == 1
    assert "me/open is there already, and public: nothing is uploaded" in done.stderr
    assert server.repositories["me/open"].branches == {"main": {}}
    server.repositories["me/closed"] = Repository(private=True)
    done = merge(shards, server, "--upload", "me/closed", "--public", "--overwrite")
    assert (done.returncode, "uploaded to me/closed, private" in done.stderr) == (0, True), done.stderr


def test_a_transfer_that_is_cut_is_made_again(shards: Path, server: Hub) -> None:
    server.cuts = 1
    done = merge(shards, server, "--upload", "me/model")
    assert (done.returncode, server.cuts) == (0, 0), done.stderr
    assert server.repositories["me/model"].branches["main"] == merged(shards)


@pytest.mark.parametrize("closed", [False, True])
def test_whoever_may_not_is_told_and_keeps_what_was_merged(shards: Path, server: Hub, *, closed: bool) -> None:
    server.closed = closed
    done = merge(shards, server, "--upload", "me/model", token=TOKEN if closed else "hf_wrong")
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert ("403" if closed else "401") in said[-2]
    assert said[-2].endswith("is whole")
    assert said[-1].strip() == "is HF_TOKEN set, and may it write there?"
    assert not server.repositories
    assert "model.safetensors" in merged(shards)
    assert "hf_wrong" not in done.stderr


def test_nothing_is_uploaded_of_a_checkpoint_that_is_damaged(shards: Path, server: Hub) -> None:
    shard = shards / "model_world_size_4_rank_2.pt"
    data = bytearray(shard.read_bytes())
    data[-5000:-4000] = bytes(1000)
    shard.write_bytes(data)
    done = merge(shards, server, "--upload", "me/model")
    assert (done.returncode, "rank_2.pt: bytes" in done.stderr) == (1, True), done.stderr
    assert not server.heard
    assert not merged(shards)


def test_without_the_library_nothing_is_begun(
    shards: Path, wardian: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    out = shards.parent / "out"
    said = wardian("merge", str(shards), "--out", str(out), "--upload", "me/model", code=1).err
    assert "type: pip install huggingface_hub" in said
    assert not out.exists()
