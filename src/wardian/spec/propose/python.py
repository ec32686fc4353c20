"""What pyproject.toml, requirement files and .python-version say."""

import re
import tomllib
from typing import Any

from wardian.spec.propose.draft import Draft

DEV = re.compile(r"(?:^|[-_./])(?:dev|develop|development|test|tests|testing|lint|docs?|ci)(?=[-_./]|$)", re.IGNORECASE)


def add_pin(draft: Draft, content: str) -> None:
    """``.python-version``: the first line that is a version. Source: pyenv, uv."""
    found = re.search(r"^(?:cpython-)?(3\.\d+)(?:\.\d+)?\s*$", content, re.MULTILINE)
    if found:
        draft.python = draft.python or found[1]


def add_pyproject(draft: Draft, content: str) -> None:
    """pyproject.toml: name, requires-python, dependencies, groups, uv's indexes. Source: PEP 621, PEP 735."""
    try:
        data = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        draft.left.append(f"pyproject.toml is not valid TOML: {error}")
        return
    project = _table(data, "project")
    draft.packaged = bool(project) and "dependencies" not in _list(project, "dynamic")
    if isinstance(name := project.get("name"), str):
        draft.name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:100].strip("-") or draft.name
    if isinstance(requires := project.get("requires-python"), str):
        draft.requires = requires
    if project.get("dependencies"):
        draft.extras.append("")
    draft.optional += list(_table(project, "optional-dependencies"))
    if project and "build-system" in data:
        draft.project = draft.project or "editable"
    groups = list(_table(data, "dependency-groups"))
    draft.dev_groups += ["dev"] if "dev" in groups else groups
    _tools(draft, _table(data, "tool"))


def _tools(draft: Draft, tool: dict[str, Any]) -> None:
    uv = _table(tool, "uv")
    for index in _list(uv, "index"):
        if isinstance(index, dict) and isinstance(index.get("url"), str):
            draft.index.append(index["url"])
    if sources := _table(uv, "sources"):
        draft.left.append(f"[tool.uv.sources] is not read; it names {', '.join(map(str, sources))}")
    if _table(_table(tool, "poetry"), "dependencies"):
        draft.left.append("the dependencies of [tool.poetry] are not read; move them to [project] dependencies")


def add_requirements(draft: Draft, paths: list[str]) -> None:
    """Requirement files by their names: those for development go into an image of their own."""
    known = {*draft.files, *draft.dev_files}
    paths = [path for path in paths if path not in known and "constraint" not in path]
    dev = [path for path in paths if DEV.search(path.removesuffix(".txt"))]
    main = [path for path in paths if path not in dev]
    draft.files += main
    draft.dev_files += dev


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _list(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else []
