"""Our tar reader on archives of other tools, and on damaged ones."""

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.oci.tar import Entry, header
from wardian.oci.untar import Source, entries, inside


def read(data: bytes, step: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    chunks = (data[at : at + step] for at in range(0, len(data), step))
    return [(entry, b"".join(content)) for entry, content in entries(Source(chunks, "layer x"))]


def made(form: int, *found: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for one, content in found:
            one.size = len(content)
            tar.addfile(one, io.BytesIO(content))
    return out.getvalue()


FORMS = [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", [1, 511, 512, 4096])
def test_archives_of_every_format_in_chunks_of_any_size(form: int, step: int) -> None:
    files = {"a": b"1", "folder/b": b"x" * 513, "folder/" + "n" * 90: b"", "./c": b"z" * 512}
    data = made(form, *((tarfile.TarInfo(name), content) for name, content in files.items()))
    assert [(entry.path, content) for entry, content in read(data, step)] == [
        (name.removeprefix("./"), content) for name, content in files.items()
    ]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links(form: int) -> None:
    link = tarfile.TarInfo("d/" * 80 + "é" * 100)
    link.type, link.linkname = tarfile.SYMTYPE, "/" + "t" * 200
    [(entry, _)] = read(made(form, (link, b"")))
    assert (entry.path, entry.link) == (link.name, link.linkname)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_large_numbers(form: int) -> None:
    found = tarfile.TarInfo("a")
    found.uid, found.gid, found.mtime = 4_000_000_000, 3_000_000, -5
    [(entry, _)] = read(made(form, (found, b"")))
    assert (entry.uid, entry.gid, entry.mtime) == (4_000_000_000, 3_000_000, -5)


def test_attributes_and_fractions_of_seconds() -> None:
    found = tarfile.TarInfo("a")
    found.pax_headers = {"SCHILY.xattr.user.note": "ü", "mtime": "1577836800.75", "comment": "no matter"}
    [(entry, _)] = read(made(tarfile.PAX_FORMAT, (found, b"")))
    assert entry.xattrs == (("user.note", "ü".encode()),)
    assert entry.mtime == 1577836800


def test_records_of_one_file_do_not_leak_to_the_next() -> None:
    first, second = tarfile.TarInfo("é" * 80), tarfile.TarInfo("b")
    first.pax_headers = {"SCHILY.xattr.user.note": "x"}
    assert [(entry.path, entry.xattrs) for entry, _ in read(made(tarfile.PAX_FORMAT, (first, b""), (second, b"")))][
        1
    ] == (
        "b",
        (),
    )


def test_global_records_hold_for_all() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "77"}) as tar:
        for name in "ab":
            tar.addfile(tarfile.TarInfo(name))
    assert [entry.mtime for entry, _ in read(out.getvalue())] == [77, 77]


def test_content_that_is_not_read_is_skipped() -> None:
    data = made(tarfile.PAX_FORMAT, (tarfile.TarInfo("a"), b"x" * 100_000), (tarfile.TarInfo("b"), b"y"))
    assert [entry.path for entry, _ in entries(Source(iter([data]), "x"))] == ["a", "b"]


def test_what_follows_the_end_is_read_but_not_understood() -> None:
    seen = []

    def chunks() -> "object":
        for chunk in (made(tarfile.USTAR_FORMAT, (tarfile.TarInfo("a"), b"")), b"rubbish"):
            seen.append(chunk)
            yield chunk

    assert len(list(entries(Source(chunks(), "x")))) == 1  # type: ignore[arg-type]
    assert seen[-1] == b"rubbish"


def test_gnu_tar_agrees(tmp_path: Path, need: Callable[..., None]) -> None:
    need("tar")
    (tmp_path / "in" / "deep" / ("n" * 150)).mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").write_bytes(b"hello")
    (tmp_path / "in" / "link").symlink_to("deep/file")
    (tmp_path / "in" / "hard").hardlink_to(tmp_path / "in" / "deep" / "file")
    for form in ("gnu", "posix", "ustar", "v7"):
        short = ["--exclude=nnn*"] if form in ("ustar", "v7") else []
        made_by = ["tar", f"--format={form}", "--sort=name", *short, "-C", str(tmp_path / "in"), "-c", "."]
        data = subprocess.run(made_by, capture_output=True, check=True).stdout
        found = {entry.path: entry for entry, _ in read(data)}
        assert found[""].kind == found["deep"].kind == "dir"
        assert found["link"].link == "deep/file"
        assert (found["hard"].kind, found["hard"].link) == ("hardlink", "deep/file")
        assert found["deep/file"].size == 5


def spoilt(at: int, field: bytes) -> bytes:
    """A header with one field replaced and its checksum made right again."""
    block = bytearray(header(Entry("a", size=0)))
    block[at : at + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"x" * 512, "not a tar file"),
        (header(Entry("a", size=10)), "cut off"),
        (header(Entry("a", size=10)) + b"12345", "cut off"),
        (b"\x01" * 100, "cut off"),
        (spoilt(156, b"S"), "type b'S', which is unknown"),
        (spoilt(156, b"Z"), "type b'Z', which is unknown"),
        (spoilt(0, b"../../etc/passwd"), "leads out of the image"),
        (spoilt(0, b"a/../../b"), "leads out of the image"),
        (spoilt(124, b"0000000009x\0"), "not an octal number"),
        (spoilt(124, b"000000000_1\0"), "not an octal number"),
        (spoilt(124, b"0o1\0"), "not an octal number"),
        (spoilt(124, b"-1\0"), "not an octal number"),
        (spoilt(124, b"\xff" * 12), "impossible size"),
        (spoilt(124, b"\x80" + b"\xff" * 11), "impossible size"),
        (spoilt(108, b"\xff" * 8), "impossible uid"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, said: str) -> None:
    with pytest.raises(WardianError, match=said):
        read(data)


def pax(records: bytes, size: int | None = None) -> bytes:
    block = bytearray(header(Entry("a", size=len(records) if size is None else size)))
    block[156:157] = b"x"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + records + bytes(-len(records) % 512) + header(Entry("real")) + bytes(1024)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (b"garbage", "damaged PAX"),
        (b"99 path=x\n", "damaged PAX"),
        (b"0 path=x\n", "damaged PAX"),
        (b"9 path=xy", "damaged PAX"),
        (b"26 GNU.sparse.name=thing\n\n"[:26], "sparse"),
        (b"12 size=abc\n", "impossible size"),
        (b"11 size=-5\n", "impossible size"),
        (b"10 uid=-1\n", "impossible uid"),
        (b"13 path=../x\n", "leads out"),
        (b"12 path=a\0b\n", "NUL"),
        (b"5010 uid=" + b"1" * 5000 + b"\n", "impossible uid"),
        (b"5011 size=" + b"0" * 5000 + b"\n", "impossible size"),
        (b"6011 path=" + b"a/" * 3000 + b"\n", "longer than"),
        (b"6015 linkpath=" + b"a/" * 3000 + b"\n", "longer than"),
    ],
)
def test_damaged_records_are_refused(records: bytes, said: str) -> None:
    with pytest.raises(WardianError, match=said):
        read(pax(records))


@pytest.mark.parametrize("time", [b"nan", b"inf", b"1e300", b"-1e300", b"soon"])
def test_impossible_times_are_bent(time: bytes) -> None:
    body = b" mtime=" + time + b"\n"
    [(entry, _)] = read(pax(b"%d" % (len(body) + 2) + body))
    assert -(1 << 31) <= entry.mtime <= 1 << 34


def test_records_without_end_are_refused() -> None:
    with pytest.raises(WardianError, match="bytes of records for one file"):
        read(pax(b"", size=1 << 30))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("./", ""),
        (".", ""),
        ("/", ""),
        ("./a/", "a"),
        ("/usr//bin/./x", "usr/bin/x"),
        ("a..b/..c", "a..b/..c"),
        ("x/.", "x"),
    ],
)
def test_paths_are_cleaned(path: str, expected: str) -> None:
    assert inside(path, "x") == expected


@given(st.binary(max_size=3000))
def test_rubbish_is_never_a_bug(data: bytes) -> None:
    try:
        read(data)
    except WardianError:
        pass


@given(st.data())
def test_a_flipped_byte_is_never_a_bug(data: st.DataObject) -> None:
    whole = bytearray(made(tarfile.PAX_FORMAT, (tarfile.TarInfo("é" * 70), b"content"), (tarfile.TarInfo("b"), b"x")))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        read(bytes(whole))
    except WardianError:
        pass
