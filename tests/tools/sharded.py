"""Write real sharded checkpoints, as verl and AgentGym-RL do: a process for each rank, gloo between them.

    python sharded.py CASES.json

Runs with torch, in an environment of its own; nothing here imports Wardian. Each case is an object with ``folder``,
``kind`` (fsdp1, fsdp2, hsdp1, hsdp2, shard1, dcp), ``world`` and what else ``CASE`` has. Beside the shards it gets
``huggingface/`` and, saved by safetensors before anything was cut, ``ref.safetensors`` (as trained) and
``ref_bf16.safetensors`` (cast by torch).
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
import torch._dynamo  # imported before the ranks are forked: what each would import costs seconds
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    ShardedStateDictConfig,
    ShardingStrategy,
    StateDictType,
    fully_shard,
)
from torch.distributed.tensor import Shard

CASE = {
    "dtype": "float32",
    "layers": 2,
    "hidden": 64,
    "vocab": 251,
    "experts": 0,
    "lora": 0,  # rank
    "seed": 0,
    "tied": False,
    "value": False,  # a head of one row
    "odd": False,  # numbers that are hard to round
    "drop": None,  # [rank, key]: leave it out there
    "buffers": True,
    "differ": False,  # a buffer that is another one in each rank
    "hf": None,  # a transformers configuration: its model instead of ours
}


class Lora(nn.Module):
    def __init__(self, base, rank):
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, base.out_features, bias=False)})


class Block(nn.Module):
    def __init__(self, given):
        super().__init__()
        hidden = given.hidden
        self.q_proj = nn.Linear(hidden, hidden)
        if given.lora:
            self.q_proj = Lora(self.q_proj, given.lora)
        self.norm = nn.LayerNorm(hidden, bias=False)
        if given.buffers:
            self.register_buffer("steps", torch.arange(5, dtype=torch.int64))
            self.register_buffer("flag", torch.tensor(True))
        if given.experts:
            self.mlp = nn.Module()
            self.mlp.experts = nn.Module()
            self.mlp.experts.gate_up_proj = nn.Parameter(torch.randn(given.experts, 2 * 24, hidden))
            self.mlp.experts.down_proj = nn.Parameter(torch.randn(given.experts, hidden, 24))


class Core(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.embed_tokens = nn.Embedding(given.vocab, given.hidden)
        self.layers = nn.ModuleList(Block(given) for _ in range(given.layers))


class Model(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.model = Core(given)
        if given.value:
            self.score = nn.Linear(given.hidden, 1)
            return
        self.lm_head = nn.Linear(given.hidden, given.vocab, bias=False)
        if given.tied:
            self.lm_head.weight = self.model.embed_tokens.weight


class Peft(nn.Module):
    """The names that peft puts in front of a model's."""

    def __init__(self, model):
        super().__init__()
        self.base_model = nn.Module()
        self.base_model.model = model


def build(given):
    torch.manual_seed(given.seed)
    if given.hf:
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.for_model(**given.hf)
        with torch.device("meta"):  # each rank fills its shards: eight whole models are much
            return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, given.dtype))
    model = Model(given).to(getattr(torch, given.dtype))
    if given.odd:
        with torch.no_grad():
            odd = [float("nan"), float("inf"), -float("inf"), 3.4e38, 1.00390625, 1.01171875, 1e-40, -0.0]
            model.model.layers[0].q_proj.weight.view(-1)[: len(odd)] = torch.tensor(odd)
    return Peft(model) if given.lora else model


def beside(model, given, folder):
    """What lies beside the shards."""
    side = folder / "huggingface"
    side.mkdir(parents=True, exist_ok=True)
    if given.hf:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(side)
        model.generation_config.save_pretrained(side)
        tokenizer().save_pretrained(side)
        return
    name = "Qwen2ForTokenClassification" if given.value else "Qwen2ForCausalLM"
    config = {
        "architectures": ["Qwen3MoeForCausalLM" if given.experts else name],
        "model_type": "qwen3_moe" if given.experts else "qwen2",
        "dtype": given.dtype,
        "tie_word_embeddings": given.tied,
        "num_experts": given.experts,
    }
    (side / "config.json").write_text(json.dumps(config, indent=3))
    (side / "tokenizer.json").write_text('{"version":  "1.0", "model": {}}')
    if given.lora:
        (folder / "lora_train_meta.json").write_text(json.dumps({"r": given.lora, "lora_alpha": 2 * given.lora}))
    state = {name: one.detach().clone().contiguous() for name, one in model.state_dict().items()}
    save_file(state, str(folder / "ref.safetensors"), metadata={"format": "pt"})
    cast = {name: one.to(torch.bfloat16) if one.is_floating_point() else one for name, one in state.items()}
    save_file(cast, str(folder / "ref_bf16.safetensors"), metadata={"format": "pt"})


def tokenizer():
    """A small one, which other mergers load and save again."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), unk_token="[UNK]")


def mesh_of(given):
    if given.kind.startswith("hsdp"):
        return init_device_mesh("cpu", (2, given.world // 2), mesh_dim_names=("ddp", "fsdp"))
    return init_device_mesh("cpu", (given.world,), mesh_dim_names=("fsdp",))


def fsdp1(model, given):
    strategy = ShardingStrategy.HYBRID_SHARD if given.kind == "hsdp1" else ShardingStrategy.FULL_SHARD
    wrapped = FullyShardedDataParallel(
        model, device_mesh=mesh_of(given), sharding_strategy=strategy, device_id=torch.device("cpu")
    )
    saved = ShardedStateDictConfig(offload_to_cpu=True)
    with FullyShardedDataParallel.state_dict_type(wrapped, StateDictType.SHARDED_STATE_DICT, saved):
        return wrapped.state_dict()


def fsdp2(model, given):
    def across(one):
        return Shard(1) if one.dim() > 1 and one.shape[1] % given.world == 0 else Shard(0)

    placed = {"shard_placement_fn": across} if given.kind == "shard1" else {}
    sharded = fully_shard(model, mesh=mesh_of(given), **placed)
    if given.hf:
        sharded.to_empty(device="cpu")
        sharded.tie_weights()
        torch.manual_seed(given.seed + dist.get_rank())
        for one in sharded.parameters():
            nn.init.normal_(one.to_local(), std=0.02)
    return sharded.state_dict()


def write(rank, cases, meeting):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=cases[0].world)
    for given in cases:
        folder = Path(given.folder)
        model = build(given)
        if rank == 0:
            beside(model, given, folder)
        dist.barrier()
        if given.kind == "dcp":
            dcp.save({"model": fsdp2(model, given)}, checkpoint_id=str(folder / "dcp"))
            continue
        state = fsdp1(model, given) if given.kind.endswith("dp1") else fsdp2(model, given)
        if given.drop and given.drop[0] == rank:
            del state[given.drop[1]]
        if given.differ:
            state["model.layers.0.steps"] += rank
        torch.save(state, folder / f"model_world_size_{given.world}_rank_{rank}.pt")
        torch.save({"state": {}}, folder / f"optim_world_size_{given.world}_rank_{rank}.pt")
        torch.save({"rng": torch.zeros(3)}, folder / f"extra_state_world_size_{given.world}_rank_{rank}.pt")
        if rank == 0:
            version = 1 if given.kind.endswith("dp1") else 2
            said = {"FSDP_version": version, "world_size": given.world}
            (folder / "fsdp_config.json").write_text(json.dumps(said))
    dist.destroy_process_group()


def main():
    cases = [argparse.Namespace(**{**CASE, **one}) for one in json.loads(Path(sys.argv[1]).read_bytes())]
    for world in sorted({one.world for one in cases}):
        among = [one for one in cases if one.world == world]
        with tempfile.TemporaryDirectory() as folder:  # a file, where a port may be another's by then
            mp.start_processes(write, args=(among, f"{folder}/meeting"), nprocs=world, start_method="fork")


if __name__ == "__main__":
    main()
