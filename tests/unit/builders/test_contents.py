"""What goes into an image from the project, as far as it can be told without one."""

from typing import Any

import pytest

from wardian.builders.contents import where


def find(value: Any) -> dict[str, Any]:
    return {"tool": {"setuptools": {"packages": {"find": {"where": value}}}}}


def test_packages_are_where_setuptools_is_told_to_look() -> None:
    assert where(find(["source/robot", "lib"])) == ("source/robot", "lib")


@pytest.mark.parametrize(
    "pyproject",
    [
        {},
        {"tool": {"setuptools": {"packages": ["robot"]}}},
        {"tool": {"setuptools": []}},
        find("source"),
        find([1]),
        find([]),
    ],
)
def test_what_names_no_folders_names_none(pyproject: dict[str, Any]) -> None:
    assert where(pyproject) == ()
