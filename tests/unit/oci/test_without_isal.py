"""ISA-L is there for speed alone: without it everything is read, written and refused in the same way."""

import gzip
import io
import sys
from collections.abc import Iterator

import pytest

from tests.wheels import as_file, raw_members, raw_zip, wheel, wheel_files
from wardian.errors import WardianError, WheelRefused
from wardian.oci import inflater
from wardian.oci.compression import chunks
from wardian.oci.layer import LayerBlob
from wardian.oci.splice import write_wheels


def layer(content: bytes) -> tuple[LayerBlob, bytes]:
    out = io.BytesIO()
    return write_wheels(out, [as_file(content)], prefix="/opt/env", python="3.11"), out.getvalue()


@pytest.fixture
def zlib_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that has no wheel of isal."""
    caches = (inflater._fastest, inflater.damage)
    for cache in caches:
        cache.cache_clear()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "isal", None)
        yield
    for cache in caches:
        cache.cache_clear()


CONTENT = wheel(files={f"thing/{at}.py": bytes(range(256)) * at for at in (0, 1, 100, 5000)})
WITH = layer(CONTENT)


@pytest.mark.usefixtures("zlib_alone")
def test_a_layer_has_the_same_bytes() -> None:
    assert inflater._fastest().__name__ == "zlib"
    assert layer(CONTENT) == WITH


@pytest.mark.usefixtures("zlib_alone")
def test_layers_of_many_members_are_read() -> None:
    data = WITH[1] + gzip.compress(b"more")
    assert b"".join(chunks(io.BytesIO(data), "x")) == gzip.decompress(data)


@pytest.mark.usefixtures("zlib_alone")
def test_damage_is_named() -> None:
    for cut in (1, 10, len(WITH[1]) // 2, len(WITH[1]) - 1):
        with pytest.raises(WardianError, match="x is damaged"):
            list(chunks(io.BytesIO(WITH[1][:cut] if cut > 1 else WITH[1][:300] + b"rubbish"), "x"))
    members = raw_members(wheel_files("thing", "1.0", {"thing/a.py": b"a" * 1000}))
    members[2].body = b"\x07" * 9
    with pytest.raises(WheelRefused, match=r"a\.py' is damaged"):
        layer(raw_zip(members))
