"""Real checkpoints become the files that safetensors itself writes of the whole model; bad ones are refused by name."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.checkpoints import CASES
from tests.disks import disk
from wardian.checkpoints.merging import Wish, planned
from wardian.checkpoints.safetensors import tensors
from wardian.checkpoints.source import found
from wardian.checkpoints.verifying import unlike
from wardian.errors import WardianError

Wardian = Callable[..., Any]
SAME = [  # byte for byte what safetensors writes of the model, cast by torch
    *("fsdp1 of 3", "fsdp2 of 4", "fsdp2 of 2, bfloat16", "fsdp2 of 2, float16", "fsdp2 of 2, float64"),
    *("hsdp, fsdp1", "hsdp, fsdp2", "cut along dimension 1", "one rank, fsdp1", "one rank, fsdp2"),
    *("a value head, fsdp1 of 7", "a value head, fsdp2 of 7", "dcp"),
]
RANKS = "model_world_size_4_rank_{}.pt"


@pytest.fixture
def shards(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of four shards, to be spoilt."""
    return copied(checkpoints, "fsdp2 of 4", tmp_path)


def copied(checkpoints: Path, case: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints / case, tmp_path / "shards"))


def stored(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    data = path.read_bytes()
    return {key: (one.dtype, one.shape, data[one.start : one.start + one.size]) for key, one in tensors(path).items()}


def refused(wardian: Wardian, folder: Path, *words: str, code: int = 2) -> str:
    """What is said; nothing is written."""
    out = folder.parent / "out"
    said: str = wardian("merge", str(folder), "--out", str(out), *words, code=code).err
    assert not out.exists()
    assert [path.name for path in folder.parent.glob("*.partial")] == []
    return said


@pytest.mark.parametrize("case", SAME)
def test_a_merge_is_the_file_of_the_whole_model(checkpoints: Path, tmp_path: Path, wardian: Wardian, case: str) -> None:
    folder = checkpoints / case / ("dcp" if case == "dcp" else "")
    wardian("merge", str(folder), "--out", str(tmp_path / "out"))
    wardian("merge", str(folder), "--out", str(tmp_path / "kept"), "--dtype", "keep", "--verify")
    for name, reference in (("out", "ref_bf16"), ("kept", "ref")):
        merged = (tmp_path / name / "model.safetensors").read_bytes()
        assert merged == (checkpoints / case / f"{reference}.safetensors").read_bytes(), name
    assert "all as they should be" in wardian("merge", "verify", str(tmp_path / "kept")).out
    wardian("merge", "verify", str(tmp_path / "out"), "--against", str(folder))


@pytest.mark.parametrize("case", ["fsdp1 of 2, tied", "fsdp2 of 4, tied"])
def test_a_tied_head_is_written_once(checkpoints: Path, tmp_path: Path, wardian: Wardian, case: str) -> None:
    said = wardian("merge", str(checkpoints / case), "--out", str(tmp_path / "out"))
    assert "lm_head.weight is model.embed_tokens.weight: it is written once" in said.err
    reference = stored(checkpoints / case / "ref_bf16.safetensors")
    head = reference.pop("lm_head.weight")
    assert stored(tmp_path / "out/model.safetensors") == reference
    wardian("merge", str(checkpoints / case), "--out", str(tmp_path / "both"), "--tied", "keep")
    assert stored(tmp_path / "both/model.safetensors") == {**reference, "lm_head.weight": head}


def test_a_head_that_is_not_the_embedding_is_no_tied_one(shards: Path, wardian: Wardian) -> None:
    config = shards / "huggingface/config.json"
    config.write_text(config.read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'))
    assert "lm_head.weight differs from model.embed_tokens.weight" in refused(wardian, shards)


def test_odd_numbers_are_counted_and_stay_odd(checkpoints: Path, tmp_path: Path, wardian: Wardian) -> None:
    case, out = "fsdp2 of 4, odd numbers", tmp_path / "out"
    said = wardian("merge", str(checkpoints / case), "--out", str(out))
    key = "model.layers.0.q_proj.weight"
    assert f"{key}: 1 × nan, 2 × inf, 1 × overflow" in said.err
    assert json.loads((out / "merge-manifest.json").read_bytes())["odd"] == {key: {"nan": 1, "inf": 2, "overflow": 1}}
    ours, torchs = stored(out / "model.safetensors"), stored(checkpoints / case / "ref_bf16.safetensors")
    first, second = (np.frombuffer(one[key][2], "<u2").copy() for one in (ours, torchs))
    assert all((value[0] & 0x7FFF) > 0x7F80 for value in (first, second)), "torch's own NaN changes with its processor"
    first[0] = second[0] = 0
    assert bytes(first) == bytes(second)
    assert {**ours, key: None} == {**torchs, key: None}
    counted = wardian("merge", str(checkpoints / case), "--out", str(tmp_path / "keep"), "--dtype", "keep", "--verify")
    assert f"{key}: 1 × nan, 2 × inf" in counted.err


def test_experts_get_the_hubs_names(checkpoints: Path, tmp_path: Path, wardian: Wardian) -> None:
    wardian("merge", str(checkpoints / "experts"), "--out", str(tmp_path / "out"))
    ours, whole = stored(tmp_path / "out/model.safetensors"), stored(checkpoints / "experts/ref_bf16.safetensors")
    for layer in (0, 1):
        stem = f"model.layers.{layer}.mlp.experts"
        fused, down = whole.pop(f"{stem}.gate_up_proj"), whole.pop(f"{stem}.down_proj")
        both = np.frombuffer(fused[2], "<u2").reshape(6, 2, 24, 64)
        for expert in range(6):
            for half, name in enumerate(("gate_proj", "up_proj")):
                whole[f"{stem}.{expert}.{name}.weight"] = ("BF16", (24, 64), both[expert, half].tobytes())
            rows = np.frombuffer(down[2], "<u2").reshape(6, 64, 24)[expert]
            whole[f"{stem}.{expert}.down_proj.weight"] = ("BF16", (64, 24), rows.tobytes())
    assert ours == whole
    wardian("merge", str(checkpoints / "experts"), "--out", str(tmp_path / "same"), "--keys", "as-saved")
    reference = (checkpoints / "experts/ref_bf16.safetensors").read_bytes()
    assert (tmp_path / "same/model.safetensors").read_bytes() == reference


def test_experts_whose_names_are_unknown(checkpoints: Path, tmp_path: Path, wardian: Wardian) -> None:
    folder = copied(checkpoints, "experts", tmp_path)
    config = folder / "huggingface/config.json"
    config.write_text(config.read_text().replace("qwen3_moe", "mixtral"))
    assert "how the hub names those of a mixtral is not known" in refused(wardian, folder)


@pytest.mark.parametrize("case", ["lora", "lora, fsdp1"])
def test_lora_is_fused_or_kept_apart_and_never_silently(
    checkpoints: Path, tmp_path: Path, wardian: Wardian, case: str
) -> None:
    folder, rank = checkpoints / case, int(CASES[case]["lora"])
    said = wardian("merge", str(folder), "--out", str(tmp_path / "none"), code=2).err
    assert "--lora fuse to add them" in said
    whole = {
        key: np.frombuffer(data, "<f4").reshape(shape)
        for key, (kind, shape, data) in stored(folder / "ref.safetensors").items()
        if kind == "F32"
    }
    words = ["merge", str(folder), "--dtype", "fp32", "--out"]
    assert (
        f"LoRA weights of rank {rank}, alpha {2 * rank}, for 2 tensors: added"
        in wardian(*words, str(tmp_path / "fused"), "--lora", "fuse").err
    )
    fused = stored(tmp_path / "fused/model.safetensors")
    assert not [key for key in fused if "lora" in key or "base" in key]
    stem = "base_model.model.model.layers.1.q_proj"
    a, b = whole[f"{stem}.lora_A.default.weight"], whole[f"{stem}.lora_B.default.weight"]
    expected = whole[f"{stem}.base_layer.weight"] + 2 * (b @ a)
    got = np.frombuffer(fused["model.layers.1.q_proj.weight"][2], "<f4").reshape(64, 64)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

    said = wardian(*words, str(tmp_path / "apart"), "--lora", "separate")
    assert "the model is the one before training" in said.err
    apart = stored(tmp_path / "apart/model.safetensors")
    assert apart["model.layers.1.q_proj.weight"][2] == whole[f"{stem}.base_layer.weight"].tobytes()
    adapter = stored(tmp_path / "apart/lora_adapter/adapter_model.safetensors")
    assert adapter[f"{stem}.lora_A.weight"] == ("F32", (rank, 64), a.tobytes())
    config = json.loads((tmp_path / "apart/lora_adapter/adapter_config.json").read_bytes())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (rank, 2 * rank, ["q_proj"])


def test_a_fused_weight_that_is_no_number_any_more_is_named(
    checkpoints: Path, tmp_path: Path, wardian: Wardian
) -> None:
    folder = copied(checkpoints, "lora", tmp_path)
    part = found(folder).made["base_model.model.model.layers.1.q_proj.lora_B.default.weight"].parts[0]
    with part.record.path.open("r+b") as file:
        file.seek(part.start)
        file.write(np.full(4, np.inf, "<f4").tobytes())  # the first of 64 rows
    said = wardian("merge", str(folder), "--lora", "fuse", "--out", str(tmp_path / "out")).err
    odd = json.loads((tmp_path / "out/merge-manifest.json").read_bytes())["odd"]["model.layers.1.q_proj.weight"]
    assert (odd["nan"] + odd["inf"], odd["overflow"]) == (64, 0)
    assert "model.layers.1.q_proj.weight: " in said


def test_side_files_are_copied_and_the_dtype_alone_is_changed(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    side = shards / "huggingface"
    (side / "chat_template.jinja").write_text("{{ messages }}\r\n")
    (side / "modeling_mine.py").write_text("raise SystemExit('nobody runs this')\n")
    (side / "templates").mkdir()
    (side / "templates/tool.jinja").write_text("tool")
    (side / "model.safetensors.index.json").write_text('{"of": "an older merge"}')
    wardian("merge", str(shards), "--out", str(tmp_path / "out"))
    before, after = (side / "config.json").read_text(), (tmp_path / "out/config.json").read_text()
    assert after == before.replace('"dtype": "float32"', '"dtype": "bfloat16"')
    for name in ("tokenizer.json", "chat_template.jinja", "modeling_mine.py", "templates/tool.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (side / name).read_bytes(), name
    assert not (tmp_path / "out/model.safetensors.index.json").exists()


def test_in_place_and_again(shards: Path, wardian: Wardian) -> None:
    """As the other mergers do: into the folder that has the configuration."""
    said = wardian("merge", str(shards))
    assert said.out.startswith(f"{shards}/huggingface: 12 tensors, ")
    first = {path.name: path.read_bytes() for path in (shards / "huggingface").iterdir()}
    assert sorted(first) == ["config.json", "merge-manifest.json", "model.safetensors", "tokenizer.json"]
    assert "holds a merged model" in wardian("merge", str(shards), code=2).err
    wardian("merge", str(shards), "--overwrite")
    assert {path.name: path.read_bytes() for path in (shards / "huggingface").iterdir()} == first
    assert sorted(path.name for path in shards.iterdir() if path.is_dir()) == ["huggingface"]


def test_what_is_not_ours_is_never_replaced(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    out = tmp_path / "out"
    out.mkdir()
    wardian("merge", str(shards), "--out", str(out))  # an empty folder is as good as none
    shutil.rmtree(out)
    for name, said in (("notes.txt", "holds other things"), ("pytorch_model.bin", "not merged by Wardian")):
        out.mkdir()
        (out / name).write_text("precious")
        assert said in wardian("merge", str(shards), "--out", str(out), "--overwrite", code=2).err
        assert [path.read_text() for path in out.iterdir()] == ["precious"]
        shutil.rmtree(out)
    assert "is the checkpoint itself" in wardian("merge", str(shards), "--out", str(shards), code=2).err


def test_several_files_and_their_index(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    out = tmp_path / "out"
    wardian("merge", str(shards), "--out", str(out), "--max-shard-size", "40k", "--verify")
    index = json.loads((out / "model.safetensors.index.json").read_bytes())
    whole = stored(shards / "ref_bf16.safetensors")
    assert sorted(index["weight_map"]) == sorted(whole)
    found = {key: stored(out / name)[key] for key, name in index["weight_map"].items()}
    assert found == whole
    names = sorted(path.name for path in out.glob("*.safetensors"))
    assert names == [f"model-{at:05}-of-{len(names):05}.safetensors" for at in range(1, len(names) + 1)]
    assert len(names) > 1
    wardian("merge", "verify", str(out))
    (out / "model.safetensors.index.json").unlink()
    assert "index.json" in wardian("merge", "verify", str(out), code=2).err


def test_what_was_changed_afterwards_is_named(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    out = tmp_path / "out"
    wardian("merge", str(shards), "--out", str(out), "--verify")
    path = out / "model.safetensors"
    where = tensors(path)["model.layers.1.q_proj.weight"]
    data = bytearray(path.read_bytes())
    data[where.start + 7] ^= 1
    path.write_bytes(data)
    for words in ((), ("--against", str(shards))):
        assert "model.layers.1.q_proj.weight" in wardian("merge", "verify", str(out), *words, code=1).err


def test_what_another_program_merged(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    """Keys, dtypes, shapes and numbers, as verl's `test --test_hf_dir` compares them; here in place of a tolerance."""
    out, other = tmp_path / "out", tmp_path / "other"
    for folder, dtype in ((out, "bf16"), (tmp_path / "wide", "fp32")):
        wardian("merge", str(shards), "--out", str(folder), "--dtype", dtype)
    other.mkdir()
    path = Path(shutil.copy(out / "model.safetensors", other))
    assert "all as they should be" in wardian("merge", "verify", str(out), "--test_hf_dir", str(other)).out
    where = tensors(path)["model.layers.1.q_proj.weight"]
    data = bytearray(path.read_bytes()).replace(b'"lm_head.weight"', b'"lm_heat.weight"')
    data[where.start : where.start + 2] = b"\x20\x41"  # 10.0
    path.write_bytes(data)
    was = float(np.frombuffer(b"\0\0" + (out / path.name).read_bytes()[where.start : where.start + 2], "<f4")[0])
    assert list(unlike(out, other)) == [
        f"lm_head.weight is not in {other}",
        "lm_heat.weight is missing",
        f"model.layers.1.q_proj.weight holds other numbers, by up to {10 - was:.3g}",
    ]
    said = wardian("merge", "verify", str(out), "--against", str(other), code=1).err
    assert f"lm_head.weight is not in {other} (and 2 more)" in said
    assert "--against CHECKPOINT" in said
    wide = list(unlike(out, tmp_path / "wide"))
    assert f"lm_head.weight is BF16 [251, 64], and F32 [251, 64] in {tmp_path / 'wide'}" in wide
    assert len(wide) == sum(one.dtype == "BF16" for one in tensors(out / path.name).values())  # integers stay


def test_a_dry_run_and_a_look_write_nothing(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    before = sorted(shards.rglob("*"))
    said = wardian("merge", str(shards), "--dry-run", "--json").json()
    assert said["files"] == {"model.safetensors": 81234}
    seen = wardian("merge", "inspect", str(shards), "--json").json()
    assert (seen["kind"], seen["ranks"], seen["mesh"]) == ("fsdp", 4, [4])
    assert seen["tensors"]["lm_head.weight"] == {"dtype": "float32", "shape": [251, 64], "parts": 4}
    assert "lm_head.weight" in wardian("merge", "inspect", str(shards)).out
    assert sorted(shards.rglob("*")) == before


def test_the_flags_of_other_mergers(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    words = ["--backend", "fsdp", "--local_dir", str(shards), "--target_dir", str(tmp_path / "out")]
    wardian("merge", *words)
    wardian("merge", "--local_dir", str(shards), "--save_dir", str(tmp_path / "two"), "--private")
    ours = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "two")]
    assert ours[0] == ours[1] == (shards / "ref_bf16.safetensors").read_bytes()


def test_the_folder_above_is_found_and_two_roles_are_asked_about(
    checkpoints: Path, tmp_path: Path, wardian: Wardian
) -> None:
    above = tmp_path / "global_step_7"
    shutil.copytree(checkpoints / "fsdp2 of 4", above / "actor")
    wardian("merge", str(above), "--out", str(tmp_path / "out"))
    shutil.copytree(checkpoints / "a value head, fsdp2 of 7", above / "critic")
    assert "holds actor and critic" in wardian("merge", str(above), "--out", str(tmp_path / "x"), code=2).err
    wardian("merge", str(above / "critic"), "--out", str(tmp_path / "critic"))


# ── what other mergers take for good ────────────────────────────────────────────────────────────────────────────────


def spoil(path: Path, how: Callable[[bytes], bytes]) -> None:
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda data: data[: len(data) // 2], "no whole file of torch.save"),
        (lambda data: data[:-100], "no whole file of torch.save"),
        (lambda _: b"", "no whole file of torch.save"),
        (lambda _: b"PK\5\6" + bytes(18), "no data.pkl"),
    ],
    ids=["half of it", "100 bytes short", "empty", "an empty archive"],
)
def test_a_truncated_shard(shards: Path, wardian: Wardian, how: Callable[[bytes], bytes], said: str) -> None:
    spoil(shards / RANKS.format(2), how)
    told = refused(wardian, shards)
    assert said in told
    assert RANKS.format(2) in told


def test_a_missing_shard(shards: Path, wardian: Wardian) -> None:
    (shards / RANKS.format(2)).unlink()
    assert f"{RANKS.format(2)} missing" in refused(wardian, shards)
    (shards / RANKS.format(0)).unlink()
    assert f"{RANKS.format(0)} is missing" in refused(wardian, shards)


def test_zeroed_bytes_are_found_by_their_checksum(shards: Path, wardian: Wardian, tmp_path: Path) -> None:
    path = shards / RANKS.format(1)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    at = largest.header_offset + 2048
    data[at : at + 1024] = bytes(1024)
    path.write_bytes(data)
    told = refused(wardian, shards, "--verify", code=1)
    assert "were changed since they were saved" in told
    assert path.name in told


def test_code_in_a_pickle_does_not_run(shards: Path, wardian: Wardian, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.system, (f"touch {tmp_path}/ran",)

    import pickle

    path = shards / RANKS.format(1)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, pickle.dumps({"a": Evil()}, protocol=2) if name.endswith("data.pkl") else data)
    told = refused(wardian, shards)
    assert "it names posix.system" in told
    assert not (tmp_path / "ran").exists()


def test_another_ranks_file_under_this_ones_name(shards: Path, wardian: Wardian) -> None:
    shutil.copy(shards / RANKS.format(1), shards / RANKS.format(2))
    assert "it was saved by rank 1, not 2" in refused(wardian, shards)


def test_ranks_that_do_not_speak_of_the_same(checkpoints: Path, tmp_path: Path, wardian: Wardian) -> None:
    folder = copied(checkpoints, "a key left out", tmp_path)
    assert "lm_head.weight is in the file of rank 0 and not in that of rank 1" in refused(wardian, folder)
    shutil.rmtree(folder)
    folder = copied(checkpoints, "a buffer that differs", tmp_path)
    assert "model.layers.0.steps is no shard, and differs" in refused(wardian, folder)


def test_two_worlds_in_one_folder(checkpoints: Path, shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    for rank in (0, 1):
        shutil.copy(checkpoints / f"another world of 2/model_world_size_2_rank_{rank}.pt", shards)
    assert "has shards of 2 and 4 ranks" in refused(wardian, shards)
    wardian("merge", str(shards), "--out", str(tmp_path / "four"), "--world-size", "4")
    assert (tmp_path / "four/model.safetensors").read_bytes() == (shards / "ref_bf16.safetensors").read_bytes()
    wardian("merge", str(shards), "--out", str(tmp_path / "two"), "--world-size", "2")
    reference = checkpoints / "another world of 2/ref_bf16.safetensors"
    assert (tmp_path / "two/model.safetensors").read_bytes() == reference.read_bytes()
    assert "has no shards of 3 ranks" in refused(wardian, shards, "--world-size", "3")


def test_names_that_speak_of_more_ranks(shards: Path, wardian: Wardian) -> None:
    for rank in range(4):
        (shards / RANKS.format(rank)).rename(shards / f"model_world_size_8_rank_{rank}.pt")
    assert "fsdp_config.json speaks of 4 ranks, the files' names of 8" in refused(wardian, shards)
    (shards / "fsdp_config.json").unlink()
    assert "it was saved by 4 ranks, and its name speaks of 8" in refused(wardian, shards)


def test_without_the_configurations(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    (shards / "fsdp_config.json").unlink()
    shutil.rmtree(shards / "huggingface")
    said = wardian("merge", str(shards), "--out", str(tmp_path / "out"))
    assert "has no huggingface folder" in said.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["merge-manifest.json", "model.safetensors"]


def test_replicas_that_are_absent_are_not_needed(checkpoints: Path, tmp_path: Path, wardian: Wardian) -> None:
    folder = copied(checkpoints, "hsdp, fsdp2", tmp_path)
    for rank in (2, 3):
        (folder / RANKS.format(rank)).unlink()
    wardian("merge", str(folder), "--out", str(tmp_path / "out"))
    assert (tmp_path / "out/model.safetensors").read_bytes() == (folder / "ref_bf16.safetensors").read_bytes()


def test_a_distributed_checkpoint_that_leads_outside(checkpoints: Path, tmp_path: Path, wardian: Wardian) -> None:
    folder = copied(checkpoints, "dcp", tmp_path) / "dcp"
    metadata = folder / ".metadata"
    spoil(metadata, lambda data: data.replace(b"__0_0.distcp", b"../_0.distcp"))
    assert "said to lie at '../_0.distcp', outside" in wardian("merge", str(folder), code=2).err
    spoil(metadata, lambda data: data.replace(b"../_0.distcp", b"__9_0.distcp"))
    assert "__9_0.distcp: No such file" in wardian("merge", str(folder), code=2).err


def test_what_is_no_checkpoint(tmp_path: Path, wardian: Wardian) -> None:
    assert "is no folder" in wardian("merge", str(tmp_path / "nowhere"), code=2).err
    assert "holds no sharded checkpoint" in wardian("merge", str(tmp_path), code=2).err
    assert "name a checkpoint" in wardian("merge", "--dtype", "bf16", code=2).err


# ── disks, signals, memory ──────────────────────────────────────────────────────────────────────────────────────────


def words(folder: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "wardian", "merge", str(folder), "--out", str(out), *more]


def test_a_disk_without_the_room(shards: Path, tmp_path: Path, need: Callable[..., None]) -> None:
    need("unshare", "nsenter")
    with disk(tmp_path / "small", "60k") as small:
        done = small.run(words(shards, small.at / "out"), cwd=tmp_path, code=1)
        assert f"{small.at} has room for 61.4 kB, and 82.3 kB are needed" in done.stderr
        assert list(small.seen.glob("out*")) == []


def test_a_checkpoint_that_is_read_only_and_symlinked(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for path in shards.iterdir():
        (links / path.name).symlink_to(path)
    for path in shards.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o222)
    wardian("merge", str(links), "--out", str(tmp_path / "out"))
    assert (tmp_path / "out/model.safetensors").read_bytes() == (shards / "ref_bf16.safetensors").read_bytes()


def test_killed_at_any_moment_it_leaves_nothing_half_and_the_next_one_works(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for at in range(12):
        child = subprocess.Popen(words(shards, out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(0.05 * at)
        child.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[at % 3])
        child.wait(20)
        if out.exists():
            assert (out / "model.safetensors").read_bytes() == (shards / "ref_bf16.safetensors").read_bytes()
            assert (out / "config.json").exists()
            shutil.rmtree(out)
    subprocess.run(words(shards, out), check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shards"]


KILLED = """
import os, pathlib, shutil, signal, sys
from wardian.checkpoints import merging
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
def unlink(path, real=pathlib.Path.unlink, **given): die() if path.name == merging._MARK else real(path, **given)
{moment} = {by}
from wardian.main import guarded
sys.exit(guarded(sys.argv[1:]))
"""
MOMENTS = {  # of the last steps, where 12 kills at fixed times hardly strike
    "before it is in its place": ("pathlib.Path.rename", "die", False),
    "when it is in its place": ("pathlib.Path.unlink", "unlink", False),
    "before two are exchanged": ("merging.os.fsencode", "die", True),
    "when two were exchanged": ("merging.shutil.rmtree", "die", True),
    "when the other was removed": ("pathlib.Path.unlink", "unlink", True),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_in_its_last_steps(shards: Path, moment: str) -> None:
    function, by, again = MOMENTS[moment]
    out = shards / "huggingface" if again else shards.parent / "out"
    given = [str(shards), "--overwrite", *([] if again else ["--out", str(out)])]
    if again:
        subprocess.run([sys.executable, "-m", "wardian", "merge", *given], check=True, capture_output=True)
    kill = KILLED.format(moment=function, by=by)
    done = subprocess.run([sys.executable, "-c", kill, "merge", *given], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    subprocess.run([sys.executable, "-m", "wardian", "merge", *given], check=True, capture_output=True)
    assert (out / "model.safetensors").read_bytes() == (shards / "ref_bf16.safetensors").read_bytes()
    names = ["config.json", "merge-manifest.json", "model.safetensors", "tokenizer.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert list(out.parent.glob("*.partial")) == list(out.parent.glob("*.old")) == []


def test_an_output_that_would_be_copied_into_itself(shards: Path, wardian: Wardian) -> None:
    said = wardian("merge", str(shards), "--out", str(shards / "huggingface/merged"), code=2).err
    assert "which is copied into it" in said
    assert sorted(path.name for path in (shards / "huggingface").iterdir()) == ["config.json", "tokenizer.json"]


@pytest.mark.parametrize("case", ["hsdp, fsdp2", "fsdp1 of 2, tied", "lora", "dcp"])
def test_a_damaged_pickle_is_refused_or_makes_no_difference(checkpoints: Path, tmp_path: Path, case: str) -> None:
    """Bytes of real ones are changed at random; nothing but a refusal may come of it."""
    folder = copied(checkpoints, case, tmp_path)
    place = folder / "dcp" if case == "dcp" else folder
    path = place / ".metadata" if case == "dcp" else next(iter(sorted(place.glob("model_*_rank_0.pt"))))
    whole = path.read_bytes()
    good = whole
    if case != "dcp":
        with zipfile.ZipFile(path) as archive:
            good = next(archive.read(one) for one in archive.namelist() if one.endswith("data.pkl"))
    at, chance, refusals = whole.index(good), random.Random(7), 0
    for _ in range(300):
        spoilt = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 4))):
            spoilt[chance.randrange(len(spoilt))] = chance.choice((chance.randrange(256), *b"N)}0\x85\x00\xff"))
        path.write_bytes(whole[:at] + spoilt + whole[at + len(good) :])
        try:
            planned(found(place), Wish(lora="separate"))
        except WardianError:
            refusals += 1
    assert 100 < refusals <= 300


def test_two_merges_into_one_folder(shards: Path, tmp_path: Path, wardian: Wardian) -> None:
    import fcntl

    held = tmp_path / "out.partial"
    held.mkdir()
    holder = os.open(held, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    said = wardian("merge", str(shards), "--out", str(tmp_path / "out"), code=1).err
    os.close(holder)
    assert "another merge is writing" in said
    (held / "precious").touch()
    assert "is none of ours" in wardian("merge", str(shards), "--out", str(tmp_path / "out"), code=2).err
    assert (held / "precious").exists()


def test_little_memory_is_enough(shards: Path, tmp_path: Path, need: Callable[..., None]) -> None:
    need("prlimit")
    subprocess.run(["prlimit", "--as=512000000", *words(shards, tmp_path / "out", "--verify")], check=True)
    assert (tmp_path / "out/model.safetensors").read_bytes() == (shards / "ref_bf16.safetensors").read_bytes()


def test_nothing_of_torch_is_imported() -> None:
    program = "import sys, wardian.checkpoints.merging, wardian.checkpoints.dcp; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
