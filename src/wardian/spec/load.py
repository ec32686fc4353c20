"""All sources → one validated ``Spec`` that remembers where each value came from, or every fault at once."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from wardian.errors import Fault, SpecError
from wardian.spec.check import check
from wardian.spec.explain import explain, salvage
from wardian.spec.interpolate import Unset, interpolate
from wardian.spec.models import Spec
from wardian.spec.paths import Path, leaves, text
from wardian.spec.sources import Said, Source, merge, read

__all__ = ["Loaded", "Source", "load"]


@dataclass(frozen=True)
class Loaded:
    """The validated project, the merged tables as they were written, and the source of each value in them."""

    spec: Spec
    origin: dict[str, str]  # "run.shm" → "wardian.toml"
    data: dict[str, Any]  # variables not filled in: what they hold may be a secret
    lines: dict[str, int] = field(default_factory=dict)  # "run.shm" → line in its source


def load(sources: Sequence[Source], variables: Mapping[str, str] | None = None) -> Loaded:
    """Merge sources, the weakest first, and validate; ``variables`` fill ``${NAME}``. Raises ``SpecError``."""
    if not any(source.kind == "file" for source in sources):
        raise SpecError("there is no wardian.toml here, nor in a folder above", hint="type: wardian init")
    merged = _Merged()
    for source in sources:
        merged.add(source)
    if merged.broken:
        raise SpecError(merged.faults)
    data, unset = _interpolated(merged.data, variables or {})
    spec, wrong = _validated(data, skip={fault.path for fault in unset})
    faults = merged.faults + [merged.placed(fault) for fault in (*unset, *wrong)]
    if faults or spec is None:
        raise SpecError(sorted(faults, key=lambda fault: (fault.source or "", fault.line or 0)))
    origin = {text(path): merged.names.get(path, source) for path, source in merged.origin.items()}
    lines = {text(path): line for path in merged.origin if (line := merged.line(path))}
    return Loaded(spec, origin, merged.data, lines)


class _Merged:
    """The sources so far: values, the source of each, and what was wrong with the sources themselves."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.origin: dict[Path, str] = {}
        self.names: dict[Path, str] = {}
        self.said: dict[str, Said] = {}
        self.faults: list[Fault] = []
        self.broken = False

    def add(self, source: Source) -> None:
        said = read(source, self.data)
        self.faults += said.faults
        self.broken |= said.broken
        self.said[source.name] = said
        merge(self.data, said.data)
        for path, _ in leaves(said.data):
            for other in [known for known in self.origin if _replaced(known, path)]:
                del self.origin[other]
                self.names.pop(other, None)
            self.origin[path] = source.name
            if path in said.names:
                self.names[path] = said.names[path]

    def line(self, path: Path) -> int | None:
        said = self.said.get(self.origin.get(path, ""))
        return said.lines.get(path) if said else None

    def placed(self, fault: Fault) -> Fault:
        """The fault with its source and line: of its own value, else of the table it is in, else of what is beneath."""
        path = next((p for p in self.every() if text(p) == fault.path), None)
        if path is None:
            return self._above(fault)
        names = [self.origin[path]] if path in self.origin else []
        names += [
            source for known, source in self.origin.items() if known[: len(path)] == path or path[: len(known)] == known
        ]
        for name in names:
            if line := self.said[name].lines.get(path):
                return replace(fault, source=name, line=line)
        return replace(fault, source=self.names.get(path, names[0]) if names else None)

    def _above(self, fault: Fault) -> Fault:
        """Place a fault about a key that is not there at the table that should hold it."""
        parents = [path for path in self.every() if path and fault.path.startswith(text(path) + ".")]
        if not parents:
            return fault
        placed = self.placed(replace(fault, path=text(max(parents, key=len))))
        return replace(placed, path=fault.path)

    def every(self) -> list[Path]:
        """Every path that some source knows: values, their tables, list elements."""
        known = {path[:end] for path in self.origin for end in range(1, len(path) + 1)}
        return [*known, *{path for said in self.said.values() for path in said.lines if path not in known}]


def _replaced(known: Path, by: Path) -> bool:
    """Whether a value at ``known`` is gone once there is one at ``by``."""
    short = min(len(known), len(by))
    return known[:short] == by[:short]


def _interpolated(data: dict[str, Any], variables: Mapping[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """A copy with variables filled in where a run is described; images are the same everywhere."""
    faults: list[Fault] = []

    def filled(value: Any, path: Path) -> Any:
        if isinstance(value, Mapping):
            return {key: filled(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner, (*path, at)) for at, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            return interpolate(value, variables)
        except Unset as error:
            faults.append(Fault(text(path), str(error)))
            return value

    copy = deepcopy(data)
    for table in ("run", "mounts", "services"):
        if table in copy:
            copy[table] = filled(copy[table], (table,))
    return copy, faults


def _validated(data: dict[str, Any], *, skip: set[str]) -> tuple[Spec | None, list[Fault]]:
    """The spec, and all that is wrong: types and keys first, then what only shows in the parts that are well formed."""
    try:
        spec = Spec.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = [fault for fault in explain(error, data) if fault.path not in skip]
        rest, doubtful = salvage(data)
        return rest, faults + (check(rest, doubtful) if rest else [])
    return spec, check(spec)
