"""The tensors of one saved object: which global tensor each is a part of, which part, and where its bytes lie.

Sources: torch/_utils.py (``_rebuild_tensor_v2``: storage, offset, size, stride), torch/distributed/tensor/_api.py and
torch/distributed/device_mesh.py (what DTensor and DeviceMesh pickle). Module paths change with torch's version, so
names are compared without theirs.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from wardian.checkpoints.archive import Archive, Record
from wardian.checkpoints.pickled import Call, Kept, Name, Refused, undamaged

# torch's name → (safetensors' name, bytes)
DTYPES: Mapping[str, tuple[str, int]] = {
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "int64": ("I64", 8),
    "int32": ("I32", 4),
    "int16": ("I16", 2),
    "int8": ("I8", 1),
    "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1),
}
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_MOST_DIMENSIONS = 16


@dataclass(frozen=True, slots=True)
class Placement:
    """How a tensor lies over its mesh: the mesh's shape and names, ``shard`` the dimension that is cut along its last.

    ``shard`` None: each rank has all of it. ``at``: this rank's place along the last dimension. ``replica``: along the
    others; only replica 0 is needed.
    """

    mesh: tuple[int, ...]
    names: tuple[str, ...]
    shard: int | None
    at: int
    replica: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A contiguous part of a tensor: ``local`` elements from byte ``start`` of ``record`` on, of a ``shape`` in all."""

    dtype: str  # torch's name
    shape: tuple[int, ...]
    local: tuple[int, ...]
    record: Record
    start: int  # bytes into the record
    placement: Placement | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return DTYPES[self.dtype][1]


def tensors(archive: Archive, path: Path, rank: int) -> dict[str, Tensor]:
    """Every tensor of a rank's state dict by its name. Raises ``Refused`` for no state dict, or another rank's."""
    state = archive.value
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
    if not isinstance(state, Mapping):
        raise Refused(f"{path}: it holds no state dict")
    found = {}
    meshes: _Meshes = {}
    for key, value in state.items():
        with undamaged(f"{path}: {key}"):
            one = _Reader(archive, f"{path}: {key}", rank, meshes).tensor(value) if isinstance(key, str) else None
        if one is not None:
            found[key] = one
    if not found:
        raise Refused(f"{path}: its state dict holds no tensor")
    return found


def chunk(archive: Archive, path: Path) -> Tensor:
    """The one tensor of an object that is a tensor, as a distributed checkpoint has for each chunk."""
    with undamaged(str(path)):
        one = _Reader(archive, str(path), 0, {}).tensor(archive.value)
    if one is None:
        raise Refused(f"{path}: one of its chunks is no tensor")
    return one


# Shapes and ranks of one file's meshes, by their objects: most tensors have the same.
_Meshes = dict[int, tuple[tuple[int, ...], list[int]]]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one value of a state dict."""

    archive: Archive
    where: str
    rank: int
    meshes: _Meshes

    def refused(self, what: str) -> Refused:
        return Refused(f"{self.where}: {what}")

    def tensor(self, value: Any) -> Tensor | None:
        """The tensor that a call would make; None for what is none."""
        if not isinstance(value, Call):
            return None
        if value.name.last == "_rebuild_parameter":
            return self.tensor(value.args[0])
        if value.name.last == "_rebuild_tensor_v2":
            return self.plain(value.args)
        if value.name.last != "_rebuild_from_type_v2":
            return None
        function, kind, args, state = value.args
        if not (isinstance(function, Name) and isinstance(kind, Name)):
            raise self.refused("its type is no name")
        if function.last == "_rebuild_tensor_v2":  # a plain tensor with attributes
            return self.plain(args)
        if function.last == "_rebuild_wrapper_subclass" and kind.last == "DTensor":
            return self.distributed(state)
        raise self.refused(f"a {kind.full} is no tensor that FSDP saves")

    def plain(self, args: tuple[Any, ...]) -> Tensor:
        """A tensor that one rank has whole."""
        storage, offset, size, stride = args[:4]
        if not (isinstance(storage, Kept) and len(storage.words) >= 5 and storage.words[0] == "storage"):
            raise self.refused("its storage is none")
        kind, key = storage.words[1], storage.words[2]
        dtype = _STORAGES.get(kind.last) if isinstance(kind, Name) else None
        record = self.archive.storages.get(key) if isinstance(key, str) else None
        if dtype is None or dtype not in DTYPES:
            raise self.refused(f"numbers of {kind.full if isinstance(kind, Name) else kind!r} are not supported")
        if record is None:
            raise self.refused(f"its storage {key} is not in the file")
        shape = sizes(size)
        itemsize = DTYPES[dtype][1]
        strides = sizes(stride)
        if not isinstance(offset, int) or offset < 0 or len(strides) != len(shape):
            raise self.refused("its offset or strides are damaged")
        if prod(shape) and not _contiguous(shape, strides):
            raise self.refused("it is not contiguous, which FSDP's shards are")
        if (offset + prod(shape)) * itemsize > record.size:
            raise self.refused("it reaches beyond its storage")
        return Tensor(dtype, shape, shape, record, offset * itemsize)

    def distributed(self, state: Any) -> Tensor:
        """A DTensor: its local tensor, and where that belongs."""
        given = state[1] if isinstance(state, tuple) and len(state) == 2 else state
        if not isinstance(given, Mapping):
            raise self.refused("its DTensor has no state")
        local = self.tensor(given.get("_local_tensor"))
        spec = given.get("_spec")
        if local is None or not isinstance(spec, Call) or not isinstance(spec.state, Mapping):
            raise self.refused("its DTensor has no local tensor, or no specification")
        meta = spec.state.get("tensor_meta")
        if not isinstance(meta, Call) or not meta.args:
            raise self.refused("its DTensor does not tell its shape")
        shape = sizes(meta.args[0])
        placement = self.placement(spec.state.get("mesh"), spec.state.get("placements"))
        self.fits(shape, local.local, placement)
        return Tensor(local.dtype, shape, local.local, local.record, local.start, placement)

    def placement(self, mesh: Any, placements: Any) -> Placement:
        """Read a mesh and what lies how over it, and compare this rank's place with the file's name."""
        if not isinstance(mesh, Call) or not isinstance(mesh.state, Mapping) or not isinstance(placements, tuple):
            raise self.refused("its device mesh is damaged")
        if (found := self.meshes.get(id(mesh))) is None:
            found = self.meshes[id(mesh)] = self.mesh(mesh.state)
        shape, ranks = found
        names = mesh.state.get("_mesh_dim_names") or mesh.state.get("mesh_dim_names") or ()
        kinds = [one.name.last if isinstance(one, Call) else "?" for one in placements]
        last = placements[-1]
        if kinds[-1:] == ["Shard"] and all(kind == "Replicate" for kind in kinds[:-1]):
            dimension = last.state.get("dim") if isinstance(last.state, Mapping) else None
            if not isinstance(dimension, int):
                raise self.refused("its Shard does not tell the dimension")
            shard: int | None = dimension
        elif all(kind == "Replicate" for kind in kinds):
            shard = None
        else:
            hint = "only FSDP and HSDP are merged here: Shard along the last dimension of the mesh, Replicate before it"
            raise Refused(f"{self.where}: its placement is ({', '.join(kinds)})", hint=hint)
        if len(kinds) != len(shape) or self.rank not in ranks:
            raise self.refused(f"its mesh of {len(ranks)} ranks has no place for rank {self.rank}")
        place = ranks.index(self.rank)
        self.same_place(mesh.state, place, shape)
        return Placement(shape, tuple(map(str, names)), shard, place % shape[-1], place // shape[-1])

    def mesh(self, state: Mapping[str, Any]) -> tuple[tuple[int, ...], list[int]]:
        """The shape of a mesh, and the ranks on it, row by row. Its tensor of ranks is a storage like any other."""
        saved = state.get("mesh", state.get("_rank_map"))
        listed = self.tensor(saved)
        if listed is None or listed.dtype not in ("int32", "int64") or prod(listed.shape) > 1 << 20:
            raise self.refused("its device mesh has no ranks")
        form = f"<{prod(listed.shape)}{'i' if listed.dtype == 'int32' else 'q'}"
        with listed.record.path.open("rb") as file:
            file.seek(listed.record.start + listed.start)
            ranks = list(struct.unpack(form, file.read(struct.calcsize(form))))
        shape = listed.shape
        layout = state.get("_layout")
        if "mesh" not in state and isinstance(layout, Call):
            shape = self.layout(layout)
        if prod(shape) != len(ranks):
            raise self.refused("the shape of its device mesh is damaged")
        return shape, ranks

    def layout(self, layout: Call) -> tuple[int, ...]:
        """The shape of torch's ``_MeshLayout``: one flat layout for each dimension (2.13), or shape and strides."""
        state = layout.state if isinstance(layout.state, Mapping) else {}
        if "axes" in state:
            axes = [one.state for one in state["axes"] if isinstance(one, Call) and isinstance(one.state, Mapping)]
            return tuple(prod(sizes(_tuple(one["shape"]))) for one in axes)
        return sizes(_tuple(state.get("shape", layout.args[0] if layout.args else None)))

    def same_place(self, state: Mapping[str, Any], place: int, shape: tuple[int, ...]) -> None:
        """Refuse a file that is another rank's under this one's name."""
        said = state.get("_rank")
        wrong = isinstance(said, int) and said != self.rank
        on = state.get("_coordinate_on_dim")
        if isinstance(on, (list, tuple)) and len(on) == len(shape):
            here = []
            for size in reversed(shape):
                place, at = divmod(place, size)
                here.append(at)
            wrong = wrong or tuple(on) != tuple(reversed(here))
        if wrong:
            who = f"rank {said}" if isinstance(said, int) else f"the rank at {on}"
            raise self.refused(f"it was saved by {who}, not {self.rank}")

    def fits(self, shape: tuple[int, ...], local: tuple[int, ...], placement: Placement) -> None:
        """Refuse a shard that is not as large as torch cuts it: pieces of ceil(n / ranks), the last ones shorter."""
        expected = list(shape)
        if placement.shard is not None:
            if not 0 <= placement.shard < len(shape):
                raise self.refused(f"it is cut along dimension {placement.shard} of {len(shape)}")
            _, size = cut(shape[placement.shard], placement.mesh[-1], placement.at)
            expected[placement.shard] = size
        if tuple(expected) != local and prod(local) + prod(expected):
            raise self.refused(f"its shard is {list(local)}, not {expected} of {list(shape)}")


def sizes(value: Any) -> tuple[int, ...]:
    """A shape: ``torch.Size`` or a tuple. Raises ``ValueError`` for what is none."""
    if isinstance(value, Call) and value.name.last == "Size":
        (value,) = value.args
    if (
        not isinstance(value, (tuple, list))
        or len(value) > _MOST_DIMENSIONS
        or not all(isinstance(one, int) and 0 <= one < 1 << 62 for one in value)
    ):
        raise ValueError("a shape is none")
    return tuple(int(one) for one in value)


def cut(size: int, ranks: int, at: int) -> tuple[int, int]:
    """Where the piece of one rank begins, and how long it is. Source: torch.chunk."""
    each = -(-size // ranks)
    first = min(size, each * at)
    return first, min(size, first + each) - first


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _tuple(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value
