"""Places in the file."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.paths import leaves, lookup, nested, text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ((), ""),
        (("run",), "run"),
        (("images", "a.b", "tests", "x y"), 'images."a.b".tests."x y"'),
        (("images", "a", "copy", 0, "source"), "images.a.copy[0].source"),
        (("π", 'a"b'), '"π"."a\\"b"'),
        (("", "x"), '"".x'),
    ],
)
def test_text(path: tuple[str | int, ...], said: str) -> None:
    assert text(path) == said


@given(st.lists(st.text("ab.\"' é-_0[]", max_size=4), min_size=1, max_size=4))
def test_a_path_of_keys_is_a_toml_key(keys: list[str]) -> None:
    inner: Any = tomllib.loads(f"{text(tuple(keys))} = 1")
    for key in keys:
        inner = inner[key]
    assert inner == 1


def test_lookup() -> None:
    data = {"a": {"b": [1, {"c": 2}]}}
    assert lookup(data, ("a", "b", 1, "c")) == 2
    assert lookup(data, ("a", "b", 5)) is None
    assert lookup(data, ("a", "x", "y")) is None
    assert lookup(data, ("a", "b", "x")) is None
    assert lookup(data, ()) == data


def test_leaves_of_empty_tables() -> None:
    assert list(leaves({})) == []
    assert list(leaves({"a": {}, "b": {"c": [], "d": 1}})) == [(("a",), {}), (("b", "c"), []), (("b", "d"), 1)]


def test_nested() -> None:
    assert nested(("a", "b"), [1]) == {"a": {"b": [1]}}
