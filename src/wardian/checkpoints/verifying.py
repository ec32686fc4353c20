"""Whether a merged directory is what was written, and what its checkpoint says."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wardian.checkpoints.merging import MANIFEST, Plan
from wardian.checkpoints.numbers import gap
from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.reading import Advance, Inputs, digests
from wardian.checkpoints.safetensors import INDEX, Stored, tensors
from wardian.checkpoints.tensors import DTYPES
from wardian.checkpoints.writing import pieces

_PIECE = 1 << 20  # bytes
_NAMES = {name: dtype for dtype, (name, _) in DTYPES.items()}


def manifest(out: Path) -> dict[str, Any]:
    """What was said when the directory was written. Raises ``Refused`` where it was not written by us."""
    path = out / MANIFEST
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise Refused(f"{out} holds no {MANIFEST}", hint="compare it with its checkpoint: --against") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{path} is damaged") from error
    if not (isinstance(said, dict) and isinstance(said.get("tensors"), dict) and isinstance(said.get("files"), dict)):
        raise Refused(f"{path} is damaged")
    found: dict[str, Any] = said
    return found


def held(out: Path) -> dict[str, tuple[Path, Stored]]:
    """Every tensor of a directory and the file it is in; the index, where there is one, has to say the same."""
    paths = sorted(out.glob("*.safetensors"))
    if not paths:
        raise Refused(f"{out} holds no safetensors file")
    found: dict[str, tuple[Path, Stored]] = {}
    for path in paths:
        for key, one in tensors(path).items():
            if key in found:
                raise Refused(f"{key} is in {found[key][0].name} and in {path.name}")
            found[key] = (path, one)
    if len(paths) > 1 or (out / INDEX).exists():
        try:
            where = json.loads((out / INDEX).read_bytes())["weight_map"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"{out / INDEX}: {error}") from error
        if where != {key: path.name for key, (path, _) in found.items()}:
            raise Refused(f"{out / INDEX} does not say what is in the files")
    return found


def faults(out: Path, advance: Advance = lambda _: None) -> Iterator[str]:
    """What is not as the manifest has it: one line each. Reads every byte where it holds checksums."""
    said, found = manifest(out), held(out)
    for key in sorted(set(said["tensors"]) ^ set(found)):
        yield f"{key} is {'missing' if key in said['tensors'] else 'not in the manifest'}"
    for name, file in said["files"].items():
        mine = {key: (one.start, one.size) for key, (path, one) in found.items() if path.name == name}
        if not mine:
            continue
        if file.get("sha256") is None:
            if (out / name).stat().st_size != file.get("size"):
                yield f"{name} has another size"
            continue
        whole, parts = digests(out / name, mine, 2, advance)
        yield from (
            f"{key} was changed"
            for key in sorted(parts)
            if key in said["tensors"] and said["tensors"][key].get("sha256") != parts[key]
        )
        if whole != file["sha256"]:
            yield f"{name} was changed"


def differences(out: Path, plan: Plan, advance: Advance = lambda _: None) -> Iterator[str]:
    """What differs between a directory and a merge that would be made now, tensor by tensor; nothing is written."""
    if plan.adapter and plan.wish.lora == "fuse":
        raise Refused("a model with LoRA weights in it is compared with its manifest alone", hint="leave out --against")
    found = held(out)
    wanted = {one.key: one for file in plan.files for one in file.tensors}
    for key in sorted(set(wanted) ^ set(found)):
        yield f"{key} is {'missing' if key in wanted else 'not in the checkpoint'}"
    with Inputs() as sources:
        for key in sorted(set(wanted) & set(found)):
            path, stored = found[key]
            one = wanted[key]
            if (stored.dtype, stored.shape) != (DTYPES[one.dtype][0], one.whole.shape):
                yield f"{key} is {stored.dtype} {list(stored.shape)}"
                continue
            written = sources.get(path)
            for place, piece in pieces(one, sources):
                if os.pread(written, len(piece), stored.start + place) != piece:
                    yield f"{key} holds other numbers"
                    break
                advance(len(piece))


def unlike(out: Path, other: Path, advance: Advance = lambda _: None) -> Iterator[str]:
    """What differs between two merged directories, whoever merged them, tensor by tensor; of numbers by how much."""
    ours, theirs = held(out), held(other)
    for key in sorted(set(ours) ^ set(theirs)):
        yield f"{key} is {f'not in {other}' if key in ours else 'missing'}"
    with Inputs() as sources:
        for key in sorted(set(ours) & set(theirs)):
            (path, one), (there, its) = ours[key], theirs[key]
            if (one.dtype, one.shape) != (its.dtype, its.shape):
                yield f"{key} is {one.dtype} {list(one.shape)}, and {its.dtype} {list(its.shape)} in {other}"
                continue
            gaps = []
            for at in range(0, one.size, _PIECE):
                length = min(_PIECE, one.size - at)
                mine = os.pread(sources.get(path), length, one.start + at)
                if mine != (their := os.pread(sources.get(there), length, its.start + at)):
                    gaps.append(gap(mine, their, _NAMES[one.dtype]))
                advance(length)
            if gaps:
                yield f"{key} holds other numbers, by up to {max(gaps):.3g}"
