"""Whatever a layer is compressed with, its content comes out, and damage is said."""

import gzip
import io
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.oci import compression, deflate

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "members": lambda data: b"".join(deflate.member(data[at : at + 700]) for at in range(0, len(data), 700)),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "frames": lambda data: b"".join(
        zstandard.ZstdCompressor().compress(data[at : at + 700]) for at in range(0, len(data), 700)
    ),
    "chunked": lambda data: b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + zstandard.ZstdCompressor().compress(data),
}


def content(data: bytes) -> bytes:
    return b"".join(compression.chunks(io.BytesIO(data), "layer x"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 699, 5000, 3_000_000])
def test_every_form_is_told_by_its_first_bytes(form: str, size: int) -> None:
    data = (b"tar " + bytes(range(256)) * (size // 256 + 1))[:size]
    if form in ("members", "frames") and size > 10_000:
        data = data[:100_000]
    assert content(FORMS[form](data)) == data


@pytest.mark.parametrize("form", ["gzip", "members", "zstd", "frames"])
def test_a_cut_is_an_error(form: str) -> None:
    whole = FORMS[form](bytes(range(256)) * 50)
    with pytest.raises(WardianError, match="layer x is damaged"):
        content(whole[:-7])


def test_nothing_is_nothing() -> None:
    assert content(b"") == b""


@given(st.binary(max_size=300), st.sampled_from([b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b""]))
def test_rubbish_is_never_a_bug(data: bytes, magic: bytes) -> None:
    try:
        content(magic + data)
    except WardianError:
        pass


@given(st.data())
def test_a_flipped_byte_is_never_a_bug(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["gzip", "members", "zstd"]))
    whole = bytearray(FORMS[form](b"some content " * 100))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        content(bytes(whole))
    except WardianError:
        pass
