"""LoRA weights in a checkpoint: kept apart as an adapter that peft loads, or added into the weights they belong to.

Sources: peft's ``LoraLayer`` (``W + alpha / r * B @ A``) and its ``save_pretrained`` (names, ``adapter_config.json``);
verl's ``lora_train_meta.json`` (r, lora_alpha, task_type), which lies beside the shards.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import FLOATING, OutputFile, Whole, files

FOLDER = "lora_adapter"
META = "lora_train_meta.json"
_PREFIX = "base_model.model."
_WEIGHT = re.compile(r"(?P<module>.*)\.lora_(?P<which>[AB])\.(?P<adapter>[^.]+)\.weight")
_ANY = re.compile(r"\.(lora_[A-Za-z_]+|modules_to_save)\.")


@dataclass(frozen=True, slots=True)
class Adapter:
    """What was trained beside a model: by the key of the weight it belongs to, A (rank × in) and B (out × rank)."""

    pairs: Mapping[str, tuple[Whole, Whole]]
    rank: int
    alpha: float
    task: str

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """The adapter as peft has it, its numbers as they were trained."""
        named: dict[str, Whole] = {}
        for key, (a, b) in self.pairs.items():
            module = f"{_PREFIX}{key.removesuffix('.weight')}"
            named |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
        return files(named, None, 1 << 62, stem="adapter_model")

    def config(self) -> str:
        """The text of ``adapter_config.json``."""
        modules = sorted({key.removesuffix(".weight").rpartition(".")[2] for key in self.pairs})
        said = {
            "peft_type": "LORA",
            "task_type": self.task,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "target_modules": modules,
            "bias": "none",
        }
        return json.dumps(said, indent=2) + "\n"


def present(made: Mapping[str, Whole]) -> bool:
    """Whether a checkpoint holds LoRA weights."""
    return any(_ANY.search(key) for key in made)


def split(made: Mapping[str, Whole], folder: Path) -> tuple[dict[str, Whole], Adapter]:
    """The model under its own names, and what was trained beside it. ``folder`` has verl's ``lora_train_meta.json``."""
    base: dict[str, Whole] = {}
    found: dict[str, dict[str, Whole]] = {}
    names = set()
    for key, whole in made.items():
        match = _WEIGHT.fullmatch(key)
        if match:
            module = match["module"].removeprefix(_PREFIX)
            found.setdefault(f"{module}.weight", {})[match["which"]] = whole
            names.add(match["adapter"])
        elif _ANY.search(key):
            raise Refused(f"{key}: of an adapter only the weights lora_A and lora_B are known here")
        else:
            base[key.removeprefix(_PREFIX).replace(".base_layer.", ".")] = whole
    if len(names) != 1:
        raise Refused(f"the checkpoint has several adapters: {', '.join(sorted(names))}")
    pairs = {}
    for key, both in found.items():
        a, b, weight = both.get("A"), both.get("B"), base.get(key)
        if a is None or b is None or weight is None:
            raise Refused(f"{key}: of its weight, lora_A and lora_B one is missing")
        if (
            len(a.shape) != 2
            or len(b.shape) != 2
            or a.shape[0] != b.shape[1]
            or weight.shape != (b.shape[0], a.shape[1])
        ):
            raise Refused(f"{key}: {list(b.shape)} × {list(a.shape)} is no {list(weight.shape)}")
        if not {a.dtype, b.dtype, weight.dtype} <= FLOATING:
            raise Refused(f"{key}: its LoRA weights are no floating numbers")
        pairs[key] = (a, b)
    ranks = {a.shape[0] for a, _ in pairs.values()}
    if len(ranks) != 1 or 0 in ranks:
        raise Refused(f"the ranks of its LoRA weights are {', '.join(map(str, sorted(ranks)))}: one is supported")
    return base, _described(pairs, ranks.pop(), folder)


def _described(pairs: Mapping[str, tuple[Whole, Whole]], rank: int, folder: Path) -> Adapter:
    path = next((one for one in (folder / META, folder.parent / META) if one.is_file()), folder / META)
    try:
        said = json.loads(path.read_bytes())
        alpha, told = float(said["lora_alpha"]), int(said.get("r", rank))
    except FileNotFoundError as error:
        raise Refused(
            f"{path} is missing: how strong the LoRA weights are is not known", hint="it holds r, lora_alpha"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} is damaged: {error}") from error
    if told != rank:
        raise Refused(f"{path} speaks of rank {told}, the weights of {rank}")
    return Adapter(pairs, rank, alpha, str(said.get("task_type") or "CAUSAL_LM"))
