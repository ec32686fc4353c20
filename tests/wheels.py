"""Wheels for tests, honest and otherwise, made byte by byte."""

import base64
import csv
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from wardian.oci.wheel import WheelFile

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def hashed(content: bytes) -> str:
    """As RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def record(files: Mapping[str, bytes], own: str) -> bytes:
    """A RECORD of files."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [*((path, hashed(content), len(content)) for path, content in files.items()), (own, "", "")]
    )
    return out.getvalue().encode()


def wheel_files(name: str, version: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a wheel with its metadata and RECORD."""
    info = f"{name}-{version}.dist-info"
    whole = {
        f"{info}/METADATA": METADATA.format(name=name, version=version).encode(),
        f"{info}/WHEEL": WHEEL.encode(),
        **files,
    }
    return {**whole, f"{info}/RECORD": record(whole, f"{info}/RECORD")}


def zipped(
    files: Mapping[str, bytes],
    *,
    modes: Mapping[str, int] = {},
    method: int = zipfile.ZIP_DEFLATED,
    zip64: bool = False,
) -> bytes:
    """A zip file; ``modes`` are whole st_mode values."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for path, content in files.items():
            found = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            found.external_attr = modes.get(path, 0o100644) << 16
            found.compress_type = method
            with target.open(found, "w", force_zip64=zip64) as file:
                file.write(content)
    return out.getvalue()


def wheel(
    name: str = "thing",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    modes: Mapping[str, int] = {},
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """An honest wheel."""
    given = {f"{name}/__init__.py": b"value = 1\n"} if files is None else files
    return zipped(wheel_files(name, version, given), modes=modes, method=method)


def as_file(content: bytes, name: str = "thing", version: str = "1.0", *, requested: bool = False) -> WheelFile:
    """Bytes as a wheel to install."""
    return WheelFile(f"{name}-{version}-py3-none-any.whl", io.BytesIO(content), requested)


@dataclass
class Raw:
    """A member of a zip made by hand: what the directory says and what the local header says may differ."""

    name: bytes
    content: bytes
    size: int | None = None  # as claimed
    crc: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    local_method: int | None = None
    flags: int = 0
    method: int = 8
    mode: int = 0o100644
    offset: int | None = None  # as claimed
    body: bytes | None = None  # the compressed bytes
    compressed: int | None = None  # as claimed


def raw_zip(members: list[Raw], *, after: bytes = b"", comment: bytes = b"", count: int | None = None) -> bytes:
    """A zip file, made by hand. ``after`` comes between the directory and its end record."""
    out, directory = bytearray(), bytearray()
    for member in members:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = member.body
        if body is None:
            body = packer.compress(member.content) + packer.flush() if member.method == 8 else member.content
        crc = zlib.crc32(member.content) if member.crc is None else member.crc
        size = len(member.content) if member.size is None else member.size
        compressed = len(body) if member.compressed is None else member.compressed
        offset = len(out) if member.offset is None else member.offset
        local_name = member.name if member.local_name is None else member.local_name
        local_size = size if member.local_size is None else member.local_size
        local_method = member.method if member.local_method is None else member.local_method
        head = (b"PK\x03\x04", 20, member.flags, local_method, 0, 33, crc, compressed, local_size, len(local_name), 0)
        out += struct.pack("<4s5H3L2H", *head) + local_name + body
        entry = (b"PK\x01\x02", 0x314, 20, member.flags, member.method, 0, 33, crc, compressed, size, len(member.name))
        directory += struct.pack("<4s6H3L5H2L", *entry, 0, 0, 0, 0, member.mode << 16, offset) + member.name
    here = len(members) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, here, here, len(directory), len(out), len(comment))
    return bytes(out + directory) + after + end + comment


def raw_members(files: Mapping[str, bytes]) -> list[Raw]:
    """Honest members, to be spoilt one at a time."""
    return [Raw(path.encode(), content) for path, content in files.items()]
