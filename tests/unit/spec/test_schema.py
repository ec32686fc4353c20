"""The JSON schema takes every template and every good case, and refuses what loading refuses."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import wardian
from wardian.spec.schema import schema

TEMPLATES = sorted((Path(wardian.__file__).parent / "templates").glob("*/wardian.toml"))
CASES = sorted((Path(__file__).parents[2] / "cases" / "spec").glob("*/expected.json"))
VALIDATOR = Draft202012Validator(schema())


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$id"].startswith("https://")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.parent.name)
def test_templates_are_valid(path: Path) -> None:
    VALIDATOR.validate(tomllib.loads(path.read_text().replace("@NAME@", "x")))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_what_loads_is_valid(path: Path) -> None:
    file = path.parent / "wardian.toml"
    data = tomllib.loads((file if file.exists() else path.parent / "pyproject.toml").read_text())
    VALIDATOR.validate(data if file.exists() else data["tool"]["wardian"])


@pytest.mark.parametrize(
    "data",
    [
        {"imagess": {}},
        {"run": {"shm": []}},
        {"run": {"env_pass": []}},
        {"images": {"x": {"python": 3.11}}},
        {"images": {"x": {"from": "a", "apt": "git"}}},
        {"images": {"x": {"from": "a", "platform": "windows"}}},
        {"images": {"x": {"from": "a", "tests": {"y": {"rum": "x"}}}}},
    ],
)
def test_what_does_not_load_is_not_valid(data: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize("value", ["16g", 1024])
def test_sizes_are_written_either_way(value: str | int) -> None:
    VALIDATOR.validate({"run": {"shm": value}})


def tables(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        return ([node] if "properties" in node else []) + [found for inner in node.values() for found in tables(inner)]
    return [found for inner in node for found in tables(inner)] if isinstance(node, list) else []


def test_every_key_is_described() -> None:
    every = tables(schema())
    assert len(every) >= 8
    for table in every:
        for name, key in table["properties"].items():
            assert key.get("description"), f"{table['title']}.{name}"
