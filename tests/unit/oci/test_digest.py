"""Digests and what computes them on the way."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.oci.digest import Hasher, Tee, hexadecimal, is_digest, sha256


@given(st.lists(st.binary(max_size=50)))
def test_a_hasher_knows_the_digest_of_all_pieces(pieces: list[bytes]) -> None:
    hasher, whole = Hasher(), b"".join(pieces)
    for piece in pieces:
        assert hasher.write(piece) == len(piece)
    assert hasher.digest == sha256(whole) == f"sha256:{hashlib.sha256(whole).hexdigest()}"
    assert hasher.size == len(whole)


def test_a_tee_passes_on_what_it_hashes() -> None:
    inner = Hasher()
    tee = Tee(inner)
    tee.write(b"ab")
    tee.write(b"c")
    assert inner.digest == tee.digest == sha256(b"abc")


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha512:" + "0" * 128, "sha256:" + "A" * 64, "../x"]
)
def test_anything_else_is_no_digest(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(WardianError, match="not a sha256 digest"):
        hexadecimal(text)


def test_a_digest_becomes_a_file_name() -> None:
    assert hexadecimal("sha256:" + "ab" * 32) == "ab" * 32
    assert not is_digest("sha256:" + "0" * 64 + "\n")
