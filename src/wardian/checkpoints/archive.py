"""What ``torch.save`` wrote: a zip whose records are stored, not compressed: each tensor's bytes lie in the file.

Only the central directory and ``data.pkl`` are read here; the rest is places. Sources: the ZIP specification
(https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3), torch/serialization.py (the names of the records).
"""

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wardian.checkpoints.pickled import LARGEST, Refused, parsed

_LOCAL = struct.Struct("<4s5H3L2H")  # the header before each record
_MOST_RECORDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes of one record: where they lie in which file, how many, and the CRC-32 that the zip has for them."""

    path: Path
    start: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Archive:
    """One saved object: the parsed pickle, and the storages it speaks of by key."""

    value: Any
    storages: dict[str, Record]


def opened(path: Path, *, start: int = 0, length: int | None = None) -> Archive:
    """Read the directory and the pickle of a saved object, which may be a part of a file.

    Raises ``Refused`` for what torch did not write so: compressed or encrypted records, ones that overlap or lie
    outside, another byte order, a pickle that names code.
    """
    with _window(path, start, length) as file:
        records = dict(_records(file, path, start))
        roots = [name.removesuffix("data.pkl") for name in records if name.rpartition("/")[2] == "data.pkl"]
        if len(roots) != 1:
            raise Refused(f"{path}: it holds no saved object of torch (no data.pkl)")
        root = roots[0]
        order = records.get(f"{root}byteorder")
        if order and _read(file, order, start) != b"little":
            raise Refused(f"{path}: its numbers are big-endian, which is not supported")
        pickle = records[f"{root}data.pkl"]
        if pickle.size > LARGEST:
            raise Refused(f"{path}: its pickle has {pickle.size} bytes, more than {LARGEST}")
        value = parsed(_read(file, pickle, start), str(path))
    data = f"{root}data/"
    return Archive(value, {name.removeprefix(data): one for name, one in records.items() if name.startswith(data)})


@contextmanager
def _window(path: Path, start: int, length: int | None) -> Iterator[BinaryIO]:
    """A part of a file as a file; raises ``Refused`` where the file cannot be read."""
    try:
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size
            if length is not None and (start < 0 or length < 0 or start + length > whole):
                raise Refused(f"{path}: it ends before what is said to be in it")
            yield file if length is None else io.BufferedReader(_Window(file, start, length))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise Refused(f"{path}: it is no whole file of torch.save ({error})", hint="copy it again") from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


class _Window(io.RawIOBase):
    """Some bytes of a file, counted from their first."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError(22, os.strerror(22))
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._length - self._at))
        piece = os.pread(self._file.fileno(), wanted, self._start + self._at)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _records(file: BinaryIO, path: Path, start: int) -> Iterator[tuple[str, Record]]:
    """Every record by its name, in the order of the file."""
    with zipfile.ZipFile(file) as directory:
        entries = sorted(directory.infolist(), key=lambda entry: entry.header_offset)
        end = directory.start_dir
    if len(entries) > _MOST_RECORDS or len({entry.filename for entry in entries}) != len(entries):
        raise Refused(f"{path}: it has records of the same name, or too many")
    free = 0
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise Refused(f"{path}: record {entry.filename} is compressed or encrypted; torch stores its records")
        file.seek(entry.header_offset)
        header = file.read(_LOCAL.size)
        if len(header) != _LOCAL.size or header[:4] != b"PK\3\4":
            raise Refused(f"{path}: record {entry.filename} is not where the directory says", hint="copy it again")
        *_, name, extra = _LOCAL.unpack(header)
        first = entry.header_offset + _LOCAL.size + name + extra
        if entry.header_offset < free or first + entry.file_size > end:
            raise Refused(f"{path}: record {entry.filename} overlaps another, or lies outside the file")
        free = first + entry.file_size
        yield entry.filename, Record(path, start + first, entry.file_size, entry.CRC)


def _read(file: BinaryIO, record: Record, start: int) -> bytes:
    file.seek(record.start - start)
    return file.read(record.size)
