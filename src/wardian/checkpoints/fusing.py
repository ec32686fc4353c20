"""LoRA weights added into the weights they belong to: ``W + alpha / r * B @ A``, as peft's ``LoraLayer`` has it."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from wardian.checkpoints.lora import Adapter
from wardian.checkpoints.numbers import Array, convert
from wardian.checkpoints.plan import Counts, OutputFile, Placed, Whole
from wardian.checkpoints.reading import Inputs
from wardian.checkpoints.safetensors import tensors
from wardian.checkpoints.tensors import DTYPES
from wardian.checkpoints.writing import Report, pieces, put


def fuse(adapter: Adapter, folder: Path, written: tuple[OutputFile, ...], report: Report) -> None:
    """Add the adapter into weights that were written already, computed in float32 and rounded once.

    What is no number in a sum replaces in ``report`` what was none in the weight.
    """
    scale = np.float32(adapter.alpha / adapter.rank)
    with Inputs() as sources:
        for file in written:
            places = tensors(folder / file.name)
            target = os.open(folder / file.name, os.O_RDWR | os.O_CLOEXEC)
            try:
                for one in file.tensors:
                    if one.key in adapter.pairs:
                        a, b = (_numbers(whole, sources) for whole in adapter.pairs[one.key])
                        counts = Counts()
                        for place, out in _sums(one, scale * b, a, sources, counts):
                            put(target, out, places[one.key].start + place)
                        report.add(one.key, counts)
            finally:
                os.close(target)


def _numbers(whole: Whole, sources: Inputs) -> Array:
    """A small tensor in memory, as float32."""
    made = np.empty(whole.count, np.float32)
    for place, piece in pieces(Placed("", whole, "float32", 0), sources):
        made[place // 4 : (place + len(piece)) // 4] = np.frombuffer(piece, np.float32)
    return made.reshape(whole.shape)


def _sums(one: Placed, b: Array, a: Array, sources: Inputs, counts: Counts) -> Iterator[tuple[int, memoryview]]:
    """W + B A as the output has it, a piece at a time, and where in the tensor each belongs."""
    columns, itemsize = a.shape[1], DTYPES[one.dtype][1]
    for place, piece in pieces(replace(one, dtype="float32"), sources):
        first, count = place // 4, len(piece) // 4
        top, bottom = first // columns, -(-(first + count) // columns)
        with np.errstate(over="ignore", invalid="ignore"):  # they are counted
            more = (b[top:bottom] @ a).reshape(-1)[first - top * columns :][:count]
            sums = np.frombuffer(piece, np.float32) + more
        out = memoryview(bytearray(count * itemsize))
        convert(memoryview(sums).cast("B"), "float32", out, one.dtype, counts)
        yield first * itemsize, out
