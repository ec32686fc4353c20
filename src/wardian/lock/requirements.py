"""Which Python distributions a project asks for: requirement files and the tables of pyproject.toml. Pure."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from posixpath import dirname, join, normpath
from typing import Any

from wardian.errors import Fault, SpecError
from wardian.lock.pylock import normalised


@dataclass(frozen=True, slots=True)
class Parsed:
    """A requirement file: its requirements, and the files that it includes (``-r``, ``-c``), as it names them."""

    requirements: tuple[str, ...]
    includes: tuple[str, ...]  # requirements
    constraints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuildSystem:
    """What builds a source tree; the defaults are for one that does not say. Source: PEP 517, "Source trees"."""

    requires: tuple[str, ...] = ("setuptools>=40.8.0",)
    backend: str = "setuptools.build_meta:__legacy__"
    path: tuple[str, ...] = ()  # folders of the tree in which the backend itself lies


def build_system(text: str, source: str = "pyproject.toml") -> BuildSystem:
    """The ``[build-system]`` of a pyproject.toml. Raises ``SpecError`` when it is none. Source: PEP 518."""
    try:
        table = tomllib.loads(text).get("build-system", {})
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Fault("", f"not TOML: {error}", source)]) from error
    plain = BuildSystem()
    requires, backend = table.get("requires", plain.requires), table.get("build-backend", plain.backend)
    path = table.get("backend-path", ())
    if not (_texts(requires) and isinstance(backend, str) and _texts(path)):
        raise SpecError([Fault("build-system", "requires and backend-path are lists, build-backend is a name", source)])
    return BuildSystem(tuple(requires), backend, tuple(path))


def _texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def parse(text: str) -> Parsed:
    """Read a requirement file. Source: pip's documentation, "Requirements File Format".

    >>> parse("torch==2.4  # pinned").requirements
    ('torch==2.4',)
    """
    requirements, includes, constraints = [], [], []
    for line in _lines(text):
        if found := re.match(r"(?:-r|--requirements?)(?:\s+|=)(.+)|-r(\S+)", line):
            includes.append((found[1] or found[2]).strip("'\""))
        elif found := re.match(r"(?:-c|--constraints?)(?:\s+|=)(.+)|-c(\S+)", line):
            constraints.append((found[1] or found[2]).strip("'\""))
        elif not line.startswith("-"):
            requirements.append(re.split(r"\s+--[a-z]", line)[0].strip())
    return Parsed(tuple(requirements), tuple(includes), tuple(constraints))


def included(name: str, text: str, *, constraints: bool = True) -> tuple[str, ...]:
    """The paths that a requirement file includes, relative to the project as ``name`` is."""
    parsed = parse(text)
    others = (*parsed.includes, *(parsed.constraints if constraints else ()))
    return tuple(normpath(join(dirname(name), other)) for other in others if "://" not in other)


def closure(files: Sequence[str], texts: Mapping[str, str], *, constraints: bool = True) -> tuple[str, ...]:
    """Requirement files and what they include, in the order they are met. ``texts``: path → content."""
    waiting, seen = list(files), dict[str, None]()
    while waiting:
        path = waiting.pop(0)
        if path not in seen:
            seen[path] = None
            waiting += included(path, texts.get(path, ""), constraints=constraints)
    return tuple(seen)


def requested(requirements: Sequence[str], files: Sequence[str], texts: Mapping[str, str]) -> frozenset[str]:
    """The normalised names of the distributions asked for by name, over included files. ``texts``: path → content."""
    read = (parse(texts.get(path, "")).requirements for path in closure(files, texts, constraints=False))
    return frozenset(name for line in chain(requirements, *read) if (name := distribution(line)))


def distribution(line: str) -> str:
    """The normalised name at the start of a requirement; "" when it has none (a bare path or URL).

    >>> distribution("Farama_Notifications[all]>=0.0.4; python_version > '3.8'")
    'farama-notifications'
    """
    found = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:[=<>!~;@(]|$)", line.strip())
    return normalised(found[1]) if found and not re.search(r"\.(whl|zip|tar\.gz)$", found[1]) else ""


def of_pyproject(text: str, *, groups: Sequence[str], extras: Sequence[str], project: bool) -> tuple[str, ...]:
    """The requirements that groups and extras of a pyproject.toml stand for, sorted.

    Any extra, also the empty one, brings the project's own dependencies; so does ``project``, when it is installed.
    Raises ``SpecError`` for names that are not there, and for dependencies that only a build would tell.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Fault("", f"not TOML: {error}", "pyproject.toml")]) from error
    found = [*_groups(data, groups)]
    table = data.get("project")
    if extras or (project and table is not None):
        found += _extras(table, extras)
    return tuple(sorted(set(found)))


def _groups(data: Mapping[str, Any], groups: Sequence[str]) -> Iterator[str]:
    from packaging.dependency_groups import resolve_dependency_groups

    table = data.get("dependency-groups", {})
    faults = []
    for group in groups:
        try:
            yield from resolve_dependency_groups(table, group)
        except Exception as error:  # noqa: BLE001 - an ExceptionGroup or LookupError, whatever packaging finds
            said = getattr(error, "exceptions", (error,))[0]
            missing = normalised(group) not in map(normalised, table)
            what = "there is no such group" if missing else str(said)
            faults.append(
                Fault(
                    f"dependency-groups.{group}", what, "pyproject.toml", hint=_near(group, table) if missing else None
                )
            )
    if faults:
        raise SpecError(faults)


def _extras(table: Mapping[str, Any] | None, extras: Sequence[str]) -> Iterator[str]:
    if table is None:
        raise SpecError([Fault("project", "is not there, but extras of it are asked for", "pyproject.toml")])
    for name in ("dependencies", "optional-dependencies") if any(extras) else ("dependencies",):
        if name in table.get("dynamic", ()):
            raise SpecError(
                [Fault(f"project.{name}", "is dynamic: only a build would tell it", "pyproject.toml")],
                hint="write the requirements down, or name a requirement file in `files`",
            )
    optional = {normalised(name): entries for name, entries in table.get("optional-dependencies", {}).items()}
    own = normalised(table.get("name", ""))
    yield from table.get("dependencies", ())
    waiting, seen = [normalised(extra) for extra in extras if extra], set[str]()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        if extra not in optional:
            fault = Fault(
                f"project.optional-dependencies.{extra}",
                "there is no such extra",
                "pyproject.toml",
                hint=_near(extra, optional),
            )
            raise SpecError([fault])
        for line in optional[extra]:
            inner = re.match(r"[^\[]+\[([^\]]*)\]", line)
            if own and distribution(line) == own and inner:
                waiting += [normalised(name.strip()) for name in inner[1].split(",")]
            else:
                yield line


def _near(name: str, known: Mapping[str, Any]) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else None


def _lines(text: str) -> Iterator[str]:
    """Logical lines: comments and blanks dropped, continued ones joined; a comment is not continued."""
    spoken = re.sub(r"(?m)^\s*#.*$", "", text.removeprefix("\ufeff"))
    for line in re.sub(r"\\\r?\n", " ", spoken).splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if bare:
            yield bare
