"""The safetensors format: a header, then each tensor's bytes. Source: https://github.com/huggingface/safetensors."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import OutputFile
from wardian.checkpoints.tensors import DTYPES

INDEX = "model.safetensors.index.json"
_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
_SIZES = dict(DTYPES.values())


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file: its dtype as the format names it, its shape, and its bytes' place in the whole file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def header(file: OutputFile) -> bytes:
    """The length and the JSON, padded so that the data begin at a multiple of 8 bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for one in file.tensors:
        name = DTYPES[one.dtype][0]
        where = [one.start, one.start + one.size]
        entries[one.key] = {"dtype": name, "shape": list(one.whole.shape), "data_offsets": where}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def index(files: Sequence[OutputFile]) -> bytes:
    """The text of ``model.safetensors.index.json``: which tensor is in which of several files."""
    where = {one.key: file.name for file in files for one in file.tensors}
    total = sum(file.size for file in files)
    return (
        json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2, sort_keys=True) + "\n"
    ).encode()


def tensors(path: Path) -> Mapping[str, Stored]:
    """What a file holds by its header. Raises ``Refused`` where header and size do not belong together."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, _LARGEST_HEADER):
                raise Refused(f"{path}: its header is longer than the file")
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            found = {key: _stored(entry, 8 + length) for key, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: it is no safetensors file ({error})") from error
    end = 8 + length
    for key, one in sorted(found.items(), key=lambda pair: pair[1].start):
        if one.start != end or one.size != prod(one.shape) * _SIZES[one.dtype]:
            raise Refused(f"{path}: {key} is not where its header says")
        end += one.size
    if end != size:
        raise Refused(f"{path}: it has {size} bytes, and its header speaks of {end}")
    return found


def _stored(entry: Mapping[str, object], data: int) -> Stored:
    shape, where = entry["shape"], entry["data_offsets"]
    assert isinstance(shape, list)
    assert isinstance(where, list)
    dtype = str(entry["dtype"])
    if dtype not in _SIZES:
        raise ValueError(f"dtype {dtype} is unknown")
    return Stored(dtype, tuple(map(int, shape)), data + int(where[0]), int(where[1]) - int(where[0]))
