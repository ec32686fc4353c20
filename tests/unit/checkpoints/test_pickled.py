"""A pickle is data here: what is hostile, damaged or only large is refused by name, and nothing in it runs."""

import pickle
import pickletools
from collections import OrderedDict
from contextlib import suppress
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.checkpoints.pickled import LARGEST, Call, Refused, parsed

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@given(PLAIN, st.integers(3, 5))
def test_plain_data_is_itself(value: object, protocol: int) -> None:
    assert parsed(pickle.dumps(value, protocol), "x") == value


def test_an_ordered_dict_is_a_dict_and_a_call_is_none() -> None:
    data = OrderedDict(a=1, path=PurePosixPath("/a"))
    found = parsed(pickle.dumps(data, 2), "x")
    assert found["a"] == 1
    assert isinstance(found["path"], Call)
    assert (found["path"].name.full, found["path"].args) == ("pathlib.PurePosixPath", ("/", "a"))


STORAGE = b"ctorch\nFloatStorage\n"


def test_a_member_of_an_enumeration_as_debians_python_saves_it_is_a_value() -> None:
    """Python 3.11.2 reduces it to ``getattr(class, name)``; here nothing is asked for anything."""
    found = parsed(b"cbuiltins\ngetattr\n(" + STORAGE + b"X\5\0\0\0dtypetR.", "x")
    assert isinstance(found, Call)
    assert (found.args[0].full, found.args[1]) == ("torch.FloatStorage", "dtype")


@pytest.mark.parametrize(
    "args",
    [
        b"(tR",
        b"(X\1\0\0\0aX\1\0\0\0btR",
        b"(" + STORAGE + b"tR",
        b"(" + STORAGE + b"K\1tR",
        b"(" + STORAGE + STORAGE + b"tR",
    ],
)
def test_nothing_else_is_asked_for_an_attribute(args: bytes) -> None:
    with pytest.raises(Refused, match="for what is no member"):
        parsed(b"cbuiltins\ngetattr\n" + args + b".", "x")


def test_a_member_is_not_called() -> None:
    with pytest.raises(Refused, match="calls what is no name"):
        parsed(b"cbuiltins\ngetattr\n(" + STORAGE + b"X\1\0\0\0atR)R.", "x")


@pytest.mark.parametrize(
    "name",
    [
        *("posix system", "builtins eval", "os popen", "torch.hub load", "torch load"),
        *("numpy.core.multiarray scalar", "torch._utils _import_dotted_name", "collections namedtuple"),
        "torch.storage os.system",
    ],
)
def test_names_that_no_tensor_needs(name: str) -> None:
    module, function = name.split(" ")
    for data in (
        f"c{module}\n{function}\n(S'x'\ntR.".encode().replace(b"S'x'\n", b"X\1\0\0\0x"),
        b"\x80\4\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(function)])
        + function.encode()
        + b"\x93.",
    ):
        with pytest.raises(Refused, match=f"here: it names {module}.{function}, which no tensor needs"):
            parsed(data, "here")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged"),
        (b"\x80\2", "damaged"),
        (b"X\xff\xff\xff\x7fab", "ends early"),
        (b"N.N", None),
        (b"NN.", "damaged"),
        (b"(t.", None),
        (b"t.", "damaged"),
        (b"Nt.", "no mark"),
        (b"(0.", "mark out of place"),
        (b"h\7.", "damaged"),
        (b"Nr\xff\xff\xff\xff.", "memo index 4294967295"),
        (b"\x8b\xff\xff\xff\x7f.", "an integer of"),
        (b"\x8a\xff" + bytes(255) + b".", "an integer of 255 bytes"),
        (b"Ps\n.", "opcode b'P'"),
        (b"ios\nsystem\n.", "opcode b'i'"),
        (b"\x82\1.", "opcode b'\\\\x82'"),  # an extension code
        (b"NNR.", "calls what is no name"),
        (b"NNb.", "of what has none"),
        (b"NK\1K\2s.", "no mapping"),
        (b"}(K\1u.", "no mapping"),
        (b"NNa.", "no list"),
        (b"NQ.", "no tuple"),
        (b"}))))s.", "no mapping"),
        (b"}" + b"N\x85\x85\x85Ns.", "no plain value"),
    ],
)
def test_damaged_ones(data: bytes, said: str | None) -> None:
    if said is None:
        parsed(data, "x")
        return
    with pytest.raises(Refused, match=said):
        parsed(data, "x")


def test_depth_and_size_cost_nothing() -> None:
    deep = b")" + b"\x85" * 1_000_000 + b"."
    assert parsed(deep, "x")
    with pytest.raises(Refused, match="no plain value"):  # who hashed it would run out of stack
        parsed(b"})" + b"\x85" * 1_000_000 + b"Ns.", "x")
    with pytest.raises(Refused, match="more than"):
        parsed(bytes(LARGEST + 1), "x")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Refused):
        parsed(data, "x")


@given(PLAIN, st.data())
def test_a_changed_byte_never_ends_otherwise(value: object, data: st.DataObject) -> None:
    good = bytearray(pickle.dumps(value, 4))
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Refused):
        parsed(bytes(good), "x")


def test_no_opcode_runs_code() -> None:
    """The opcodes that are left out are those that no torch file has: extensions, old instances, text protocols."""
    from wardian.checkpoints.pickled import _STEPS

    left = {op.name for op in pickletools.opcodes if ord(op.code) not in _STEPS} - {"STOP"}
    assert {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "NEWOBJ_EX", "GET", "PUT"} <= left
