"""The members of a zip file, read from its directory and distrusted: every claim is checked against another.

Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (4.3.7 local header, 4.3.12 directory, 4.3.14
zip64).
``zipfile`` is not used because it forgives what an attacker needs: names cut at NUL, headers that disagree, overlaps.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from wardian.errors import WheelRefused
from wardian.oci import deflate
from wardian.oci.inflater import crc32, damage, inflater

STORED = 0
DEFLATED = 8
WINDOW = 1 << 18  # bytes read, and at most four times as many inflated, at once

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_DESCRIPTOR = 0x0008
_UTF_8 = 0x0800
_FULL = 0xFFFFFFFF
_MAX_RATIO = 1032  # deflate cannot do better
_MAX_DIRECTORY = 512 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a zip: what the directory says, and where its bytes start. ``mode`` is 0 when none was recorded."""

    name: str
    method: int
    crc: int
    compressed: int
    size: int
    mode: int
    offset: int
    data: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether this only names a folder."""
        return self.name.endswith("/")


def read_directory(file: BinaryIO, wheel: str) -> tuple[Member, ...]:
    """All members in the order of the directory. Raises ``WheelRefused``, naming ``wheel``, for anything doubtful."""
    start, size, count = _find_directory(file, wheel)
    file.seek(start)
    members = tuple(_parse(file.read(size), count, wheel))
    located = {
        member.offset: _locate(file, member, wheel) for member in sorted(members, key=lambda member: member.offset)
    }
    if len(located) != len(members):
        raise WheelRefused(wheel, "has members that share their bytes")
    _refuse_overlaps(list(located.values()), start, wheel)
    return tuple(located[member.offset] for member in members)


def inflate(
    file: BinaryIO, member: Member, wheel: str, raw: Callable[[bytes], object] | None = None
) -> Iterator[bytes]:
    """The content of a member, piece by piece, its size and CRC checked at the end.

    ``raw`` is called with the same content as a deflate stream: the wheel's own bytes, or stored blocks.
    """
    file.seek(member.data)
    pieces = _stored(file, member, wheel, raw) if member.method == STORED else _deflated(file, member, wheel, raw)
    crc, size = 0, 0
    for piece in pieces:
        size += len(piece)
        if size > member.size:
            raise WheelRefused(wheel, f"is longer than the {member.size} bytes it claims", member.name)
        crc = crc32(piece, crc)
        yield piece
    if size != member.size:
        raise WheelRefused(wheel, f"has {size} bytes and claims {member.size}", member.name)
    if crc != member.crc:
        raise WheelRefused(wheel, "is damaged: its CRC does not match", member.name)


def read_member(file: BinaryIO, member: Member, wheel: str, limit: int) -> bytes:
    """The whole content of a small member."""
    if member.size > limit:
        raise WheelRefused(wheel, f"is larger than {limit} bytes", member.name)
    return b"".join(inflate(file, member, wheel))


def _stored(file: BinaryIO, member: Member, wheel: str, raw: Callable[[bytes], object] | None) -> Iterator[bytes]:
    left = member.compressed
    if raw and not left:
        raw(deflate.EMPTY)
    while left:
        piece = _take(file, min(left, WINDOW), member, wheel)
        left -= len(piece)
        if raw:
            raw(deflate.stored(piece, final=not left))
        yield piece


def _deflated(file: BinaryIO, member: Member, wheel: str, raw: Callable[[bytes], object] | None) -> Iterator[bytes]:
    stream = inflater(-15)
    left = member.compressed
    try:
        while left:
            piece = _take(file, min(left, WINDOW), member, wheel)
            left -= len(piece)
            if raw:
                raw(piece)
            while piece:
                content = stream.decompress(piece, 4 * WINDOW)
                yield content
                piece = stream.unconsumed_tail
                if stream.unused_data or (stream.eof and left):
                    raise WheelRefused(wheel, "has bytes after the end of its deflate stream", member.name)
        # What fits no more into the last window: zlib holds at most one match back.
        yield stream.flush()
    except damage() as error:
        raise WheelRefused(wheel, f"is damaged: {error}", member.name) from error
    if not stream.eof:
        raise WheelRefused(wheel, "is damaged: its deflate stream does not end", member.name)


def _take(file: BinaryIO, count: int, member: Member, wheel: str) -> bytes:
    piece = file.read(count)
    if not piece:
        raise WheelRefused(wheel, "is cut off", member.name)
    return piece


def _find_directory(file: BinaryIO, wheel: str) -> tuple[int, int, int]:
    """Where the directory starts, its size, and how many entries it has. It must end where its end record starts."""
    end = file.seek(0, 2)
    tail_start = max(0, end - _END.size - 0xFFFF)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise WheelRefused(wheel, "is not a zip file, or is cut off")
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise WheelRefused(wheel, "has bytes after its end")
    finish = tail_start + at
    if here == 0xFFFF or count == 0xFFFF or _FULL in (size, start):
        finish, count, size, start = _find_directory_64(file, finish, wheel)
    elif disk or first_disk or here != count:
        raise WheelRefused(wheel, "is one part of a split zip file")
    if size > _MAX_DIRECTORY:
        raise WheelRefused(wheel, f"has a directory of {size} bytes")
    if start + size != finish:
        raise WheelRefused(wheel, "has a directory that is not where it claims to be")
    return start, size, count


def _find_directory_64(file: BinaryIO, finish: int, wheel: str) -> tuple[int, int, int, int]:
    at = finish - _LOCATOR.size
    file.seek(max(0, at))
    signature, disk, start, _ = _LOCATOR.unpack(file.read(_LOCATOR.size)) if at >= 0 else (b"", 0, 0, 0)
    if signature != b"PK\x06\x07" or disk or start + _END_64.size > at:
        raise WheelRefused(wheel, "has no zip64 directory where there must be one")
    file.seek(start)
    signature, length, _, _, disk, first_disk, here, count, size, offset = _END_64.unpack(file.read(_END_64.size))
    if signature != b"PK\x06\x06" or disk or first_disk or here != count or start + 12 + length != at:
        raise WheelRefused(wheel, "has a damaged zip64 directory")
    return start, count, size, offset


def _parse(content: bytes, count: int, wheel: str) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if len(content) - at < _ENTRY.size or content[at : at + 4] != b"PK\x01\x02":
            raise WheelRefused(wheel, "has a damaged directory")
        (_, _, _, flags, method, _, _, crc, compressed, size, named, extra, comment, disk, _, attributes, offset) = (
            _ENTRY.unpack_from(content, at)
        )
        at += _ENTRY.size
        raw = content[at : at + named]
        name = _decode(raw, utf_8=bool(flags & _UTF_8), wheel=wheel)
        if len(content) < at + named + extra + comment:
            raise WheelRefused(wheel, "has a damaged directory", name)
        if _FULL in (compressed, size, offset):
            size, compressed, offset = _wide(
                content[at + named : at + named + extra], (size, compressed, offset), name, wheel
            )
        at += named + extra + comment
        if flags & _ENCRYPTED:
            raise WheelRefused(wheel, "is encrypted", name)
        if disk not in (0, 0xFFFF):
            raise WheelRefused(wheel, "lies on another disk", name)
        member = Member(name, method, crc, compressed, size, attributes >> 16, offset)
        _refuse_odd(member, wheel)
        yield member
    if at != len(content):
        raise WheelRefused(wheel, "has a directory with more in it than it counts")


def _refuse_odd(member: Member, wheel: str) -> None:
    said = f"claims {member.size} bytes from {member.compressed}"
    if member.method not in (STORED, DEFLATED):
        raise WheelRefused(wheel, f"is compressed by method {member.method}; wheels use deflate", member.name)
    if member.method == STORED and member.compressed != member.size:
        raise WheelRefused(wheel, f"{said}, although it is not compressed", member.name)
    if member.method == DEFLATED and member.size > _MAX_RATIO * member.compressed:
        raise WheelRefused(wheel, f"{said}: more than deflate can do", member.name)


def _wide(extra: bytes, narrow: tuple[int, int, int], name: str, wheel: str) -> tuple[int, int, int]:
    """Size, compressed size and offset, those that did not fit taken from the zip64 field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            wanted = sum(value == _FULL for value in narrow)
            if len(field) < 8 * wanted:
                break
            values = iter(struct.unpack_from(f"<{wanted}Q", field))
            size, compressed, offset = (next(values) if value == _FULL else value for value in narrow)
            return size, compressed, offset
        at += 4 + length
    raise WheelRefused(wheel, "has a damaged zip64 field", name)


def _decode(raw: bytes, *, utf_8: bool, wheel: str) -> str:
    try:
        return raw.decode("utf-8" if utf_8 else "cp437")
    except UnicodeDecodeError as error:
        raise WheelRefused(wheel, f"has a name that is not UTF-8: {raw!r}") from error


def _locate(file: BinaryIO, member: Member, wheel: str) -> Member:
    """The member with the start of its bytes, after its local header was compared with the directory."""
    file.seek(member.offset)
    content = file.read(_LOCAL.size)
    if len(content) < _LOCAL.size or content[:4] != b"PK\x03\x04":
        raise WheelRefused(wheel, "is not where the directory says", member.name)
    _, _, flags, method, _, _, crc, compressed, size, named, extra = _LOCAL.unpack(content)
    name = _decode(file.read(named), utf_8=bool(flags & _UTF_8), wheel=wheel)
    if name != member.name or method != member.method or flags & _ENCRYPTED:
        raise WheelRefused(wheel, f"has a local header that says otherwise ({name!r}, method {method})", member.name)
    if _FULL in (compressed, size):
        size, compressed, _ = _wide(file.read(extra), (size, compressed, 0), member.name, wheel)
    said, known = (crc, compressed, size), (member.crc, member.compressed, member.size)
    if said != known and not (
        flags & _DESCRIPTOR and all(one in (0, other) for one, other in zip(said, known, strict=True))
    ):
        raise WheelRefused(wheel, "has a local header with other sizes or another CRC", member.name)
    data = member.offset + _LOCAL.size + named + extra
    return Member(member.name, method, member.crc, member.compressed, member.size, member.mode, member.offset, data)


def _refuse_overlaps(members: list[Member], directory: int, wheel: str) -> None:
    """Refuse members, in order of offset, that share bytes: a small file could claim to hold terabytes."""
    starts = [member.offset for member in members] + [directory]
    for member, limit in zip(members, starts[1:], strict=True):
        if member.data + member.compressed > limit:
            raise WheelRefused(wheel, "overlaps what follows it", member.name)
