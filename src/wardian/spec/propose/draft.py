"""A ``wardian.toml`` in the making, and how it is written down with comments."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wardian.errors import SpecError
from wardian.spec import toml
from wardian.spec.load import load
from wardian.spec.paths import Path, leaves, lookup, text
from wardian.spec.propose.shell import Step
from wardian.spec.sources import Source

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

# Debian suite → its Python. Source: packages.debian.org/python3.
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
OTHERS = ("3.12", "3.10", "3.14", "3.9", "3.8")


@dataclass(kw_only=True)
class Draft(Step):
    """What has been found so far. ``left`` is what has no place in the file; ``notes`` is what to tell."""

    name: str
    base: str | None = None
    python: str | None = None
    requires: str | None = None  # a version specifier for Python, when there is no more certain word
    packaged: bool = False  # pyproject.toml has a [project]
    copy: list[dict[str, str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    workdir: str | None = None
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    shm: str | None = None
    run_env: dict[str, str] = field(default_factory=dict)
    env_pass: list[str] = field(default_factory=list)
    mounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    optional: list[str] = field(default_factory=list)  # extras that nothing asked for yet
    dev_files: list[str] = field(default_factory=list)
    dev_groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read_yaml(self, name: str, content: str) -> dict[str, Any]:
        """The table that a YAML file is; empty, and said, when it is none."""
        import yaml

        try:
            data = yaml.safe_load(content)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            self.left.append(f"{name} is not valid YAML: {str(error).splitlines()[0]}")
            return {}
        return data if isinstance(data, dict) else {}

    def tables(self) -> dict[str, Any]:
        """The file as tables, without empty values."""
        base, python = self.standing()
        train = {
            "from": base,
            "apt": _unique(self.apt),
            "python": python,
            "requirements": _unique(self.requirements),
            "files": _unique(self.files),
            "extras": _unique(self.extras) if self.packaged else [],
            "index": _unique(self.index),
            "run": self.run,
            "copy": self.copy,
            "project": self.project if self.packaged else None,
            "env": self.env,
            "workdir": self.workdir or "/workspace",
            "entrypoint": self.entrypoint,
            "command": self.command,
            "labels": self.labels,
        }
        dev = {"from": "@train", "files": _unique(self.dev_files), "groups": _unique(self.dev_groups)}
        images = {"train": _filled(train)} | ({"dev": _filled(dev)} if len(_filled(dev)) > 1 else {})
        if python:
            check = {"run": "python -V", "expect": f"Python {python}"}
            images["train"]["tests"] = {f"python is {python}": check}
        run = {"image": "train", "shm": self.shm, "env": self.run_env, "env-pass": _unique(self.env_pass)}
        return {
            "project": {"name": self.name},
            "images": images,
            "run": _filled({**run, "ports": self.ports}),
            "mounts": self.mounts,
        }

    def doubts(self) -> list[str]:
        """What a person must decide: a project without metadata, extras that nothing asked for, a forbidden Python."""
        found = []
        if (self.project or self.extras) and not self.packaged:
            found.append(
                "the project is to be installed, but no pyproject.toml has a [project] with its dependencies: write it"
            )
        if extras := [extra for extra in self.optional if extra not in self.extras]:
            found.append(f"pyproject.toml has extras: {', '.join(extras)}; add the ones you need to extras")
        base, python = self.standing()
        if python and not _allowed(self.requires or "").contains(f"{python}.99"):
            found.append(f"requires-python is {self.requires}, but {base} has Python {python}")
        return found

    def standing(self) -> tuple[str, str | None]:
        """The base, and the Python on it."""
        if self.base:
            return self.base, self.python
        python = self.python or _newest(self.requires)
        if python in SUITES:
            return f"bootstrap:debian:{SUITES[python]}", python
        return f"python:{python}-slim-bookworm", python


def _allowed(requires: str) -> "SpecifierSet":
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(requires)
    except InvalidSpecifier:
        return SpecifierSet()


def _newest(requires: str | None) -> str:
    """A Python that a specifier allows: Debian's own if possible."""
    allowed = _allowed(requires or "")
    return next((version for version in (*SUITES, *OTHERS) if allowed.contains(f"{version}.99")), "3.11")


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _filled(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in (None, "", [], {})}


def sound(tables: dict[str, Any]) -> list[str]:
    """Take out, in place, every value that would be a fault; what was taken out, with the reason."""
    out: list[str] = []
    for _ in range(50):
        try:
            load([Source("proposal", values=tables)])
        except SpecError as error:
            out += _take_out(tables, {fault.path: fault.message for fault in error.faults})
            tables["images"]["train"].setdefault("from", f"bootstrap:debian:{SUITES['3.11']}")
        else:
            tables["images"] = {name: _filled(image) for name, image in tables["images"].items()}
            return out
    raise AssertionError("a proposal cannot be made sound")  # a bug: what is left has no choice in it


def _take_out(tables: dict[str, Any], places: dict[str, str]) -> list[str]:
    known: list[tuple[Path, Any]] = []
    for path, value in leaves(tables):
        known.append((path, value))
        known += [((*path, at), inner) for at, inner in enumerate(value)] if isinstance(value, list) else []
    out = []
    for path, value in reversed(known):  # from the back, so that numbers of list elements stay right
        place = next((place for place in places if place == text(path) or _inside(place, path)), None)
        if place is None:
            continue
        del lookup(tables, path[:-1])[path[-1]]
        message = places.pop(place)
        shown = "" if "env" in path or repr(value) in message else f" = {value!r}"
        out.append(f"{text(path)}{shown}: {message}")
    return out[::-1]


def _inside(place: str, path: Path) -> bool:
    """Whether a fault lies inside a list element that is a table (``copy[0].source``)."""
    return isinstance(path[-1], int) and place.startswith(text(path) + ".")


def written(tables: dict[str, Any], title: str, comments: list[str]) -> str:
    """The file's text: a title, the tables in their order, then what had no place, as comments."""
    rows = [f"# {' '.join(_printable(title))}"]
    _table(rows, (), {key: value for key, value in tables.items() if value})
    if comments:
        rows += ["", "# Found, but without a place above:"]
        rows += [f"#   {row}" for comment in comments for row in _printable(comment)]
    return "\n".join(rows) + "\n"


def _printable(comment: str) -> list[str]:
    """A comment's lines; TOML forbids control characters in them."""
    rows = ["".join(char if char.isprintable() else " " for char in row) for row in comment.splitlines()]
    return [row.rstrip() for row in rows if row.strip()]


def _table(rows: list[str], path: tuple[str, ...], table: dict[str, Any]) -> None:
    plain = {key: value for key, value in table.items() if not _own_header(path, key, value)}
    if path and (plain or not table):
        rows += ["", f"[{'.'.join(map(toml.key, path))}]"]
    rows += [f"{toml.key(key)} = {toml.value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if key not in plain:
            _table(rows, (*path, key), value)


def _own_header(path: tuple[str, ...], key: str, value: object) -> bool:
    """Whether a value gets a ``[header]``: the tables of images, and long ones; the rest is written inline."""
    if not isinstance(value, dict):
        return False
    return len(path) < 2 or key == "tests" or (key in {"env", "labels"} and len(toml.value(value)) > toml.WIDTH)
