"""Archives that torch did not write so are refused by name: compressed, overlapping, outside the file, big-endian."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from wardian.checkpoints.archive import opened
from wardian.checkpoints.pickled import Refused

RECORDS = {"m/data.pkl": pickle.dumps({"a": 1}, 2), "m/byteorder": b"little", "m/data/0": b"0123"}


def archive(records: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in records.items():
            made.writestr(name, data)
    return out.getvalue()


def test_records_are_places(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"in front" + archive(RECORDS) + b"behind")
    found = opened(path, start=8, length=path.stat().st_size - 8 - 6)
    assert found.value == {"a": 1}
    record = found.storages["0"]
    assert path.read_bytes()[record.start : record.start + record.size] == b"0123"


def moved(data: bytes, name: bytes, form: str, at: int, value: int) -> bytes:
    """Change a field of the central directory's entry of a record."""
    entry = data.rindex(b"PK\1\2", 0, data.rindex(name))
    return data[: entry + at] + struct.pack(form, value) + data[entry + at + struct.calcsize(form) :]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda _: archive(RECORDS, method=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
        (lambda data: moved(data, b"m/data/0", "<H", 8, 1), "compressed or encrypted"),
        (lambda data: moved(data, b"m/data/0", "<I", 42, 0), "overlaps another"),
        (lambda data: moved(data, b"m/data/0", "<I", 42, 7), "is not where the directory says"),
        (lambda data: moved(moved(data, b"m/data/0", "<I", 20, 9999), b"m/data/0", "<I", 24, 9999), "lies outside"),
        (lambda _: archive({**RECORDS, "m/byteorder": b"big"}), "big-endian"),
        (lambda _: archive({"m/data/0": b"0"}), "no data.pkl"),
        (lambda _: archive({**RECORDS, "n/data.pkl": b""}), "no data.pkl"),
        (lambda _: b"", "no whole file"),
        (lambda data: data[:-30], "no whole file"),
    ],
)
def test_what_torch_does_not_write(tmp_path: Path, how: Callable[[bytes], bytes], said: str) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(how(archive(RECORDS)))
    with pytest.raises(Refused, match=said):
        opened(path)


def test_two_records_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(archive({**RECORDS, "m/data/1": b"4567"}).replace(b"m/data/1", b"m/data/0"))
    with pytest.raises(Refused, match="of the same name"):
        opened(path)


def test_a_part_that_is_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(archive(RECORDS))
    with pytest.raises(Refused, match="ends before what is said"):
        opened(path, start=4, length=path.stat().st_size)


def test_an_archive_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    """Its directory is ZIP64's; the file is sparse."""
    path = tmp_path / "large.pt"
    big = (1 << 32) + 100
    with path.open("w+b") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as made:
        made.writestr("m/data.pkl", RECORDS["m/data.pkl"])
        entry = zipfile.ZipInfo("m/data/0")
        entry.file_size = entry.compress_size = big
        entry.header_offset, entry.CRC = file.tell(), 0
        file.write(entry.FileHeader(zip64=True))
        file.truncate(file.tell() + big)
        file.seek(0, io.SEEK_END)
        made.start_dir = file.tell()
        made.filelist.append(entry)
        made.NameToInfo[entry.filename] = entry
        made.writestr("m/data/1", b"behind it")
    record = opened(path).storages["1"]
    assert record.start > 1 << 32
    with path.open("rb") as read:
        read.seek(record.start)
        assert read.read(record.size) == b"behind it"
    assert opened(path).storages["0"].size == big
