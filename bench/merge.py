"""A merge beside verl's own merger, and beside `cp`: time, processor, memory, for models of real shapes.

    python bench/merge.py [--quick] [--json FILE] [--scratch DIR]

Each checkpoint is written by torch with random numbers, then merged by each in turn; medians of 5. Inputs are in the
page cache, and the disk is synced before each run. verl comes from PyPI into an environment of its own. Needs 25 GB of
disk.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from measure import Row, spread, table, write
from wardian.hosts.machine import local_path, read_machine

VERL = ("verl==0.9.1", "tensordict==0.10.0", "torch==2.13.0")
GENERATOR = Path(__file__).parent.parent / "tests" / "tools" / "sharded.py"
QWEN = {"model_type": "qwen2", "vocab_size": 151936, "max_position_embeddings": 4096}
SMALL = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
LARGE = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28}
HEADS = {896: (14, 2), 1536: (12, 2)}
MODELS: Mapping[str, Mapping[str, object]] = {
    "fp32 0.5B W=4": {"world": 4, "dtype": "float32", "shape": SMALL},
    "bf16 1.5B W=8": {"world": 8, "dtype": "bfloat16", "shape": LARGE},
    "fp32 1.5B W=4": {"world": 4, "dtype": "float32", "shape": LARGE},
}
GOALS = {
    ("fp32 0.5B W=4", "wall", "verl"): "1/6",
    ("bf16 1.5B W=8", "wall", "verl"): "1/10",
    ("bf16 1.5B W=8", "wall", "cp"): "1.3",
    ("fp32 0.5B W=4", "cpu", "verl"): "1/5",
    ("bf16 1.5B W=8", "cpu", "verl"): "1/5",
}


@dataclass(frozen=True)
class Sample:
    """One run of one program."""

    wall: float  # s
    cpu: float  # s
    rss: float  # MiB, of the largest process


def environment(folder: Path) -> Path:
    """A Python with verl and torch for the processor alone."""
    python = folder / "verl/bin/python"
    uv = (sys.executable, "-m", "uv")
    subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, folder / "verl"], check=True)
    links = [path for one in read_machine(os.environ).find_links if (path := local_path(one))]
    offered = any(list(one.glob("torch-2.13.0+cpu-*.whl")) for one in links)
    where = [f"--find-links={one}" for one in links] if offered else ["--torch-backend=cpu"]
    subprocess.run([*uv, "pip", "install", "-q", "--python", python, *where, *VERL], check=True)
    return python


def generate(python: Path, folder: Path, name: str) -> Path:
    """One checkpoint, with FSDP2."""
    model = dict(MODELS[name])
    shape = model.pop("shape")
    assert isinstance(shape, dict)
    heads, kv = HEADS[shape["hidden_size"]]
    config = {**QWEN, **shape, "num_attention_heads": heads, "num_key_value_heads": kv, "tie_word_embeddings": True}
    target = folder / name
    case = {"folder": str(target), "kind": "fsdp2", "hf": config, **model}
    (folder / "cases.json").write_text(json.dumps([case]))
    subprocess.run([python, "-W", "ignore", GENERATOR, folder / "cases.json"], check=True, stderr=subprocess.DEVNULL)
    return target


def sample(words: Sequence[str | Path], out: Path) -> Sample:
    """Run a program that writes ``out``, which is removed before."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(words, stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{words} ended with {child.returncode}\n{said.read().decode()[-2000:]}")
    return Sample(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def same(ours: Path, theirs: Path) -> bool:
    """Whether two files hold the same bytes."""
    return subprocess.run(["cmp", "-s", ours, theirs], check=False).returncode == 0


def compare(python: Path, shards: Path, folder: Path, repetitions: int) -> tuple[dict[str, list[Sample]], bool]:
    """Each program in turn, so that all meet the same machine; whether our file is verl's."""
    ours, theirs, copy = folder / "ours", folder / "theirs", folder / "copy"
    verl: list[str | Path] = [
        python,
        "-m",
        "verl.model_merger",
        "merge",
        "--backend",
        "fsdp",
        "--local_dir",
        shards,
        "--target_dir",
        theirs,
    ]
    wardian: list[str | Path] = [Path(sys.executable).with_name("wardian"), "merge", shards]
    contestants: dict[str, Callable[[], Sample]] = {
        "wardian": lambda: sample([*wardian, "--out", ours], ours),
        "wardian --verify": lambda: sample([*wardian, "--out", folder / "verified", "--verify"], folder / "verified"),
        "verl": lambda: sample(verl, theirs),
        "cp": lambda: sample(["cp", "-r", shards, copy], copy),
    }
    found: dict[str, list[Sample]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, run in contestants.items():
            found[name].append(run())
    equal = same(ours / "model.safetensors", theirs / "model.safetensors")
    for path in (ours, theirs, copy, folder / "verified"):
        shutil.rmtree(path)
    return found, equal


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repetition of the first row")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--scratch", metavar="DIR", help="where the checkpoints go (default: beside temporary files)")
    given = parser.parse_args()
    rows: list[Row] = []
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="wardian-bench-", dir=given.scratch) as place:
        folder = Path(place)
        python = environment(folder)
        for name in list(MODELS)[: 1 if given.quick else None]:
            shards = generate(python, folder, name)
            found, equal = compare(python, shards, folder, 1 if given.quick else 5)
            shutil.rmtree(shards)
            for peer in ("verl", "cp", "wardian --verify"):
                for measure in ("wall", "cpu", "rss"):
                    ours, theirs = ([getattr(one, measure) for one in found[who]] for who in ("wardian", peer))
                    row = Row(name, measure, median(ours), median(theirs), peer)
                    rows.append(row)
                    goal = GOALS.get((name, measure, peer), "–")
                    ratio = row.ratio or 0
                    shown = f"{ratio:.2f}" if ratio >= 1 else f"1/{1 / ratio:.1f}"
                    lines.append([name, measure, spread(ours), peer, spread(theirs), shown, goal])
            print(f"{name}: the file is {'' if equal else 'NOT '}verl's, byte for byte")
            print(table(["work", "measure", "wardian", "peer", "peer's", "ratio", "goal"], lines), flush=True)
            lines.clear()
            write(rows, given.json)


if __name__ == "__main__":
    main()
