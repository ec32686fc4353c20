"""The zip directory: every lie that a zip file can tell is found before its bytes are used."""

import io
import struct
import zipfile
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wheels import Raw, raw_zip, zipped
from wardian.errors import WheelRefused
from wardian.oci.zip import Member, inflate, read_directory, read_member

FILES = {"a": b"first", "b/c": b"x" * 5000, "empty": b""}


def everything(content: bytes) -> dict[str, bytes]:
    file = io.BytesIO(content)
    return {found.name: read_member(file, found, "w", 1 << 20) for found in read_directory(file, "w")}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("zip64", [False, True])
def test_honest_files_are_read(method: int, zip64: bool) -> None:
    assert everything(zipped(FILES, method=method, zip64=zip64)) == FILES


@given(st.dictionaries(st.text("abcdef/é", min_size=1, max_size=8), st.binary(max_size=300), max_size=6))
def test_zipfile_and_we_agree(files: dict[str, bytes]) -> None:
    assert everything(zipped(files)) == files


def test_a_file_that_was_streamed_has_its_sizes_behind_it() -> None:
    class Pipe(io.RawIOBase):
        """A sink that cannot seek, so zipfile writes data descriptors."""

        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a", b"some content")
    assert everything(pipe.content) == {"a": b"some content"}


def test_a_zip64_end_record_is_read() -> None:
    plain = raw_zip([Raw(b"a", b"content")])
    size, start = struct.unpack_from("<2L", plain, len(plain) - 10)
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(plain) - 22, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert everything(plain[:-22] + end + locator + last) == {"a": b"content"}
    with pytest.raises(WheelRefused, match="zip64"):
        everything(plain[:-22] + last)
    with pytest.raises(WheelRefused, match="zip64"):
        everything(plain[:-22] + end[:4] + b"\xff" + end[5:] + locator + last)


def test_the_raw_stream_is_handed_over_as_it_is() -> None:
    data = zipped({"a": b"hello " * 1000, "s": b"x"})
    file = io.BytesIO(data)
    for found in read_directory(file, "w"):
        raw: list[bytes] = []
        content = b"".join(inflate(file, found, "w", raw.append))
        assert b"".join(raw) == data[found.data : found.data + found.compressed]
        assert zlib.decompress(b"".join(raw), -15) == content


@pytest.mark.parametrize("content", [b"", b"x", b"y" * 1_000_000])
def test_a_stored_member_becomes_a_deflate_stream(content: bytes) -> None:
    file = io.BytesIO(zipped({"a": content}, method=zipfile.ZIP_STORED))
    [found] = read_directory(file, "w")
    raw: list[bytes] = []
    assert b"".join(inflate(file, found, "w", raw.append)) == content
    assert zlib.decompress(b"".join(raw), -15) == content


def test_pieces_are_small_whatever_the_member_is() -> None:
    file = io.BytesIO(zipped({"zeros": bytes(64 << 20)}))
    [found] = read_directory(file, "w")
    assert max(map(len, inflate(file, found, "w"))) <= 1 << 20


HONEST = Raw(b"a", b"content" * 10)
LIES: list[tuple[str, Raw, str]] = [
    ("encrypted", replace(HONEST, flags=1), "encrypted"),
    ("strongly encrypted", replace(HONEST, flags=0x41), "encrypted"),
    ("bzip2", replace(HONEST, method=12), "method 12"),
    ("another name in front", replace(HONEST, local_name=b"b"), "says otherwise"),
    ("another method in front", replace(HONEST, local_method=0), "says otherwise"),
    ("another size in front", replace(HONEST, local_size=1), "other sizes"),
    ("longer than claimed", replace(HONEST, size=69, local_size=69), "longer than the 69 bytes"),
    ("shorter than claimed", replace(HONEST, size=71, local_size=71), "has 70 bytes and claims 71"),
    ("wrong CRC", replace(HONEST, crc=1), "CRC"),
    ("damaged stream", replace(HONEST, body=b"\xff" * 40), "damaged"),
    ("stream without end", replace(HONEST, body=zlib.compress(b"content" * 10, 6)[2:-10]), "damaged"),
    (
        "bytes after the stream",
        replace(HONEST, body=zlib.compress(b"content" * 10, 6)[2:-4] + b"junk"),
        "after the end",
    ),
    ("stored with two sizes", replace(HONEST, method=0, compressed=60), "not compressed"),
    ("more than deflate can do", replace(HONEST, size=1 << 30, local_size=1 << 30), "more than deflate can do"),
    ("outside the file", replace(HONEST, offset=1 << 20), "not where the directory says"),
    ("beside its header", replace(HONEST, offset=1), "not where the directory says"),
    ("over the directory", replace(HONEST, compressed=5000, size=5000, local_size=5000), "overlaps"),
    ("a name that is no UTF-8", replace(HONEST, name=b"\xff\xfe", flags=0x800), "not UTF-8"),
]


@pytest.mark.parametrize(("lie", "said"), [(lie, said) for _, lie, said in LIES], ids=[name for name, _, _ in LIES])
def test_lies_are_refused_by_name(lie: Raw, said: str) -> None:
    with pytest.raises(WheelRefused, match=said) as caught:
        everything(raw_zip([lie]))
    assert caught.value.wheel == "w"
    assert "w: " in caught.value.message or caught.value.member is None


def test_members_that_share_their_bytes_are_refused() -> None:
    """The overlap that makes a small zip hold terabytes. Source: David Fifield, "A better zip bomb", 2019."""
    kernel = Raw(b"a", b"x" * 100)
    with pytest.raises(WheelRefused, match="share their bytes"):
        everything(raw_zip([kernel, replace(kernel, offset=0)]))
    inner = raw_zip([Raw(b"b", b"y")])[:40]
    outer = Raw(b"a", inner, method=0)
    with pytest.raises(WheelRefused, match="overlaps"):
        everything(raw_zip([outer, Raw(b"b", b"y", offset=30 + 1)]))


GOOD = raw_zip([HONEST])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a zip file"),
        (b"PK\x05\x06", "not a zip file"),
        (b"hello" * 100, "not a zip file"),
        (GOOD[:-1], "not a zip file"),
        (GOOD[: len(GOOD) // 2], "not a zip file"),
        (GOOD + b"x", "bytes after its end"),
        (b"#!/bin/sh\n" + GOOD, "not where it claims"),
        (raw_zip([HONEST], after=b"sig"), "not where it claims"),
        (raw_zip([HONEST], count=2), "damaged directory"),
        (raw_zip([HONEST], count=0), "more in it than it counts"),
        (GOOD[:-18] + b"\1\0" + GOOD[-16:], "split"),
    ],
)
def test_damaged_files_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(WheelRefused, match=said):
        everything(content)


def test_a_comment_is_harmless() -> None:
    assert everything(raw_zip([HONEST], comment=b"made by hand")) == {"a": HONEST.content}


def test_a_comment_that_looks_like_an_end_is_refused() -> None:
    with pytest.raises(WheelRefused):
        everything(raw_zip([HONEST], comment=GOOD[-22:] + b"x"))


def test_large_members_are_not_read_whole() -> None:
    file = io.BytesIO(zipped({"a": b"x" * 100}))
    [found] = read_directory(file, "w")
    with pytest.raises(WheelRefused, match="larger than 99 bytes"):
        read_member(file, found, "w", 99)


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    with pytest.raises(WheelRefused, match="cut off"):
        list(inflate(io.BytesIO(b"abc"), Member("a", 0, 0, 10, 10, 0, 0, 0), "w"))


@given(st.data())
def test_a_flipped_byte_is_never_a_bug(data: st.DataObject) -> None:
    whole = bytearray(zipped(FILES))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        everything(bytes(whole))
    except WheelRefused:
        pass


@given(st.binary(max_size=200))
def test_rubbish_is_never_a_bug(data: bytes) -> None:
    for content in (data, data + GOOD[-22:], GOOD[:60] + data + GOOD[-22:]):
        try:
            everything(content)
        except WheelRefused:
            pass


def wide(extra: bytes, size: int = 5, *, offset: int = 0) -> bytes:
    """A zip of one stored file whose sizes stand in the field ``extra`` of its directory entry."""
    full, name, content = 0xFFFFFFFF, b"a", b"first"
    head = (zlib.crc32(content), len(content), size, len(name))
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 33, *head, 0) + name + content
    fields = (0x032D, 45, 0, 0, 0, 33, head[0], full, full, len(name), len(extra), 0, 0, 0, 0o100644 << 16, offset)
    directory = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields) + name + extra
    return local + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(local), 0)


def test_large_sizes_stand_in_a_field_that_others_may_precede() -> None:
    other, sizes = struct.pack("<2H3s", 0x5455, 3, b"xyz"), struct.pack("<2H2Q", 1, 16, 5, 5)
    for extra in (sizes, other + sizes, sizes + other):
        assert everything(wide(extra)) == {"a": b"first"}


@pytest.mark.parametrize("extra", [b"", struct.pack("<2HQ", 1, 8, 5), struct.pack("<2H", 1, 99), b"\x01", b"\1\0\0\0"])
def test_a_field_without_the_sizes_is_refused(extra: bytes) -> None:
    with pytest.raises(WheelRefused, match="damaged zip64 field"):
        everything(wide(extra))


def test_a_directory_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.oci.zip._MAX_DIRECTORY", 60)
    with pytest.raises(WheelRefused, match="has a directory of"):
        everything(zipped(FILES))
