"""A wheel → the files it becomes when it is installed.

Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/ and
…/recording-installed-packages/; where these are silent, pip (places of headers, which scripts give way to entry points,
modes).
"""

import base64
import hashlib
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import relpath

from wardian.errors import WheelRefused
from wardian.oci.launchers import fixed_script, launchers
from wardian.oci.wheelfile import OpenWheel, Recorded, WheelFile, open_wheel
from wardian.oci.zip import Member, inflate

__all__ = ["Installed", "Placed", "Verifier", "WheelFile", "install"]

_REPLACED = ("RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json")
_SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")


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
class _Target:
    """The environment that a wheel is installed into; ``inside`` is its prefix as a path in the layer."""

    inside: str
    python: str

    @property
    def site(self) -> str:
        return f"{self.inside}/lib/python{self.python}/site-packages"

    @property
    def interpreter(self) -> str:
        return f"/{self.inside}/bin/python"


def install(wheel: WheelFile, *, prefix: str, python: str) -> Installed:
    """The files that ``wheel`` becomes under ``prefix`` ("/opt/env"), for Python ``python`` ("3.11").

    The content of members is not read here: whoever copies it gives it to a ``Verifier``.
    """
    opened = open_wheel(wheel)
    target = _Target(prefix.strip("/"), python)
    entry_points = f"{opened.stem}.dist-info/entry_points.txt"
    text = opened.read(entry_points) if entry_points in opened.members else b""
    scripts = launchers(text, target.interpreter, wheel.filename)
    files = [Placed(f"{target.inside}/bin/{name}", 0o755, content) for name, content in scripts.items()]
    replaced = {f"{opened.stem}.dist-info/{name}" for name in _REPLACED}
    for member in opened.members.values():
        if not member.is_folder and member.name not in replaced:
            placed = _place(opened, member, target, scripts)
            files += [placed] if placed else []
    info = f"{target.site}/{opened.stem}.dist-info"
    files.append(Placed(f"{info}/INSTALLER", 0o644, b"wardian\n"))
    if wheel.requested:
        files.append(Placed(f"{info}/REQUESTED", 0o644, b""))
    files.append(Placed(f"{info}/RECORD", 0o644, _new_record(files, f"{info}/RECORD", target.site)))
    _refuse_clashes(files, target, wheel.filename)
    return Installed(wheel, opened.name, opened.version, tuple(sorted(files, key=lambda file: file.path)))


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


def _place(opened: OpenWheel, member: Member, target: _Target, scripts: Mapping[str, bytes]) -> Placed | None:
    """Where a member goes; None for a script that gives way to an entry point of the same name."""
    row = opened.record.get(member.name)
    top, _, rest = member.name.partition("/")
    mode = 0o755 if stat.S_ISREG(member.mode) and member.mode & 0o111 else 0o644  # as pip: without a type, no mode
    if not rest or top != f"{opened.stem}.data":
        return Placed(f"{target.site}/{member.name}", mode, None, member, row)
    scheme, _, path = rest.partition("/")
    if scheme not in _SCHEMES or not path:
        why = f"wants to go to {scheme!r}, which is none of {', '.join(_SCHEMES)}"
        raise WheelRefused(opened.source.filename, why, member.name)
    if scheme == "scripts":
        if path.removesuffix(".py").removesuffix("-script") in scripts or path in scripts:
            return None
        rewritten = _rewritten(opened, member, target.interpreter)
        script = f"{target.inside}/bin/{path}"
        return Placed(script, 0o755, None, member, row) if rewritten is None else Placed(script, 0o755, rewritten)
    if scheme == "data" and path.startswith("lib64/"):
        path = f"lib/{path.removeprefix('lib64/')}"  # lib64 is a link to lib in an environment
    headers = f"{target.inside}/include/site/python{target.python}/{opened.name}"
    places = {"purelib": target.site, "platlib": target.site, "data": target.inside, "headers": headers}
    return Placed(f"{places[scheme]}/{path}", mode, None, member, row)


def _rewritten(opened: OpenWheel, member: Member, interpreter: str) -> bytes | None:
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
    rows = [(_relative(own, site), "", "")]
    for file in files:
        told = file.recorded.hash if file.recorded else _sha256(file.content or b"")
        rows.append((_relative(file.path, site), told, str(file.size)))
    return "".join(",".join(_quoted(cell) for cell in row) + "\n" for row in sorted(rows)).encode()


def _relative(path: str, site: str) -> str:
    return path[len(site) + 1 :] if path.startswith(f"{site}/") else relpath(path, site)


def _sha256(content: bytes) -> str:
    return f"sha256={_encoded(hashlib.sha256(content).digest())}"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if "," in cell or '"' in cell else cell


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _refuse_clashes(files: Iterable[Placed], target: _Target, wheel: str) -> None:
    parts = ("pyvenv.cfg", "pylock.toml", "bin/python", "bin/python3", f"bin/python{target.python}", "lib64")
    beneath = tuple(f"{target.inside}/{part}/" for part in parts)
    paths: set[str] = set()
    for file in files:
        if f"{file.path}/".startswith(beneath) or file.path == f"{target.inside}/bin":
            raise WheelRefused(wheel, "would replace a part of the environment", file.path)
        if file.path in paths:
            raise WheelRefused(wheel, "would be installed twice", file.path)
        paths.add(file.path)
