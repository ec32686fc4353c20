"""How variables and flags become values at places."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec import shape, toml
from wardian.spec.models import Image, Spec
from wardian.spec.paths import Path, nested, text
from wardian.spec.sources import RESERVED, Source, merge, read, typed

KNOWN = {
    "images": {"my-train": {"from": "x"}, "a.b": {"from": "x"}, "train": {"from": "x", "env": {"lower": "1"}}},
    "run": {"ports": {"tensor-board": 1}},
}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ((), "table"),
        (("run",), "table"),
        (("run", "shm"), "value"),
        (("run", "user"), "text"),
        (("run", "env"), "mapping"),
        (("run", "env", "X"), "text"),
        (("run", "env-pass"), "list"),
        (("run", "env_pass"), None),
        (("run", "env-pass", 0), "text"),
        (("images", "x"), "table"),
        (("images", "x", "from"), "text"),
        (("images", "x", "python"), "text"),
        (("images", "x", "project"), "text"),
        (("images", "x", "copy", 0, "source"), "text"),
        (("images", "x", "tests", "y", "timeout"), "value"),
        (("images", "x", "tests", "y", "timeout", "z"), None),
        (("images", "x", "ca"), "value"),
        (("nothing",), None),
    ],
)
def test_shape(path: Path, kind: str | None) -> None:
    assert shape.kind(path) == kind


def test_the_keys_of_a_table() -> None:
    assert "from" in shape.keys(("images", "x"))
    assert "copy" in shape.keys(("images", "x"))
    assert shape.keys(("run", "env")) == []
    assert len(shape.keys(("images", "x"))) == len(Image.model_fields)
    assert shape.keys(()) == list(Spec.model_fields)


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("RUN__SHM", ("run", "shm")),
        ("RUN__ENV_PASS", ("run", "env-pass")),
        ("RUN__ENV__MUJOCO_GL", ("run", "env", "MUJOCO_GL")),
        ("RUN__PORTS__TENSOR_BOARD", ("run", "ports", "tensor-board")),
        ("RUN__PORTS__NEW_ONE", ("run", "ports", "new-one")),
        ("IMAGES__MY_TRAIN__APT", ("images", "my-train", "apt")),
        ("IMAGES__A_B__FROM", ("images", "a.b", "from")),
        ("IMAGES__TRAIN__ENV__lower", ("images", "train", "env", "lower")),
        ("IMAGES__NEW__FROM", ("images", "new", "from")),
        ("run__shm", ("run", "shm")),
    ],
)
def test_the_place_a_variable_means(variable: str, path: Path) -> None:
    assert shape.spoken(variable.split("__"), KNOWN) == (path, len(path))


@pytest.mark.parametrize(
    ("path", "written", "value"),
    [
        (("run", "shm"), "16g", "16g"),
        (("run", "shm"), "1024", 1024),
        (("run", "user"), "1000:1000", "1000:1000"),
        (("run", "gpus"), "2", "2"),
        (("run", "gpus"), '"2"', "2"),
        (("images", "x", "python"), "3.10", "3.10"),
        (("images", "x", "ca"), "true", True),
        (("images", "x", "apt"), '["git", "cmake"]', ["git", "cmake"]),
        (("images", "x", "apt"), "git", "git"),
        (("run", "env"), '{ A = "1" }', {"A": "1"}),
        (("run", "env", "A"), "true", "true"),
        (("run", "env", "A"), "", ""),
        (("run", "env", "A"), "a=b # c", "a=b # c"),
        (("run", "env", "A"), "'quoted # x'", "quoted # x"),
        (("run", "env", "A"), "1\nb = 2", "1\nb = 2"),
        (("run", "env", "A"), "line\nline", "line\nline"),
        (("unknown",), "1", 1),
    ],
)
def test_typed(path: Path, written: str, value: Any) -> None:
    assert typed(path, written) == value


@given(st.text())
def test_any_text_can_be_the_value_of_a_variable(written: str) -> None:
    found = typed(("run", "env", "A"), written)
    assert isinstance(found, str)


@pytest.mark.parametrize(
    ("flag", "data"),
    [
        ("run.shm=16g", {"run": {"shm": "16g"}}),
        (" run . shm = 1", {"run": {"shm": 1}}),
        ('images.x.tests."a = b".run=true', {"images": {"x": {"tests": {"a = b": {"run": "true"}}}}}),
        ("substitutes.'docker.io/*'=x=y", {"substitutes": {"docker.io/*": "x=y"}}),
        ("run.env.A=", {"run": {"env": {"A": ""}}}),
        ("run.env={}", {"run": {"env": {}}}),
    ],
)
def test_flags(flag: str, data: dict[str, Any]) -> None:
    said = read(Source("--set", flag, kind="flag"), {})
    assert (said.data, said.faults) == (data, ())


@pytest.mark.parametrize("flag", ["", "run.shm", "=1", "a b=1", "a.=1", ".a=1", '"a=1', "a\nb=1", "[a]=1", "#=1"])
def test_flags_that_are_none(flag: str) -> None:
    said = read(Source("--set", flag, kind="flag"), {})
    assert said.data == {}
    assert len(said.faults) == 1


def test_reserved_variables_are_no_settings() -> None:
    said = read(
        Source(
            "environment", values=dict.fromkeys([*RESERVED, "WARDIAN_PORT_TB", "HOME", "X"], "x"), kind="environment"
        ),
        {},
    )
    assert (said.data, said.faults) == ({}, ())


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = st.recursive(
    KEYS | st.integers(-(2**63), 2**63 - 1) | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(KEYS, min_size=1, max_size=3).map(tuple), VALUES)
def test_any_value_can_be_set_at_any_place_by_a_flag(path: Path, value: Any) -> None:
    said = read(Source("--set", f"{text(path)}={toml.value(value)}", kind="flag"), {})
    assert (said.data, said.faults) == (nested(path, value), ())


@given(KEYS)
def test_bare_text_of_a_flag_is_the_string_itself(value: str) -> None:
    """Where a string belongs, only what is written as a TOML string is read as one."""
    said = read(Source("--set", f"run.env.A={value}", kind="flag"), {})
    quoted = value.strip()[:1] in {'"', "'"}
    assert quoted or said.data == {"run": {"env": {"A": value}}}


TABLES = st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.sampled_from("ab"), st.integers()))


@given(TABLES, TABLES, TABLES)
def test_sources_may_be_merged_in_any_grouping(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    """Where each place is a table in all of them or in none: a value that replaces a table is final."""
    left: dict[str, Any] = {}
    for table in (first, second, third):
        merge(left, table)
    later: dict[str, Any] = {}
    merge(later, second)
    merge(later, third)
    right: dict[str, Any] = {}
    merge(right, first)
    merge(right, later)
    assert left == right


@given(st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.sampled_from("ab"), st.integers()) | st.integers()))
def test_merging_twice_is_merging_once_and_keeps_its_input(values: dict[str, Any]) -> None:
    into: dict[str, Any] = {"a": {"b": -1}}
    merge(into, values)
    once = repr(into)
    merge(into, values)
    assert repr(into) == once
    for inner in into.values():
        assert not any(inner is value for value in values.values()) or not isinstance(inner, dict)
