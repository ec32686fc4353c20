"""A wheel → the files it becomes when it is installed. Everything a wheel says of itself is checked; a lie is refused.

Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/ and …/recording-installed-packages/;
where these are silent, pip (places of headers, which scripts give way to entry points, modes).
"""

import base64
import csv
import hashlib
import re
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from posixpath import relpath
from typing import BinaryIO

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from wardian.errors import WheelRefused
from wardian.oci.launchers import fixed_script, launchers
from wardian.oci.zip import Member, inflate, read_directory, read_member

_SMALL = 16 << 20  # bytes of METADATA, of a script whose first line is rewritten
_RECORD = 256 << 20
_MANY = 1 << 30  # from here on the ratio of the whole wheel counts
_MOST = 256 << 30
_HASHES = ("sha256", "sha384", "sha512")
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_REPLACED = ("RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json")
_SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")
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
class Placed:
    """One installed file: its path in the layer, and either its content or the member that holds it."""

    path: str
    mode: int
    content: bytes | None = None
    member: Member | None = None
    recorded: Recorded | None = None

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self.member.size if self.member else len(self.content or b"")


@dataclass(frozen=True, slots=True)
class Installed:
    """A wheel's files under a prefix, sorted by path."""

    source: WheelFile
    name: str
    version: str
    files: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A wheel whose directory and RECORD were checked."""

    source: WheelFile
    members: Mapping[str, Member]
    record: Mapping[str, Recorded]
    stem: str  # "torch-2.13.0+cpu", as its .dist-info folder is named
    name: str
    version: str

    def read(self, name: str, limit: int = _SMALL) -> bytes:
        return read_member(self.source.file, self.members[name], self.source.filename, limit)


def install(wheel: WheelFile, *, prefix: str, python: str) -> Installed:
    """The files that ``wheel`` becomes under ``prefix`` ("/opt/env"), for Python ``python`` ("3.11").

    The content of members is not read here: whoever copies it compares it with ``recorded`` (see ``verified``).
    """
    opened = _open(wheel)
    inside = prefix.strip("/")
    site = f"{inside}/lib/python{python}/site-packages"
    info = f"{opened.stem}.dist-info"
    entry_points = f"{info}/entry_points.txt"
    text = opened.read(entry_points) if entry_points in opened.members else b""
    scripts = launchers(text, f"/{inside}/bin/python", wheel.filename)
    files = [Placed(f"{inside}/bin/{name}", 0o755, content) for name, content in scripts.items()]
    for member in opened.members.values():
        if not member.is_folder and member.name not in {f"{info}/{name}" for name in _REPLACED}:
            placed = _place(opened, member, inside, site, python, scripts)
            files += [placed] if placed else []
    files.append(Placed(f"{site}/{info}/INSTALLER", 0o644, b"wardian\n"))
    if wheel.requested:
        files.append(Placed(f"{site}/{info}/REQUESTED", 0o644, b""))
    files.append(Placed(f"{site}/{info}/RECORD", 0o644, _new_record(files, f"{site}/{info}/RECORD", site)))
    _refuse_clashes(files, inside, python, wheel.filename)
    return Installed(wheel, opened.name, opened.version, tuple(sorted(files, key=lambda file: file.path)))


def collisions(wheels: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Installed path → the distributions that bring it, for every path that more than one brings."""
    owners: dict[str, list[str]] = {}
    for name in sorted(wheels):
        for path in wheels[name]:
            owners.setdefault(path, []).append(name)
    return {path: tuple(names) for path, names in sorted(owners.items()) if len(names) > 1}


class Verifier:
    """Compares a member's content, fed piece by piece, with its row of RECORD."""

    def __init__(self, placed: Placed, wheel: str) -> None:
        self._wheel = wheel
        self._placed = placed
        self._algorithm, _, self._expected = placed.recorded.hash.partition("=") if placed.recorded else ("", "", "")
        self._hash = hashlib.new(self._algorithm) if self._algorithm else None

    def update(self, piece: bytes) -> None:
        """Take a piece."""
        if self._hash:
            self._hash.update(piece)

    def finish(self) -> None:
        """Raise ``WheelRefused`` when RECORD told something else."""
        if self._hash and _encoded(self._hash.digest()) != self._expected.rstrip("="):
            name = self._placed.member.name if self._placed.member else self._placed.path
            raise WheelRefused(self._wheel, f"does not have the {self._algorithm} that RECORD tells", name)


def _open(wheel: WheelFile) -> _Opened:
    name, version = _expected(wheel.filename)
    directory = read_directory(wheel.file, wheel.filename)
    members: dict[str, Member] = {}
    for member in directory:
        _refuse_member(member, wheel.filename)
        key = unicodedata.normalize("NFC", member.name)
        if key in members:
            raise WheelRefused(wheel.filename, "is in it twice", member.name)
        members[key] = member
    _refuse_bomb(directory, wheel.filename)
    stem = _stem(members, name, version, wheel.filename)
    opened = _Opened(wheel, members, {}, stem, name, version)
    for needed in ("RECORD", "WHEEL", "METADATA"):
        if f"{stem}.dist-info/{needed}" not in members:
            raise WheelRefused(wheel.filename, f"has no {stem}.dist-info/{needed}")
    record = _read_record(opened)
    _refuse_disagreement(opened, record)
    _refuse_metadata(opened)
    return _Opened(wheel, members, record, stem, name, version)


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
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return "has a control character in its name"
    parts = path.split("/")
    if ".." in parts:
        return "leads out of the wheel"
    if "" in parts or "." in parts:
        return "is not a normal path"
    if any(part.startswith(".wh.") for part in parts):
        return "has a name that means deletion in an image layer"
    if len(path.encode("utf-8", "surrogateescape")) > 3000 or any(
        len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts
    ):
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


def _refuse_metadata(opened: _Opened) -> None:
    wheel = opened.source.filename
    about = HeaderParser().parsestr(opened.read(f"{opened.stem}.dist-info/WHEEL").decode("utf-8", "replace"))
    major = str(about.get("Wheel-Version", "")).strip().partition(".")[0]
    if major != "1":
        raise WheelRefused(wheel, f"has Wheel-Version {about.get('Wheel-Version')!r}; 1.x is understood")
    metadata = HeaderParser().parsestr(opened.read(f"{opened.stem}.dist-info/METADATA").decode("utf-8", "replace"))
    said = (str(metadata.get("Name", "")).strip(), str(metadata.get("Version", "")).strip())
    if canonicalize_name(said[0]) != opened.name or not _same_version(said[1], opened.version):
        raise WheelRefused(wheel, f"says in its METADATA that it is {said[0]} {said[1]}")


def _read_record(opened: _Opened) -> dict[str, Recorded]:
    wheel = opened.source.filename
    name = f"{opened.stem}.dist-info/RECORD"
    rows: dict[str, Recorded] = {}
    try:
        text = opened.read(name, _RECORD).decode("utf-8")
        for row in csv.reader(text.splitlines()):
            if not row:
                continue
            path, value, size = (*row, "", "")[:3]
            if path in rows:
                raise WheelRefused(wheel, "is in RECORD twice", path)
            rows[path] = Recorded(value, int(size) if size else None)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise WheelRefused(wheel, f"is damaged: {error}", name) from error
    return rows


def _refuse_disagreement(opened: _Opened, record: Mapping[str, Recorded]) -> None:
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


def _place(
    opened: _Opened, member: Member, inside: str, site: str, python: str, scripts: Mapping[str, bytes]
) -> Placed | None:
    """Where a member goes; None for a script that gives way to an entry point of the same name."""
    row = opened.record.get(member.name)
    top, _, rest = member.name.partition("/")
    mode = 0o755 if member.mode & 0o111 else 0o644
    if not rest or top != f"{opened.stem}.data":
        return Placed(f"{site}/{member.name}", mode, None, member, row)
    scheme, _, path = rest.partition("/")
    if scheme not in _SCHEMES or not path:
        raise WheelRefused(
            opened.source.filename, f"wants to go to {scheme!r}, which is none of {', '.join(_SCHEMES)}", member.name
        )
    if scheme == "scripts":
        if path.removesuffix(".py").removesuffix("-script") in scripts or path in scripts:
            return None
        rewritten = _rewritten(opened, member, f"/{inside}/bin/python")
        target = f"{inside}/bin/{path}"
        return Placed(target, 0o755, None, member, row) if rewritten is None else Placed(target, 0o755, rewritten)
    if scheme == "data" and path.startswith("lib64/"):
        path = path.removeprefix("lib64/").join(("lib/", ""))  # lib64 is a link to lib in an environment
    places = {
        "purelib": site,
        "platlib": site,
        "data": inside,
        "headers": f"{inside}/include/site/python{python}/{opened.name}",
    }
    return Placed(f"{places[scheme]}/{path}", mode, None, member, row)


def _rewritten(opened: _Opened, member: Member, interpreter: str) -> bytes | None:
    """A script whose first line was ``#!python``, with the environment's interpreter; None for any other."""
    wheel = opened.source.filename
    first = next(iter(inflate(opened.source.file, member, wheel)), b"") if member.size else b""
    if not first.startswith(b"#!python"):
        return None
    content = opened.read(member.name)
    check = Verifier(Placed("", 0, None, member, opened.record.get(member.name)), wheel)
    check.update(content)
    check.finish()
    return fixed_script(content, interpreter)


def _new_record(files: Iterable[Placed], own: str, site: str) -> bytes:
    rows = [(relpath(own, site), "", "")]
    for file in files:
        told = (
            file.recorded.hash if file.recorded else f"sha256={_encoded(hashlib.sha256(file.content or b'').digest())}"
        )
        rows.append((relpath(file.path, site), told, str(file.size)))
    return "".join(",".join(_quoted(cell) for cell in row) + "\n" for row in sorted(rows)).encode()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(letter in cell for letter in ',"') else cell


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _refuse_clashes(files: Iterable[Placed], inside: str, python: str, wheel: str) -> None:
    kept = {
        f"{inside}/{name}" for name in ("pyvenv.cfg", "pylock.toml", "bin/python", "bin/python3", f"bin/python{python}")
    }
    paths: set[str] = set()
    for file in files:
        if file.path in kept:
            raise WheelRefused(wheel, "would replace a part of the environment", file.path)
        if file.path in paths:
            raise WheelRefused(wheel, "would be installed twice", file.path)
        paths.add(file.path)
    for path in paths:
        at = path.rfind("/")
        while at > 0:
            if path[:at] in paths:
                raise WheelRefused(wheel, "would be a file and a folder at once", path[:at])
            at = path.rfind("/", 0, at)
