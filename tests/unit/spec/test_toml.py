"""Values as TOML: whatever is written is read back by another reader."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec import toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans())


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)))
def test_values_are_what_toml_reads(value: object) -> None:
    assert tomllib.loads(f"a = {toml.value(value)}")["a"] == value


@given(TEXT)
def test_keys_are_what_toml_reads(key: str) -> None:
    assert tomllib.loads(f"{toml.key(key)} = 1") == {key: 1}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ([], "[]"),
        (["a", True, 1], '["a", true, 1]'),
        (["x" * 60, "y" * 60], f'[\n  "{"x" * 60}",\n  "{"y" * 60}",\n]'),
        ([{"a": 1}], "[\n  { a = 1 },\n]"),
        ({"a b": "\x7f"}, '{ "a b" = "\\u007f" }'),
    ],
)
def test_a_value_is_always_written_the_same_way(value: object, written: str) -> None:
    assert toml.value(value) == written


def test_a_value_without_a_place() -> None:
    with pytest.raises(TypeError, match="float"):
        toml.value(1.5)
