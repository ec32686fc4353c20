"""System layers: the same bytes whatever the chunks and the threads, readable by gzip."""

import gzip
import hashlib
import io
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.oci.digest import sha256
from wardian.oci.gzip import PIECE, member, write_layer


def layer(chunks: list[bytes], threads: int = 2) -> bytes:
    out = io.BytesIO()
    told = write_layer(out, chunks, threads=threads)
    whole = out.getvalue()
    assert (told.digest, told.size) == (sha256(whole), len(whole))
    assert (told.diff_id, told.unpacked_size) == (sha256(b"".join(chunks)), sum(map(len, chunks)))
    return whole


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_python_reads_it(chunks: list[bytes]) -> None:
    whole = layer(chunks)
    assert (gzip.decompress(whole) if whole else b"") == b"".join(chunks)


def test_neither_chunks_nor_threads_change_the_bytes() -> None:
    data = random.Random(7).randbytes(1000) * 4000
    cuts = [data[at : at + 70_000] for at in range(0, len(data), 70_000)]
    assert layer([data], 1) == layer(cuts, 1) == layer(cuts, 4)
    assert gzip.decompress(layer(cuts)) == data


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_pieces_of_every_size(size: int) -> None:
    data = bytes(size)
    whole = layer([data])
    assert gzip.decompress(whole) == data if size else whole == b""


def test_the_reference_zlib_writes_the_known_bytes() -> None:
    """Digests of system layers hold for one zlib: another one (zlib-ng, say) makes equal images with other digests."""
    data = b"".join(hashlib.sha256(bytes([at])).digest() + b"the same words again " * 20 for at in range(256))
    assert sha256(member(data)) == KNOWN or zlib.ZLIB_RUNTIME_VERSION not in REFERENCE, (
        f"zlib {zlib.ZLIB_RUNTIME_VERSION} compresses in another way than zlib 1.2.11 to 1.3.1 do"
    )


REFERENCE = ("1.2.11", "1.2.12", "1.2.13", "1.3", "1.3.1")
KNOWN = "sha256:19876aad866468fe544e71029fb4f126924effef61c1660e1d0aeaf7bae87976"
