"""A pickle read as data. Nothing in it is called or imported: a name becomes a ``Name``, a call becomes a ``Call``.

The opcodes are those that torch and ``pickle`` itself write, protocols 2 to 5; every other one is refused. So are names
outside ``KNOWN``, which is where a hostile checkpoint shows itself (``posix.system``).

Sources: https://docs.python.org/3/library/pickletools.html, Lib/pickletools.py (the opcodes and their arguments).
"""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from wardian.errors import SpecError

LARGEST = 64 << 20  # bytes of a pickle: a model with 100,000 tensors has a tenth of it
_MOST = 64  # bytes of an integer
MEMBER = "builtins.getattr"  # with which Python 3.11.0 to 3.11.3, Debian 12's, saves the member of an enumeration
KNOWN = re.compile(
    r"collections\.OrderedDict"
    r"|torch\.(Size|device|Tensor|layout|(Untyped|[A-Z][A-Za-z0-9]*)Storage)"
    r"|torch\.(bool|u?int\d+|float\d+|bfloat16|float8_\w+|complex\d+|half|double|long|short|int|float|contiguous_format)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|wrapper_subclass)"
    r"|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter"
    r"|torch\.serialization\._get_layout|torch\.storage\.\w*Storage"
    # every version of torch has these under another module
    r"|torch\.distributed\.(_?tensor|_?device_mesh|_mesh_layout|checkpoint)(\.\w+)*\.[A-Za-z_]\w*"
    r"|pathlib(\._local)?\.(Posix|Windows|Pure\w*)?Path"
    rf"|{re.escape(MEMBER)}"
)


class Refused(SpecError):
    """A checkpoint that is not what it should be. Exit code 2; nothing was written."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or a function that a pickle names, as ``module.name``."""

    full: str

    @property
    def last(self) -> str:
        """The name without its module, which changes with torch's version."""
        return self.full.rpartition(".")[2]


@dataclass(eq=False, slots=True)
class Call:
    """What unpickling would have called, with its arguments and the state it would have set. Equal to itself only."""

    name: Name
    args: tuple[Any, ...]
    state: Any = None
    pairs: dict[Any, Any] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Kept:
    """A persistent id: in torch's files a storage, ``("storage", type, key, device, elements)``."""

    words: tuple[Any, ...]


def parsed(data: bytes, where: str) -> Any:
    """The one value that a pickle holds. Raises ``Refused`` about ``where`` for anything that is not plain data."""
    if len(data) > LARGEST:
        raise Refused(f"{where}: its pickle has {len(data)} bytes, more than {LARGEST}")
    with undamaged(where):
        try:
            return _Machine(data).run()
        except Refused as error:
            raise Refused(f"{where}: {error.message}") from None


@contextmanager
def undamaged(where: str) -> Iterator[None]:
    """Raise ``Refused`` where the values of a pickle are not of the kinds, or not as many, as the block takes them."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, struct.error) as error:
        raise Refused(f"{where}: its pickle is damaged ({type(error).__name__}: {error})") from error


_MARK = object()
_SHORT, _INT, _UNSIGNED, _LONG = (struct.Struct(form) for form in ("<H", "<i", "<I", "<Q"))


class _Machine:
    """The stack machine of pickle, with values for calls."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        data = self.data
        while True:
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                (value,) = self.stack
                return value
            step = _STEPS.get(code)
            if step is None:
                raise Refused(f"opcode {bytes([code])!r} is none that a checkpoint has")
            step(self)

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise Refused("its pickle ends early")
        self.at += count
        return piece

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def number(self, form: struct.Struct) -> int:
        (value,) = form.unpack_from(self.data, self.at)
        self.at += form.size
        return int(value)

    def line(self) -> str:
        end = self.data.index(b"\n", self.at)
        text = self.data[self.at : end].decode()
        self.at = end + 1
        return text

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise Refused("its pickle has no mark")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Refused("its pickle has a mark out of place")
        return value

    def remember(self, at: int) -> None:
        if at > len(self.data):
            raise Refused(f"memo index {at} in a pickle of {len(self.data)} bytes")
        self.memo[at] = self.stack[-1]

    def name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}"
        if not (isinstance(module, str) and isinstance(name, str) and KNOWN.fullmatch(full)):
            raise Refused(f"it names {full[:80]}, which no tensor needs: it could run code")
        self.stack.append(Name(full))

    def call(self) -> None:
        args, name = self.pop(), self.pop()
        if not (isinstance(name, Name) and isinstance(args, tuple)):
            raise Refused("it calls what is no name")
        if name.full == MEMBER and [type(one) for one in args] != [Name, str]:
            raise Refused(f"it calls {MEMBER} for what is no member of an enumeration")
        self.stack.append({} if name.last == "OrderedDict" and not args else Call(name, args))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Call):
            target.state = state
        elif not isinstance(target, dict):  # an OrderedDict's own attributes (``_metadata``) are no tensors
            raise Refused("it sets attributes of what has none")

    def put(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        into = target.pairs if isinstance(target, Call) else target
        if not isinstance(into, dict) or len(pairs) % 2:
            raise Refused("it sets items of what is no mapping")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, (str, int, float, bytes, type(None), Call)) and not _flat(key):
                raise Refused("a key is no plain value")
            into[key] = value

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        into = target.values if isinstance(target, Call) else target
        if isinstance(into, set):
            into.update(one for one in values if isinstance(one, (str, int, bytes)))
        elif isinstance(into, list):
            into.extend(values)
        else:
            raise Refused("it appends to what is no list")

    def integer(self, size: int) -> None:
        if size > _MOST:
            raise Refused(f"an integer of {size} bytes")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def persistent(self) -> None:
        words = self.pop()
        if not isinstance(words, tuple):
            raise Refused("a storage's name is no tuple")
        self.stack.append(Kept(words))

    def stacked_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(module, name)

    STEPS: ClassVar[dict[bytes, Callable[["_Machine"], object]]] = {
        b"\x80": lambda self: self.take(1),  # PROTO
        b"\x95": lambda self: self.take(8),  # FRAME
        b"(": lambda self: self.stack.append(_MARK),
        b"0": lambda self: self.pop(),
        b"1": lambda self: self.since_mark(),
        b"2": lambda self: self.stack.append(self.stack[-1]),
        b"N": lambda self: self.stack.append(None),
        b"\x88": lambda self: self.stack.append(True),  # NEWTRUE
        b"\x89": lambda self: self.stack.append(False),
        b"K": lambda self: self.stack.append(self.byte()),
        b"M": lambda self: self.stack.append(self.number(_SHORT)),
        b"J": lambda self: self.stack.append(self.number(_INT)),
        b"\x8a": lambda self: self.integer(self.byte()),
        b"\x8b": lambda self: self.integer(self.number(_INT)),
        b"G": lambda self: self.stack.append(struct.unpack(">d", self.take(8))[0]),
        b"X": lambda self: self.stack.append(self.take(self.number(_UNSIGNED)).decode("utf-8", "surrogatepass")),
        b"\x8c": lambda self: self.stack.append(self.take(self.byte()).decode("utf-8", "surrogatepass")),
        b"\x8d": lambda self: self.stack.append(self.take(self.number(_LONG)).decode("utf-8", "surrogatepass")),
        b"B": lambda self: self.stack.append(self.take(self.number(_UNSIGNED))),
        b"C": lambda self: self.stack.append(self.take(self.byte())),
        b"U": lambda self: self.stack.append(self.take(self.byte())),
        b")": lambda self: self.stack.append(()),
        b"]": lambda self: self.stack.append([]),
        b"}": lambda self: self.stack.append({}),
        b"\x8f": lambda self: self.stack.append(set()),
        b"\x91": lambda self: self.stack.append(tuple(self.since_mark())),  # FROZENSET
        b"t": lambda self: self.stack.append(tuple(self.since_mark())),
        b"\x85": lambda self: self.tuple_of(1),
        b"\x86": lambda self: self.tuple_of(2),
        b"\x87": lambda self: self.tuple_of(3),
        b"l": lambda self: self.stack.append(self.since_mark()),
        b"a": lambda self: self.extend([self.pop()]),
        b"e": lambda self: self.extend(self.since_mark()),
        b"\x90": lambda self: self.extend(self.since_mark()),
        b"s": lambda self: self.put([*reversed([self.pop(), self.pop()])]),
        b"u": lambda self: self.put(self.since_mark()),
        b"c": lambda self: self.name(self.line(), self.line()),
        b"\x93": lambda self: self.stacked_name(),
        b"R": lambda self: self.call(),
        b"\x81": lambda self: self.call(),  # NEWOBJ
        b"b": lambda self: self.build(),
        b"Q": lambda self: self.persistent(),
        b"q": lambda self: self.remember(self.byte()),
        b"r": lambda self: self.remember(self.number(_UNSIGNED)),
        b"\x94": lambda self: self.remember(len(self.memo)),
        b"h": lambda self: self.stack.append(self.memo[self.byte()]),
        b"j": lambda self: self.stack.append(self.memo[self.number(_UNSIGNED)]),
    }


_STEPS = {code[0]: step for code, step in _Machine.STEPS.items()}


def _flat(key: Any) -> bool:
    """Whether a key is a tuple of plain values: one that is deeper could take the stack of whoever hashes it."""
    return isinstance(key, tuple) and all(isinstance(one, (str, int, float, bytes, type(None))) for one in key)
