"""Every key of a TOML text is found on its line."""

import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.lines import lines
from wardian.spec.paths import leaves

DOCUMENT = '''\
# a comment with [brackets] and "quotes
title = "x"           # 2
a.b . "c d" = 1       # 3

[table]               # 5
list = [              # 6
  "one", # ] not the end
  'two # three',
  [ 3, { deep = true } ],
]
text = """
[not.a.table]
x = "y"
""" # 11
raw = \'\'\'it's\'\'\'       # 15
inline = { a = 1, b = { "c.d" = [1, 2] }, e = "}" }   # 16
date = 2020-01-01T00:00:00Z
[[entry]]             # 18
x = 1
[[entry]]             # 20
x = 2
[entry.sub]           # 22
y = 3
["quoted \\"name\\""]   # 24
k = ""
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("a", "b", "c d"), 3),
        (("table",), 5),
        (("table", "list"), 6),
        (("table", "list", 0), 7),
        (("table", "list", 1), 8),
        (("table", "list", 2, 0), 9),
        (("table", "list", 2, 1, "deep"), 9),
        (("table", "text"), 11),
        (("table", "raw"), 15),
        (("table", "inline", "b", "c.d", 1), 16),
        (("table", "inline", "e"), 16),
        (("table", "date"), 17),
        (("entry", 0, "x"), 19),
        (("entry", 1), 20),
        (("entry", 1, "x"), 21),
        (("entry", 1, "sub", "y"), 23),
        (('quoted "name"', "k"), 25),
    ],
)
def test_where_things_stand(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(DOCUMENT)
    assert lines(DOCUMENT)[path] == line


def test_windows_line_ends_count_once() -> None:
    assert lines("a = 1\r\n\r\nb = '''\r\n'''\r\nc = 2\r\n") == {("a",): 1, ("b",): 3, ("c",): 5}


def test_nothing_stands_in_an_empty_text() -> None:
    assert lines("") == lines("\n# only\n") == {}


KEYS = st.one_of(st.from_regex(r"[a-z0-9_-]{1,4}", fullmatch=True), st.text("aé .\"'#[]=\\", min_size=1, max_size=4))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.just("leaf"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def marked(value: Any, count: list[int]) -> Any:
    """The value with a number for each leaf, so that its line can be found in the text."""
    if isinstance(value, dict):
        return {key: marked(inner, count) for key, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, count) for inner in value]
    count[0] += 1
    return f'mark {count[0]} #]}}"'


def every_leaf(value: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], str]:
    if isinstance(value, str):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {place: leaf for key, inner in items for place, leaf in every_leaf(inner, (*path, key)).items()}


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_value_of_a_document_is_found(tables: dict[str, Any]) -> None:
    data = marked(tables, [0])
    text = tomlkit.dumps(data)
    if tomllib.loads(text) != data:
        return  # tomlkit has trouble with some empty tables; not what is tested here
    found = lines(text)
    rows = text.split("\n")
    for path, mark in every_leaf(data).items():
        assert mark.split()[1] in rows[found[path] - 1].replace("#", " ").split(), path


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_leaves_hold_all_values(tables: dict[str, Any]) -> None:
    for path, value in leaves(tables):
        inner: Any = tables
        for part in path:
            inner = inner[part]
        assert inner == value
