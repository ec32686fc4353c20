"""A ``wardian.toml`` proposed from what a folder already has. Pure: file names and texts in, a text out."""

from collections.abc import Mapping
from dataclasses import dataclass

from wardian.spec.propose.compose import NAMES, add_compose
from wardian.spec.propose.conda import add_environment
from wardian.spec.propose.containerfile import add_dockerfile
from wardian.spec.propose.draft import Draft, sound, written
from wardian.spec.propose.python import add_pin, add_pyproject, add_requirements

__all__ = ["Proposal", "propose"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A file that loads without faults, the files it was made from, and what a person should know about it."""

    text: str
    read: tuple[str, ...]
    notes: tuple[str, ...]


def propose(found: Mapping[str, str], *, name: str) -> Proposal:
    """Propose a file for a folder; ``found`` are its files that describe an environment, ``name`` is the project's."""
    draft = Draft(name=name)
    for path, content in found.items():
        if path == ".python-version":
            add_pin(draft, content)
        elif path in {"environment.yml", "environment.yaml"}:
            add_environment(draft, path, content)
        elif path in NAMES:
            add_compose(draft, path, content)
        elif path == "Dockerfile":
            add_dockerfile(draft, content, set(found))
        elif path == "pyproject.toml":
            add_pyproject(draft, content)
    add_requirements(draft, [path for path in found if path.endswith(".txt")])
    tables = draft.tables()
    left = list(dict.fromkeys([*draft.left, *draft.doubts(), *sound(tables)]))
    notes = list(draft.notes)
    if left:
        notes.append(
            f"{len(left)} thing{'s' if len(left) > 1 else ''} had no place; see the comments at the file's end"
        )
    title = f"Proposed from {', '.join(found)}: read it once, then lock, build and test."
    return Proposal(written(tables, title, left), tuple(found), tuple(notes))
