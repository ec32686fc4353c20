"""Find a checkpoint in the folder that was named, and read what its files say of themselves; no tensor is read."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from wardian.checkpoints.archive import opened
from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import Same, Whole, wholes
from wardian.checkpoints.tensors import Tensor, tensors

HUGGINGFACE = "huggingface"
_SHARD = re.compile(r"model_world_size_(\d+)_rank_(\d+)\.pt")
_ROLES = ("actor", "critic")
_LARGEST_JSON = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint: its tensors as wholes, copies that have to agree, and the folder with the model's other files."""

    folder: Path
    kind: str  # fsdp | dcp
    world: int
    mesh: tuple[int, ...]
    made: Mapping[str, Whole]
    same: tuple[Same, ...]
    inputs: tuple[Path, ...]
    side: Path | None
    config: Mapping[str, Any]


def found(folder: Path, *, world: int | None = None) -> Source:
    """The checkpoint in ``folder``, or in its ``actor`` or ``critic``. ``world``: which, where there are two sizes.

    Raises ``Refused`` with what is missing, damaged, or not what its name says.
    """
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder", hint="name the folder that has model_world_size_*_rank_*.pt")
    places = folders(folder)
    if len(places) > 1 and places[0] != folder:
        raise Refused(f"{folder} holds {' and '.join(one.name for one in places)}", hint=f"name one: {places[0]}")
    if not places:
        raise Refused(
            f"{folder} holds no sharded checkpoint",
            hint="it should have model_world_size_*_rank_*.pt, or .metadata of torch.distributed.checkpoint",
        )
    place = places[0]
    if (place / ".metadata").is_file():
        from wardian.checkpoints.dcp import distributed

        made, inputs = distributed(place)
        side = _side(place)
        return Source(place, "dcp", len(inputs), (len(inputs),), made, (), inputs, side, _config(side))
    ranks = _world(place, world)
    placed, inputs = _ranks(place, ranks)
    made, same = wholes(placed)
    mesh = next((one.placement.mesh for one in placed[min(placed)].values() if one.placement), (ranks,))
    side = _side(place)
    return Source(place, "fsdp", ranks, mesh, made, tuple(same), inputs, side, _config(side))


def folders(folder: Path) -> list[Path]:
    """The folder, and those of its roles, if they are of sharded checkpoints."""
    return [one for one in (folder, *(folder / role for role in _ROLES)) if _is_checkpoint(one)]


def _side(place: Path) -> Path | None:
    """The folder with the model's configuration, tokenizer and what else is no weight."""
    return next((one for one in (place / HUGGINGFACE, place.parent / HUGGINGFACE) if one.is_dir()), None)


def _is_checkpoint(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return (folder / ".metadata").is_file() or any(_SHARD.fullmatch(one.name) for one in folder.iterdir())


def _world(folder: Path, wanted: int | None) -> int:
    """The number of ranks, as the files' names have it; the configuration beside them has to agree."""
    sizes = {int(match[1]) for one in folder.iterdir() if (match := _SHARD.fullmatch(one.name))}
    if wanted is not None and wanted not in sizes:
        raise Refused(f"{folder} has no shards of {wanted} ranks, but of {', '.join(map(str, sorted(sizes)))}")
    if wanted is None and len(sizes) > 1:
        listed = " and ".join(map(str, sorted(sizes)))
        raise Refused(f"{folder} has shards of {listed} ranks", hint=f"type: --world-size {max(sizes)}")
    world = wanted or min(sizes)
    said = _json(folder / "fsdp_config.json").get("world_size", world)
    if said != world and wanted is None:
        raise Refused(
            f"{folder}: fsdp_config.json speaks of {said} ranks, the files' names of {world}",
            hint=f"if the names are right, type: --world-size {world}",
        )
    return world


def _ranks(folder: Path, world: int) -> tuple[dict[int, dict[str, Tensor]], tuple[Path, ...]]:
    """The tensors of each rank that is needed. Files of further replicas may be absent; nothing else may."""
    paths = {rank: folder / f"model_world_size_{world}_rank_{rank}.pt" for rank in range(world)}
    absent = [rank for rank, path in paths.items() if not path.is_file()]
    if 0 in absent:
        raise Refused(f"{paths[0]} is missing", hint="copy it from where the checkpoint was saved")
    first = tensors(opened(paths[0]), paths[0], 0)
    mesh = next((one.placement.mesh for one in first.values() if one.placement), (world,))
    if prod(mesh) != world:
        raise Refused(f"{paths[0]}: it was saved by {prod(mesh)} ranks, and its name speaks of {world}")
    row = range(mesh[-1])  # replica 0 comes first on the mesh
    if missing := [rank for rank in absent if rank in row]:
        named = ", ".join(paths[rank].name for rank in missing[:4])
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise Refused(f"{folder}: {named}{more} missing", hint="copy them from where the checkpoint was saved")
    found = {0: first} | {rank: tensors(opened(paths[rank]), paths[rank], rank) for rank in row if rank}
    if len(found) == 1 and world > 1 and not any(one.placement for one in first.values()):
        found |= {rank: tensors(opened(paths[rank]), paths[rank], rank) for rank in range(1, world)}
    return found, tuple(paths[rank] for rank in found)


def _config(side: Path | None) -> Mapping[str, Any]:
    return _json(side / "config.json") if side else {}


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a small file; empty where there is no such file."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise Refused(f"{path} is larger than {_LARGEST_JSON} bytes")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise Refused(f"{path} holds no JSON object")
    return value
