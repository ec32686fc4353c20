"""Our own deflate encoder: whatever it writes, everybody else reads back as it was."""

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.oci import deflate, tar


def inflate(stream: bytes) -> bytes:
    reader = zlib.decompressobj(-15)
    content = reader.decompress(stream) + reader.flush()
    assert reader.eof
    assert reader.unused_data == b""
    return content


@given(st.binary(max_size=2000))
def test_fixed_codes_keep_any_bytes(data: bytes) -> None:
    assert inflate(deflate.fixed(data)) == data


@given(
    st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 900).map(bytes), st.integers(0, 60).map(b"0".__mul__)))
)
def test_fixed_codes_keep_runs_between_bytes(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert inflate(deflate.fixed(data)) == data


@pytest.mark.parametrize("byte", [b"\0", b"0"])
def test_every_length_of_a_run_is_kept(byte: bytes) -> None:
    for count in range(1100):
        assert inflate(deflate.fixed(byte * count)) == byte * count


@given(st.binary(max_size=200))
def test_stored_blocks_keep_any_bytes(data: bytes) -> None:
    assert inflate(deflate.stored(data)) == data


@pytest.mark.parametrize("size", [0, 1, 65534, 65535, 65536, 131070, 131071, 400000])
def test_stored_blocks_are_cut_where_deflate_needs_it(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert inflate(deflate.stored(data)) == data
    assert len(deflate.stored(data)) <= size + 5 * (size // 65535 + 1)


def test_pieces_of_stored_blocks_join_to_one_stream() -> None:
    pieces = [b"a" * 70000, b"b", b"c" * 10]
    stream = b"".join(deflate.stored(piece, final=at == 2) for at, piece in enumerate(pieces))
    assert inflate(stream) == b"".join(pieces)


@given(st.binary(max_size=3000))
def test_a_member_is_a_whole_gzip_file(data: bytes) -> None:
    assert gzip.decompress(deflate.member(data)) == data


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_members_one_after_the_other_are_one_gzip_file(pieces: list[bytes]) -> None:
    assert gzip.decompress(b"".join(map(deflate.member, pieces))) == b"".join(pieces)


def test_the_empty_stream_is_known() -> None:
    assert inflate(deflate.EMPTY) == b""
    assert inflate(deflate.encode(b"")) == b""


def test_random_bytes_grow_by_a_few_bytes_only() -> None:
    data = random.Random(1).randbytes(5000)
    assert len(deflate.encode(data)) == 5005


def test_a_tar_header_becomes_small() -> None:
    header = tar.header(tar.Entry("opt/env/lib/python3.11/site-packages/torch/nn/functional.py", size=250_000))
    assert len(deflate.fixed(header)) < 130


def test_known_answers_stay_the_same_for_ever() -> None:
    """A layer's digest depends on these bytes: a change here is a new layer format, and needs a new key version."""
    assert deflate.fixed(b"").hex() == "0300"
    assert deflate.fixed(b"hello").hex() == "cb48cdc9c90700"
    assert deflate.fixed(bytes(512)).hex() == "631805231a0000"
    assert deflate.fixed(b"\xe9t\xe9 0000000").hex() == "7b59f252c1000200"
    assert deflate.member(b"a").hex() == "1f8b08000000000000ff4b040043beb7e801000000"
