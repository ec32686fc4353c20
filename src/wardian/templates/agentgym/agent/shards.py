"""Save a policy as a training with FSDP does: a shard for each rank beside ``huggingface/``."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from agent.policy import Policy


def save(policy: Policy, actor: Path, world: int) -> None:
    """Write ``model_world_size_<world>_rank_<rank>.pt`` and ``huggingface/``, in ``world`` processes over gloo."""
    side = actor / "huggingface"
    side.mkdir(parents=True, exist_ok=True)
    policy.model.config.architectures = [type(policy.model).__name__]
    policy.model.config.save_pretrained(side)
    policy.tokenizer.save_pretrained(side)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pt"
        torch.save(policy.model.state_dict(), weights)
        where = f"file://{folder}/meeting"
        mp.spawn(_rank, args=(world, where, str(weights), str(actor)), nprocs=world)


def _rank(rank: int, world: int, where: str, weights: str, actor: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=world)
    model = AutoModelForCausalLM.from_config(Policy().model.config)
    model.load_state_dict(torch.load(weights, weights_only=True))
    fully_shard(model, mesh=dist.device_mesh.init_device_mesh("cpu", (world,)))
    torch.save(model.state_dict(), Path(actor) / f"model_world_size_{world}_rank_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
