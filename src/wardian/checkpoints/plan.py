"""From the shards of all ranks to whole tensors: which bytes of which file go where. Nothing is read or written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from wardian.checkpoints.archive import Record
from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.tensors import DTYPES, Tensor, cut

FLOATING = frozenset({"float64", "float32", "float16", "bfloat16"})


@dataclass
class Counts:
    """What was no finite number in what was read, and what became infinite by rounding."""

    nan: int = 0
    inf: int = 0
    overflow: int = 0

    def __iadd__(self, other: "Counts") -> "Counts":
        self.nan += other.nan
        self.inf += other.inf
        self.overflow += other.overflow
        return self


@dataclass(frozen=True, slots=True)
class Part:
    """``runs`` pieces of ``length`` elements that lie one after another in a file, and ``step`` apart in the tensor.

    ``start`` is a byte of the file, ``first`` and ``step`` count elements of the whole tensor.
    """

    record: Record
    start: int
    first: int
    length: int
    runs: int = 1
    step: int = 0


@dataclass(frozen=True, slots=True)
class Whole:
    """A tensor to be put together: parts that cover each of its elements once."""

    dtype: str  # torch's name, as in the shards
    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element in the shards."""
        return DTYPES[self.dtype][1]


@dataclass(frozen=True, slots=True)
class Same:
    """Copies of one tensor that have to hold the same bytes: a buffer that each rank has."""

    key: str
    copies: tuple[Part, ...]
    itemsize: int


def wholes(ranks: Mapping[int, Mapping[str, Tensor]]) -> tuple[dict[str, Whole], list[Same]]:
    """Put the tensors of the ranks together; what each rank has whole is taken once, and is to be compared.

    Raises ``Refused`` with the key where the ranks do not speak of the same tensor.
    """
    first = min(ranks)
    keys = list(ranks[first])
    for rank, found in ranks.items():
        if odd := set(keys).symmetric_difference(found):
            key = min(odd)
            has, lacks = (first, rank) if key in ranks[first] else (rank, first)
            raise Refused(f"{key} is in the file of rank {has} and not in that of rank {lacks}")
    made: dict[str, Whole] = {}
    same: list[Same] = []
    for key in keys:
        tensors = {rank: found[key] for rank, found in ranks.items()}
        made[key], copies = _whole(key, tensors)
        if len(copies) > 1:
            same.append(Same(key, copies, made[key].itemsize))
    return made, same


def needed(placed: Iterable[Tensor]) -> bool:
    """Whether a rank's file holds something that the merge needs: not where all of it is a replica's."""
    return any(one.placement is None or one.placement.replica == 0 for one in placed)


def _whole(key: str, tensors: Mapping[int, Tensor]) -> tuple[Whole, tuple[Part, ...]]:
    one = next(iter(tensors.values()))
    for rank, other in tensors.items():
        for what, ours, theirs in (
            ("dtype", one.dtype, other.dtype),
            ("shape", one.shape, other.shape),
            ("placement", _shared(one), _shared(other)),
        ):
            if ours != theirs:
                raise Refused(f"{key}: its {what} is {ours} in one rank and {theirs} in rank {rank}")
    if one.placement is None or one.placement.shard is None:
        copies = tuple(
            Part(each.record, each.record.start + each.start, 0, prod(each.shape)) for each in tensors.values()
        )
        return Whole(one.dtype, one.shape, copies[:1] if prod(one.shape) else ()), copies
    row = {each.placement.at: each for each in tensors.values() if each.placement and each.placement.replica == 0}
    if absent := sorted(set(range(one.placement.mesh[-1])) - set(row)):
        raise Refused(f"{key}: the shard at place {absent[0]} of {one.placement.mesh[-1]} is in no file")
    parts = tuple(part for at in sorted(row) for part in _part(row[at], one.placement.shard))
    whole = Whole(one.dtype, one.shape, parts)
    held = sum(part.length * part.runs for part in parts)
    if held != whole.count:
        raise Refused(f"{key}: its shards hold {held} of {whole.count} elements")
    return whole, ()


def _shared(tensor: Tensor) -> object:
    """What all ranks have to agree on."""
    placement = tensor.placement
    return placement and (placement.mesh, placement.names, placement.shard)


def _part(tensor: Tensor, dimension: int) -> Iterator[Part]:
    """The part of a shard: one run where it is cut along the first dimension, else one for each row above it."""
    if tensor.placement is None or not prod(tensor.local):
        return
    begin, size = cut(tensor.shape[dimension], tensor.placement.mesh[-1], tensor.placement.at)
    inner = prod(tensor.shape[dimension + 1 :])
    runs = prod(tensor.shape[:dimension])
    step = tensor.shape[dimension] * inner
    yield Part(tensor.record, tensor.record.start + tensor.start, begin * inner, size * inner, runs, step)


def sliced(whole: Whole, first: int, shape: tuple[int, ...]) -> Whole:
    """The elements of a tensor from ``first`` on, as a tensor of their own."""
    end = first + prod(shape)
    parts = []
    for part in whole.parts:
        for run in range(part.runs):
            begins = part.first + run * part.step
            low, high = max(first, begins), min(end, begins + part.length)
            if low < high:
                start = part.start + (run * part.length + low - begins) * whole.itemsize
                parts.append(replace(part, start=start, first=low - first, length=high - low, runs=1, step=0))
    return Whole(whole.dtype, shape, tuple(parts))


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor in an output file: its bytes from ``start`` of the data (after the header) on, as ``dtype``."""

    key: str
    whole: Whole
    dtype: str
    start: int

    @property
    def size(self) -> int:
        """Bytes in the output."""
        return self.whole.count * DTYPES[self.dtype][1]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One safetensors file."""

    name: str
    tensors: tuple[Placed, ...]

    @property
    def size(self) -> int:
        """Bytes of its data, without the header."""
        return sum(one.size for one in self.tensors)


def files(made: Mapping[str, Whole], dtype: str | None, largest: int, stem: str = "model") -> tuple[OutputFile, ...]:
    """Lay tensors into files of at most ``largest`` bytes: wide dtypes first, then by name, as safetensors does.

    ``dtype``: what floating tensors become; None: they stay. Integers and booleans always stay. Which tensor is in
    which file depends on nothing but names and sizes.
    """
    as_kept = [(key, whole, dtype if dtype and whole.dtype in FLOATING else whole.dtype) for key, whole in made.items()]
    groups: list[list[tuple[str, Whole, str]]] = [[]]
    total = 0
    for key, whole, kind in sorted(as_kept):
        size = whole.count * DTYPES[kind][1]
        if groups[-1] and total + size > largest:
            groups.append([])
            total = 0
        groups[-1].append((key, whole, kind))
        total += size
    names = [
        f"{stem}.safetensors" if len(groups) == 1 else f"{stem}-{at:05}-of-{len(groups):05}.safetensors"
        for at in range(1, len(groups) + 1)
    ]
    return tuple(OutputFile(name, tuple(_placed(group))) for name, group in zip(names, groups, strict=True))


def _placed(group: Sequence[tuple[str, Whole, str]]) -> Iterator[Placed]:
    start = 0
    for key, whole, kind in sorted(group, key=lambda one: (-_RANK[one[2]], one[0])):
        one = Placed(key, whole, kind, start)
        yield one
        start += one.size


# Source: safetensors' Dtype enum, whose order its writer sorts by (descending): alignment first.
_ORDER = (
    *("bool", "uint8", "int8", "float8_e5m2", "float8_e4m3fn", "int16", "float16", "bfloat16"),
    *("int32", "float32", "float64", "int64"),
)
_RANK = {name: at for at, name in enumerate(_ORDER)}
