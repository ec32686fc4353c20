"""Tar headers: what we write, Python's tarfile reads as meant, and so does our own reader."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.oci import tar
from wardian.oci.digest import sha256
from wardian.oci.tar import Entry
from wardian.oci.untar import Source, entries

name = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda text: text not in (".", "..") and not text.startswith("./")
)
path = st.lists(name, min_size=1, max_size=6).map("/".join)


def archive(*found: tuple[Entry, bytes]) -> bytes:
    return b"".join(tar.stream((entry, [content]) for entry, content in found))


def by_tarfile(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return opened.getmembers()


def by_us(data: bytes) -> list[tuple[Entry, bytes]]:
    return [(entry, b"".join(content)) for entry, content in entries(Source(iter([data]), "a tar"))]


@given(path, st.binary(max_size=2000), st.integers(0, 0o7777), st.integers(0, 1 << 40))
@settings(max_examples=200)
def test_files_come_back_from_tarfile(path: str, content: bytes, mode: int, mtime: int) -> None:
    data = archive((Entry(path, "file", mode, len(content), mtime=mtime), content))
    [found] = by_tarfile(data)
    assert (found.name, found.mode, found.size, found.mtime) == (path, mode, len(content), mtime)
    assert (found.uid, found.gid, found.uname, found.gname) == (0, 0, "", "")
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        file = opened.extractfile(found)
        assert file
        assert file.read() == content


@given(path, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_links_come_back_from_tarfile(path: str, target: str) -> None:
    [found] = by_tarfile(archive((Entry(path, "symlink", 0o777, link=target), b"")))
    assert found.issym()
    assert (found.name, found.linkname) == (path, target)


@given(
    path,
    st.sampled_from(["file", "dir", "symlink", "hardlink", "char", "block", "fifo"]),
    st.tuples(st.integers(0, 0o7777), st.integers(0, 1 << 31), st.integers(0, 1 << 31)),
    st.dictionaries(st.from_regex(r"user\.[a-z]{1,20}", fullmatch=True), st.binary(max_size=50), max_size=3),
)
def test_our_reader_reads_what_we_write(
    path: str, kind: str, numbers: tuple[int, int, int], xattrs: dict[str, bytes]
) -> None:
    mode, uid, gid = numbers
    device = (7, 300) if kind in ("char", "block") else (0, 0)
    link = "some/where" if kind in ("symlink", "hardlink") else ""
    size = 5 if kind == "file" else 0
    entry = Entry(path, kind, mode, size, link, 12345, uid, gid, device, tuple(sorted(xattrs.items())))
    assert by_us(archive((entry, b"12345"[:size]))) == [(entry, b"12345"[:size])]


def test_names_that_are_no_text_are_kept_as_bytes() -> None:
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert by_us(archive((Entry(odd), b"")))[0][0].path == odd
    assert by_tarfile(archive((Entry(odd), b"")))[0].name.encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize("length", [99, 100, 101, 155, 156, 200, 255, 256, 257, 400])
def test_long_names_of_every_length_are_read_back(length: int) -> None:
    folder = "d" * 49
    for text in ("x" * min(length, 255), "/".join([folder] * 8)[: length - 1] + "z"):
        for kind in ("file", "dir"):
            [found] = by_tarfile(archive((Entry(text, kind), b"")))
            assert found.name == text


def test_short_names_need_one_block_only() -> None:
    assert len(tar.header(Entry("a/b"))) == 512
    assert len(tar.header(Entry("/".join(["folder"] * 20)))) == 512  # by ustar's prefix
    assert len(tar.header(Entry("é"))) == 1536


def test_large_files_and_ids_need_pax() -> None:
    [(entry, _)] = [(found, None) for found, _ in by_us(tar.header(Entry("a", "dir", uid=3_000_000)) + tar.END)]
    assert entry.uid == 3_000_000
    found = tarfile.TarInfo.frombuf(tar.header(Entry("a", size=9 << 30))[1024:], "utf-8", "strict")
    assert found.name == "a"


def test_a_name_with_a_nul_is_refused() -> None:
    with pytest.raises(WardianError, match="NUL"):
        tar.header(Entry("a\0b"))


def test_a_file_that_changes_while_it_is_read_is_refused() -> None:
    with pytest.raises(WardianError, match="changed while it was read: 3 bytes instead of 5"):
        archive((Entry("a", size=5), b"123"))


def test_parents_are_completed_and_sorted() -> None:
    made = tar.complete([Entry("b/x/file", size=1), Entry("a", "symlink", link="b"), Entry("b", "dir", 0o700)])
    assert [(entry.path, entry.kind, entry.mode) for entry in made] == [
        ("a", "symlink", 0o644),
        ("b", "dir", 0o700),
        ("b/x", "dir", 0o755),
        ("b/x/file", "file", 0o644),
    ]


def test_folders_come_before_what_is_in_them_also_beside_odd_names() -> None:
    made = [entry.path for entry in tar.complete([Entry("a/b"), Entry("a-b/c"), Entry("a.b")])]
    assert made == ["a", "a-b", "a-b/c", "a.b", "a/b"]


def test_header_bytes_stay_the_same_for_ever() -> None:
    """A layer's digest depends on these bytes."""
    plain = tar.header(Entry("opt/env/bin/x", "file", 0o755, 123))
    assert sha256(plain) == "sha256:1989713c19f57807cc54f01427d864d214cb147d36fbe6664d2c3478e32897b1"
    long = tar.header(Entry("é" * 60, "dir", 0o755))
    assert sha256(long) == "sha256:f85864c5c597c8e701e401a204d79b21cfdcf8880d7fa5ed250975915a5daf62"
