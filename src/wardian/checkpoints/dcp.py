"""A directory of ``torch.distributed.checkpoint``: chunks in ``.distcp`` files, each a whole saved tensor.

Sources: torch/distributed/checkpoint/metadata.py and filesystem.py (what ``.metadata`` pickles).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from wardian.checkpoints.archive import opened
from wardian.checkpoints.pickled import LARGEST, Call, Refused, parsed, undamaged
from wardian.checkpoints.plan import Part, Whole
from wardian.checkpoints.tensors import DTYPES, Tensor, chunk, sizes

_PREFIXES = ("app.model.", "model.", "")  # where a state dict of several things has the model's


def distributed(folder: Path) -> tuple[dict[str, Whole], tuple[Path, ...]]:
    """Every tensor of the model, and the files with their chunks; optimizer and other state are passed over."""
    path = folder / ".metadata"
    if path.stat().st_size > LARGEST:
        raise Refused(f"{path} is larger than {LARGEST} bytes")
    metadata = parsed(path.read_bytes(), str(path))
    if not isinstance(metadata, Call) or not isinstance(metadata.state, Mapping):
        raise Refused(f"{path}: it is no metadata of torch.distributed.checkpoint")
    described, stored = metadata.state.get("state_dict_metadata"), metadata.state.get("storage_data")
    if not isinstance(described, Mapping) or not isinstance(stored, Mapping):
        raise Refused(f"{path}: it does not tell what was saved where")
    kept = {
        key: one
        for key, one in described.items()
        if isinstance(key, str) and isinstance(one, Call) and one.name.last == "TensorStorageMetadata"
    }
    prefix = next(one for one in _PREFIXES if not one or _names_the_model(one, kept))
    with undamaged(str(path)):
        places = dict(_places(stored, path))
    made: dict[str, Whole] = {}
    files: dict[Path, None] = {}
    for key, one in kept.items():
        if not key.startswith(prefix) or key.startswith("optim"):
            continue
        with undamaged(f"{path}: {key}"):
            whole = _whole(folder, key, one, places)
        made[key.removeprefix(prefix)] = whole
        files |= dict.fromkeys(part.record.path for part in whole.parts)
    if not made:
        raise Refused(f"{path}: it speaks of no tensor of a model")
    return made, tuple(files)


def _names_the_model(prefix: str, keys: Iterable[str]) -> bool:
    """Whether a prefix stands before the model's own names, the first of which may be ``model.`` too."""
    firsts = tuple(f"{prefix}{name}." for name in ("model", "transformer", "lm_head", "score"))
    return any(key.startswith(firsts) for key in keys)


def _places(stored: Mapping[Any, Any], path: Path) -> Iterator[tuple[tuple[str, tuple[int, ...]], Mapping[str, Any]]]:
    """Where each chunk lies, by its tensor's name and its offsets in the tensor."""
    for index, info in stored.items():
        if not (isinstance(index, Call) and isinstance(info, Call) and isinstance(info.state, Mapping)):
            raise Refused(f"{path}: an entry of its storage is damaged")
        given = index.state if isinstance(index.state, Mapping) else {}
        offset = given.get("offset")
        yield (str(given.get("fqn")), sizes(offset) if offset is not None else ()), info.state


def _whole(
    folder: Path, key: str, described: Call, places: Mapping[tuple[str, tuple[int, ...]], Mapping[str, Any]]
) -> Whole:
    where = f"{folder}: {key}"
    state = described.state if isinstance(described.state, Mapping) else {}
    shape = sizes(state.get("size"))
    parts: list[Part] = []
    dtype = None
    for one in state.get("chunks") or ():
        given = one.state if isinstance(one, Call) and isinstance(one.state, Mapping) else {}
        offsets, box = sizes(given.get("offsets")), sizes(given.get("sizes"))
        if not len(offsets) == len(box) == len(shape):
            raise Refused(f"{where}: a chunk has another number of dimensions")
        if any(at + size > whole for at, size, whole in zip(offsets, box, shape, strict=True)):
            raise Refused(f"{where}: a chunk lies outside the tensor")
        if not prod(box):
            continue
        info = places.get((key, offsets)) or (places.get((key, ())) if not any(offsets) else None)
        if info is None:
            raise Refused(f"{where}: the chunk at {list(offsets)} is stored nowhere")
        tensor = _chunk(folder, where, info, box)
        dtype = dtype or tensor.dtype
        if tensor.dtype != dtype:
            raise Refused(f"{where}: its chunks are of {dtype} and {tensor.dtype}")
        parts += _parts(tensor, shape, offsets, box)
    if dtype is None or not _covered(parts, prod(shape)):
        raise Refused(f"{where}: its chunks do not cover it, each element once")
    return Whole(dtype, shape, tuple(parts))


def _covered(parts: Sequence[Part], count: int) -> bool:
    """Whether runs lie end to end: two that overlap would hide a gap from who counts elements."""
    end = 0
    for part in sorted(parts, key=lambda part: part.first):
        if part.first != end:
            return False
        end += part.length
    return end == count


def _chunk(folder: Path, where: str, info: Mapping[str, Any], box: tuple[int, ...]) -> Tensor:
    name, offset, length = info.get("relative_path"), info.get("offset"), info.get("length")
    if not (isinstance(name, str) and isinstance(offset, int) and isinstance(length, int)):
        raise Refused(f"{where}: the place of a chunk is damaged")
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise Refused(f"{where}: a chunk is said to lie at {name!r}, outside the checkpoint")
    path = folder / name
    tensor = chunk(opened(path, start=offset, length=length), path)
    if tensor.local != box:
        raise Refused(f"{where}: a chunk is {list(tensor.local)}, not {list(box)} as .metadata says")
    return tensor


def _parts(tensor: Tensor, shape: tuple[int, ...], offsets: tuple[int, ...], box: tuple[int, ...]) -> Iterator[Part]:
    """The runs of a box in a tensor: as long as the box is as wide as the tensor."""
    inner = len(shape)
    while inner and box[inner - 1] == shape[inner - 1]:
        inner -= 1
    inner = max(inner, 1) if shape else 0
    strides = [prod(shape[at + 1 :]) for at in range(len(shape))]
    length = prod(box[inner - 1 :]) if shape else 1
    start = tensor.record.start + tensor.start
    rows = prod(box[: inner - 1]) if inner else 1
    for row in range(rows):
        left, first = row, offsets[inner - 1] * strides[inner - 1] if shape else 0
        for at in range(inner - 2, -1, -1):
            left, place = divmod(left, box[at])
            first += (offsets[at] + place) * strides[at]
        yield Part(tensor.record, start + row * length * DTYPES[tensor.dtype][1], first, length)
