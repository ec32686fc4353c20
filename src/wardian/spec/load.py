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
        order = [source.name for source in sources]
        raise SpecError(sorted(faults, key=lambda f: (order.index(f.source) if f.source in order else -1, f.line or 0)))
    origin = {text(path): merged.name(path) for path in merged.origin}
    lines = {text(path): line for path in merged.origin if (line := merged.line(path))}
    return Loaded(spec, origin, merged.data, lines)


class _Merged:
    """The sources so far: values, which source each is from (by number), what was wrong with the sources themselves."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.origin: dict[Path, int] = {}
        self.sources: list[tuple[str, Said]] = []
        self.faults: list[Fault] = []
        self.broken = False

    def add(self, source: Source) -> None:
        said = read(source, self.data)
        self.faults += said.faults
        self.broken |= said.broken
        self.sources.append((source.name, said))
        merge(self.data, said.data)
        earlier = list(self.origin)
        for path, value in leaves(said.data):
            gone = [known for known in earlier if _replaced(known, path)]
            if value == {} and any(len(known) > len(path) for known in gone):
                continue  # an empty table over a full one adds nothing
            for known in gone:
                self.origin.pop(known, None)
            self.origin[path] = len(self.sources) - 1

    def name(self, path: Path) -> str:
        """What to call the source of a value: a variable's own name says more than "environment"."""
        name, said = self.sources[self.origin[path]]
        return said.names.get(path, name)

    def line(self, path: Path) -> int | None:
        return self.sources[self.origin[path]][1].lines.get(path)

    def placed(self, fault: Fault) -> Fault:
        """The fault with its source and line: those of the value or table itself, else of the nearest table above."""
        known = {text(path): path for path in self._every()}
        place = fault.path
        while place and place not in known:
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return self._at(known[place], fault) if place else fault

    def _at(self, path: Path, fault: Fault) -> Fault:
        near = [known for known in self.origin if known[: len(path)] == path or path[: len(known)] == known]
        for known in near:
            name, said = self.sources[self.origin[known]]
            if line := said.lines.get(path):
                return replace(fault, source=name, line=line)
        return replace(fault, source=self.name(near[0])) if near else fault

    def _every(self) -> set[Path]:
        """Every path that some source knows: values, their tables, list elements."""
        known = {path[:end] for path in self.origin for end in range(1, len(path) + 1)}
        return known.union(*(said.lines for _, said in self.sources))


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
        unfilled = skip | {
            path.rpartition("[")[0] for path in skip if path.endswith("]")
        }  # a list with such an element
        faults = [fault for fault in explain(error, data) if fault.path not in unfilled]
        rest, doubtful = salvage(data)
        return rest, faults + (check(rest, doubtful) if rest else [])
    return spec, check(spec)
