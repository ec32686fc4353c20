"""Real checkpoints, written once for all tests by torch in an environment of its own (``tests/tools/sharded.py``)."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from wardian.hosts.machine import local_path, read_machine

TORCH = "2.13.0"
SCRIPT = Path(__file__).parent / "tools" / "sharded.py"
CASES: Mapping[str, Mapping[str, Any]] = {
    "fsdp1 of 2, tied": {"kind": "fsdp1", "world": 2, "tied": True},
    "fsdp1 of 3": {"kind": "fsdp1", "world": 3},
    "fsdp2 of 4": {"kind": "fsdp2", "world": 4},
    "fsdp2 of 4, odd numbers": {"kind": "fsdp2", "world": 4, "odd": True},
    "fsdp2 of 4, tied": {"kind": "fsdp2", "world": 4, "tied": True},
    "fsdp2 of 2, bfloat16": {"kind": "fsdp2", "world": 2, "dtype": "bfloat16"},
    "fsdp2 of 2, float16": {"kind": "fsdp2", "world": 2, "dtype": "float16"},
    "fsdp2 of 2, float64": {"kind": "fsdp2", "world": 2, "dtype": "float64"},
    "hsdp, fsdp1": {"kind": "hsdp1", "world": 4},
    "hsdp, fsdp2": {"kind": "hsdp2", "world": 4},
    "cut along dimension 1": {"kind": "shard1", "world": 4},
    "one rank, fsdp1": {"kind": "fsdp1", "world": 1},
    "one rank, fsdp2": {"kind": "fsdp2", "world": 1},
    "a value head, fsdp1 of 7": {"kind": "fsdp1", "world": 7, "value": True},
    "a value head, fsdp2 of 7": {"kind": "fsdp2", "world": 7, "value": True},
    "experts": {"kind": "fsdp2", "world": 4, "experts": 6},
    "lora": {"kind": "fsdp2", "world": 2, "lora": 4},
    "lora, fsdp1": {"kind": "fsdp1", "world": 2, "lora": 3},
    "dcp": {"kind": "dcp", "world": 2},
    "a key left out": {"kind": "fsdp2", "world": 2, "drop": [1, "lm_head.weight"]},
    "a buffer that differs": {"kind": "fsdp2", "world": 2, "differ": True},
    "another world of 2": {"kind": "fsdp2", "world": 2, "seed": 1},
}


def interpreter(folder: Path) -> Path:
    """A Python with torch for the processor alone, made once in ``folder``."""
    python = folder / "torch/bin/python"
    with FileLock(f"{folder}/torch.lock"):
        if not (folder / "torch/done").exists():
            uv = (sys.executable, "-m", "uv")
            subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, folder / "torch"], check=True)
            links = [path for one in read_machine(os.environ).find_links if (path := local_path(one))]
            offered = any(list(one.glob(f"torch-{TORCH}+cpu-*.whl")) for one in links)
            where = [f"--find-links={one}" for one in links] if offered else ["--torch-backend=cpu"]
            words = [f"torch=={TORCH}", "numpy", "safetensors"]
            subprocess.run([*uv, "pip", "install", "-q", "--python", python, *where, *words], check=True)
            (folder / "torch/done").touch()
    return python


def checkpoints(folder: Path) -> Path:
    """A folder with all ``CASES`` by their names; nobody changes it."""
    made = folder / "checkpoints"
    with FileLock(f"{folder}/checkpoints.lock"):
        if not (made / "done").exists():
            made.mkdir(exist_ok=True)
            cases = [{"folder": str(made / name), **case} for name, case in CASES.items()]
            (made / "cases.json").write_text(json.dumps(cases))
            words = [str(interpreter(folder)), "-W", "ignore", str(SCRIPT), str(made / "cases.json")]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (made / "done").touch()
    return made
