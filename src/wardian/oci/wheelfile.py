"""A wheel's own claims, checked: names, sizes, RECORD, metadata. A lie is refused; the error names wheel and member.

Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

import base64
import csv
import hashlib
import io
import re
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import BinaryIO

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from wardian.errors import WheelRefused
from wardian.oci.zip import Member, read_directory, read_member

SMALL = 16 << 20  # bytes of METADATA, or of a script whose first line is rewritten
_RECORD = 256 << 20
_MANY = 1 << 30  # from here on the ratio of the whole wheel counts
_MOST = 256 << 30
_HASHES = ("sha256", "sha384", "sha512")
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_HEX = re.compile(r"[0-9a-f]+")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A wheel to install: its file name, its bytes, and whether the user asked for it by name."""

    filename: str
    file: BinaryIO
    requested: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of RECORD: the hash as it is written there (``sha256=…``) and the size, if any."""

    hash: str
    size: int | None


@dataclass(frozen=True, slots=True)
class OpenWheel:
    """A wheel whose directory and RECORD were checked."""

    source: WheelFile
    members: Mapping[str, Member]
    record: Mapping[str, Recorded]
    stem: str  # "torch-2.13.0+cpu", as its .dist-info folder is named
    name: str
    version: str

    def read(self, name: str, limit: int = SMALL) -> bytes:
        """The content of a member that must not be large."""
        return read_member(self.source.file, self.members[name], self.source.filename, limit)


def open_wheel(wheel: WheelFile) -> OpenWheel:
    """Check a wheel's directory, names, RECORD and metadata. Raises ``WheelRefused``; contents are not read yet."""
    name, version = _expected(wheel.filename)
    directory = read_directory(wheel.file, wheel.filename)
    members: dict[str, Member] = {}
    known: set[str] = set()
    for member in directory:
        _refuse_member(member, wheel.filename)
        same = unicodedata.normalize("NFC", member.name)
        if same in known:
            raise WheelRefused(wheel.filename, "is in it twice", member.name)
        known.add(same)
        members[member.name] = member
    _refuse_bomb(directory, wheel.filename)
    stem = _stem(members, name, version, wheel.filename)
    opened = OpenWheel(wheel, members, {}, stem, name, version)
    for needed in ("RECORD", "WHEEL", "METADATA"):
        if f"{stem}.dist-info/{needed}" not in members:
            raise WheelRefused(wheel.filename, f"has no {stem}.dist-info/{needed}")
    record = _read_record(opened)
    _refuse_disagreement(opened, record)
    _refuse_metadata(opened)
    return OpenWheel(wheel, members, record, stem, name, version)


def _expected(filename: str) -> tuple[str, str]:
    try:
        name, version, _, _ = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise WheelRefused(filename, f"is not the file name of a wheel: {error}") from error
    return name, str(version)


def _refuse_member(member: Member, wheel: str) -> None:
    kind = stat.S_IFMT(member.mode)
    if kind == stat.S_IFLNK:
        raise WheelRefused(wheel, "is a symbolic link", member.name)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise WheelRefused(wheel, "is neither a file nor a folder", member.name)
    if why := unsafe(member.name.removesuffix("/")):
        raise WheelRefused(wheel, why, member.name)
    if member.is_folder and member.size:
        raise WheelRefused(wheel, "is a folder with content", member.name)


def unsafe(path: str) -> str | None:
    """Why a relative path may not enter a layer; None when it may."""
    if path.startswith("/") or _DRIVE.match(path):
        return "is an absolute path"
    if "\\" in path:
        return "has a backslash in its name"
    if _CONTROL.search(path):
        return "has a control character in its name"
    fenced = f"/{path}/"
    if "/../" in fenced:
        return "leads out of the wheel"
    if "//" in fenced or "/./" in fenced:
        return "is not a normal path"
    if "/.wh." in fenced:
        return "has a name that means deletion in an image layer"
    raw = path.encode("utf-8", "surrogateescape")
    if len(raw) > 255 and (len(raw) > 3000 or any(len(part) > 255 for part in raw.split(b"/"))):
        return "has a name that no file system takes"
    return None


def _refuse_bomb(members: Iterable[Member], wheel: str) -> None:
    compressed = sum(member.compressed for member in members)
    size = sum(member.size for member in members)
    if size > _MOST or (size > _MANY and size > 200 * compressed):
        raise WheelRefused(wheel, f"claims to become {size} bytes from {compressed}")


def _stem(members: Iterable[str], name: str, version: str, wheel: str) -> str:
    """The name of the one ``.dist-info`` folder, without its ending; it must be the one of the file name."""
    folders = {member.partition("/")[0] for member in members if "/" in member}
    found = sorted(folder.removesuffix(".dist-info") for folder in folders if folder.endswith(".dist-info"))
    if len(found) != 1:
        said = " and ".join(f"{stem}.dist-info" for stem in found) or "no .dist-info folder"
        raise WheelRefused(wheel, f"must hold one .dist-info folder and has {said}")
    inner_name, _, inner_version = found[0].partition("-")
    if canonicalize_name(inner_name) != name or not _same_version(inner_version, version):
        raise WheelRefused(wheel, f"holds {found[0]}.dist-info: another distribution or version")
    return found[0]


def _same_version(one: str, other: str) -> bool:
    try:
        return Version(one.replace("_", "-")) == Version(other)
    except InvalidVersion:
        return one == other


def _refuse_metadata(opened: OpenWheel) -> None:
    wheel = opened.source.filename
    about = HeaderParser().parsestr(opened.read(f"{opened.stem}.dist-info/WHEEL").decode("utf-8", "replace"))
    major = str(about.get("Wheel-Version", "")).strip().partition(".")[0]
    if major != "1":
        raise WheelRefused(wheel, f"has Wheel-Version {about.get('Wheel-Version')!r}; 1.x is understood")
    metadata = HeaderParser().parsestr(opened.read(f"{opened.stem}.dist-info/METADATA").decode("utf-8", "replace"))
    said = (str(metadata.get("Name", "")).strip(), str(metadata.get("Version", "")).strip())
    if canonicalize_name(said[0]) != opened.name or not _same_version(said[1], opened.version):
        raise WheelRefused(wheel, f"says in its METADATA that it is {said[0]} {said[1]}")


def _read_record(opened: OpenWheel) -> dict[str, Recorded]:
    wheel = opened.source.filename
    name = f"{opened.stem}.dist-info/RECORD"
    rows: dict[str, Recorded] = {}
    try:
        text = opened.read(name, _RECORD).decode("utf-8")
        for row in csv.reader(io.StringIO(text)):
            if not row:
                continue
            path, value, size = (*row, "", "")[:3]
            if path in rows:
                raise WheelRefused(wheel, "is in RECORD twice", path)
            rows[path] = Recorded(_as_base64(value), int(size) if size else None)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise WheelRefused(wheel, f"is damaged: {error}", name) from error
    if (about := f"{opened.stem}.dist-info/WHEEL") in rows:
        # Who gives a built wheel other tags may forget RECORD (textworld 1.7.0). No program reads WHEEL: what is
        # installed gets the row that is right.
        content = opened.read(about)
        rows[about] = Recorded(_as_base64(f"sha256={hashlib.sha256(content).hexdigest()}"), len(content))
    return rows


def _as_base64(value: str) -> str:
    """A hash as the standard writes it; some wheels (gmsh's) have the right hash in hexadecimal digits."""
    algorithm, _, text = value.partition("=")
    if algorithm in _HASHES and len(text) == 2 * hashlib.new(algorithm).digest_size and _HEX.fullmatch(text):
        return f"{algorithm}={base64.urlsafe_b64encode(bytes.fromhex(text)).decode().rstrip('=')}"
    return value


def _refuse_disagreement(opened: OpenWheel, record: Mapping[str, Recorded]) -> None:
    """RECORD must list every file of the wheel, with a hash worth the name, and nothing else."""
    wheel = opened.source.filename
    unhashed = {f"{opened.stem}.dist-info/{name}" for name in _UNHASHED}
    for name, member in opened.members.items():
        if member.is_folder or name in unhashed:
            continue
        row = record.get(name)
        if row is None:
            raise WheelRefused(wheel, "is not in RECORD", name)
        algorithm = row.hash.partition("=")[0]
        if algorithm not in _HASHES:
            raise WheelRefused(wheel, f"has no sha256 in RECORD but {row.hash or 'nothing'!r}", name)
        if row.size is not None and row.size != member.size:
            raise WheelRefused(wheel, f"has {member.size} bytes and RECORD tells {row.size}", name)
    for path in record:
        if path not in opened.members and path not in unhashed:
            raise WheelRefused(wheel, "is in RECORD and not in the wheel", path)
