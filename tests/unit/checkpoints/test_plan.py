"""Parts cover each element once, however a tensor is cut; files are laid the same way each time."""

from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.checkpoints.archive import Record
from wardian.checkpoints.dcp import _covered
from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import Part, Whole, files, sliced, wholes
from wardian.checkpoints.tensors import Placement, Tensor, cut

SHAPES = st.lists(st.integers(0, 6), min_size=1, max_size=3).map(tuple)


def shards(shape: tuple[int, ...], ranks: int, dimension: int, replicas: int = 1) -> dict[int, dict[str, Tensor]]:
    """What each rank has of a tensor of bytes that count up; its bytes are element by element."""
    found = {}
    for rank in range(ranks * replicas):
        at = rank % ranks
        _, size = cut(shape[dimension], ranks, at)
        local = (*shape[:dimension], size, *shape[dimension + 1 :])
        mesh = (replicas, ranks) if replicas > 1 else (ranks,)
        placement = Placement(mesh, (), dimension, at, rank // ranks)
        found[rank] = {"a": Tensor("uint8", shape, local, Record(Path(str(rank)), 0, prod(local), 0), 0, placement)}
    return found


def elements(whole: Whole, content: dict[str, bytes]) -> bytes:
    """Put a tensor of bytes together, as a writer would; each place once."""
    out: dict[int, int] = {}
    for part in whole.parts:
        for run in range(part.runs):
            for at in range(part.length):
                place = part.first + run * part.step + at
                assert place not in out
                out[place] = content[part.record.path.name][part.start + run * part.length + at]
    assert sorted(out) == list(range(whole.count))
    return bytes(out[at] for at in range(whole.count))


def content(shape: tuple[int, ...], ranks: int, dimension: int) -> dict[str, bytes]:
    """The bytes of each rank's shard of the tensor 0, 1, 2 …, cut as torch does."""
    outer, size, inner = prod(shape[:dimension]), shape[dimension], prod(shape[dimension + 1 :])
    found = {}
    for rank in range(ranks):
        first, count = cut(size, ranks, rank)
        rows = ((row * size + at) * inner for row in range(outer) for at in range(first, first + count))
        found[str(rank)] = bytes((start + at) % 251 for start in rows for at in range(inner))
    return found


@given(SHAPES, st.integers(1, 5), st.data())
def test_a_whole_is_put_together_of_any_cut(shape: tuple[int, ...], ranks: int, data: st.DataObject) -> None:
    dimension = data.draw(st.integers(0, len(shape) - 1))
    made, same = wholes(shards(shape, ranks, dimension))
    assert same == []
    expected = bytes(at % 251 for at in range(prod(shape)))
    assert elements(made["a"], content(shape, ranks, dimension)) == expected
    first = data.draw(st.integers(0, made["a"].count))
    size = data.draw(st.integers(0, made["a"].count - first))
    part = sliced(made["a"], first, (size,))
    assert elements(part, content(shape, ranks, dimension)) == expected[first : first + size]


@given(st.integers(0, 100), st.integers(1, 9))
def test_pieces_are_torch_chunks(size: int, ranks: int) -> None:
    pieces = [cut(size, ranks, at) for at in range(ranks)]
    assert [first for first, _ in pieces] == [min(size, -(-size // ranks) * at) for at in range(ranks)]
    assert sum(count for _, count in pieces) == size


def test_replicas_are_left_out() -> None:
    made, _ = wholes(shards((4, 2), 2, 0, replicas=2))
    assert {part.record.path.name for part in made["a"].parts} == {"0", "1"}


@pytest.mark.parametrize("what", ["dtype", "shape", "placement"])
def test_ranks_that_disagree(what: str) -> None:
    from dataclasses import replace

    found = shards((4, 2), 2, 0)
    changed = {
        "dtype": replace(found[1]["a"], dtype="int8"),
        "shape": replace(found[1]["a"], shape=(5, 2)),
        "placement": replace(found[1]["a"], placement=Placement((2,), (), 1, 1, 0)),
    }
    found[1]["a"] = changed[what]
    with pytest.raises(Refused, match=f"a: its {what} is"):
        wholes(found)


def test_a_shard_that_is_in_no_file() -> None:
    found = shards((4, 2), 4, 0)
    del found[2]
    with pytest.raises(Refused, match="the shard at place 2 of 4 is in no file"):
        wholes(found)


@pytest.mark.parametrize(
    ("runs", "good"),
    [
        ([(0, 3), (3, 2)], True),
        ([(3, 2), (0, 3)], True),
        ([], False),
        ([(0, 3), (2, 2)], False),  # as many as there are, and the last one in none
        ([(0, 3), (4, 1)], False),
        ([(0, 5), (5, 1)], False),
    ],
)
def test_chunks_cover_each_element_once(runs: list[tuple[int, int]], good: bool) -> None:
    record = Record(Path("0"), 0, 0, 0)
    assert _covered([Part(record, 0, first, length) for first, length in runs], 5) is good


def whole(dtype: str, *shape: int) -> Whole:
    return Whole(dtype, shape, (Part(Record(Path("0"), 0, 0, 0), 0, 0, prod(shape)),))


def test_files_are_laid_by_alignment_then_name_and_only_floats_are_cast() -> None:
    made = {"b": whole("float32", 4), "a": whole("float32", 2), "mask": whole("bool", 3), "n": whole("int64", 1)}
    (file,) = files(made, "bfloat16", 1000)
    assert [(one.key, one.dtype, one.start) for one in file.tensors] == [
        ("n", "int64", 0),
        ("a", "bfloat16", 8),
        ("b", "bfloat16", 12),
        ("mask", "bool", 20),
    ]
    assert (file.name, file.size) == ("model.safetensors", 23)
    (kept,) = files(made, None, 1000)
    assert {one.key: one.dtype for one in kept.tensors}["a"] == "float32"


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 60)
)
def test_no_file_is_larger_than_asked_unless_one_tensor_is(sizes: dict[str, int], largest: int) -> None:
    made = {key: whole("uint8", size) for key, size in sizes.items()}
    laid = files(made, None, largest)
    assert sorted(one.key for file in laid for one in file.tensors) == sorted(made)
    assert all(file.size <= largest or len(file.tensors) == 1 for file in laid)
    assert laid == files(dict(reversed(made.items())), None, largest)
