"""Which names tensors have in a HuggingFace directory, where these are not the names they are trained under.

Sources: transformers' ``conversion_mapping`` (in memory the experts of a mixture are one tensor; on the hub each has
its own).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import Whole, sliced

# Model types whose experts the hub has as ``mlp.experts.N.{gate,up,down}_proj.weight``.
_HUB_EXPERTS = frozenset({"qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3", "olmoe", "dots1", "glm4_moe"})
_EXPERTS = re.compile(r"(?P<stem>.*\.experts)\.(?P<which>gate_up_proj|down_proj)")
_HEADS = ("lm_head.weight", "model.embed_tokens.weight")


def hub(made: Mapping[str, Whole], config: Mapping[str, Any]) -> dict[str, Whole]:
    """The tensors as the hub has them: fused experts apart. Raises ``Refused`` for a kind whose names are not known."""
    found: dict[str, Whole] = {}
    for key, whole in made.items():
        match = _EXPERTS.fullmatch(key)
        if not match or len(whole.shape) != 3:
            found[key] = whole
            continue
        kind = config.get("model_type")
        if kind not in _HUB_EXPERTS:
            raise Refused(
                f"{key} holds all experts, and how the hub names those of a {kind} is not known here",
                hint="type: --keys as-saved, which transformers 5 loads as it is",
            )
        found.update(_experts(match["stem"], match["which"], whole))
    return found


def _experts(stem: str, which: str, whole: Whole) -> Iterator[tuple[str, Whole]]:
    """One expert after another; of ``gate_up_proj`` (experts, 2 × inner, hidden) first the gate's rows, then up's."""
    experts, rows, columns = whole.shape
    names = ("gate_proj", "up_proj") if which == "gate_up_proj" else ("down_proj",)
    if rows % len(names):
        raise Refused(f"{stem}.{which}: {rows} rows are no two halves")
    each = rows // len(names)
    for expert in range(experts):
        for at, name in enumerate(names):
            first = (expert * rows + at * each) * columns
            yield f"{stem}.{expert}.{name}.weight", sliced(whole, first, (each, columns))


def tied(made: Mapping[str, Whole], config: Mapping[str, Any]) -> tuple[str, str] | None:
    """The name of a head that has to be the embedding, and the embedding's, where both were saved; else None.

    Whether they are the same is to be looked at: a directory with both would load the embedding twice.
    """
    if not config.get("tie_word_embeddings"):
        return None
    head, embedding = _HEADS
    return _HEADS if head in made and embedding in made else None
