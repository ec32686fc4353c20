"""Headers are what the format says, also for hostile files; a config's text changes in one place alone."""

import json
from pathlib import Path

import pytest

from wardian.checkpoints.merging import with_dtype
from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.safetensors import tensors


def written(path: Path, entries: object, data: bytes = b"", *, length: int | None = None) -> Path:
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(start: int, end: int, dtype: str = "U8", shape: tuple[int, ...] = (4,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def test_a_header_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a", {"__metadata__": {"format": "pt"}, "b": entry(4, 8), "a": entry(0, 4)}, b"01234567")
    found = tensors(path)
    data = path.read_bytes()
    assert {key: data[one.start : one.start + one.size] for key, one in found.items()} == {"a": b"0123", "b": b"4567"}


@pytest.mark.parametrize(
    ("entries", "data", "length"),
    [
        ({"a": entry(0, 4)}, b"012", None),
        ({"a": entry(0, 4)}, b"01234", None),
        ({"a": entry(1, 5)}, b"01234", None),
        ({"a": entry(0, 4), "b": entry(2, 6)}, b"012345", None),
        ({"a": entry(0, 4, shape=(5,))}, b"0123", None),
        ({"a": entry(0, 4, dtype="Q9")}, b"0123", None),
        ({"a": {"dtype": "U8"}}, b"", None),
        ([], b"", None),
        (b"{", b"", None),
        ({}, b"", 1 << 60),
        ({}, b"x", None),
    ],
)
def test_headers_that_lie(tmp_path: Path, entries: object, data: bytes, length: int | None) -> None:
    with pytest.raises(Refused):
        tensors(written(tmp_path / "a", entries, data, length=length))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{\n   "dtype":"float32", "x": 1}', '{\n   "dtype":"bfloat16", "x": 1}'),
        ('{"torch_dtype": "float32"}', '{"torch_dtype": "bfloat16"}'),
        ('{"dtype": null}', '{"dtype": "bfloat16"}'),
        ('{"text": {"dtype": "float32"}, "dtype": "float32"}', '{"text": {"dtype": "float32"}, "dtype": "bfloat16"}'),
        ('{"é": "\\u00e9"}', '{\n  "é": "é",\n  "dtype": "bfloat16"\n}\n'),
    ],
)
def test_the_dtype_of_a_config_and_nothing_else(before: str, after: str) -> None:
    assert with_dtype(before, "bfloat16") == after
