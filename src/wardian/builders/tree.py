"""Files of the project → the entries of a layer, with their digests."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath

from wardian.builders import ignore
from wardian.errors import Fault, SpecError
from wardian.plan.layers import Entry

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links to /usr/… in every current distribution


@dataclass(frozen=True)
class Tree:
    """A project's folder with its ignore rules. ``left_out`` collects the secrets that were met."""

    root: Path
    rules: ignore.Ignore
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, root: Path) -> "Tree":
        """Read the ignore file. Raises ``SpecError`` when it holds something that is no pattern."""
        for name in ignore.FILES:
            path = root / name
            if path.is_file():
                try:
                    return cls(root, ignore.Ignore.parse(path.read_text(encoding="utf-8")))
                except (ValueError, UnicodeDecodeError) as error:
                    raise SpecError([Fault("", str(error), name)]) from error
        return cls(root, ignore.Ignore())

    def copied(self, source: str, target: str, *, place: str) -> tuple[Entry, ...]:
        """The entries of one ``copy``: a folder's content at ``target``, or a file there (in it, after a slash).

        Raises ``SpecError``, with ``place`` as its path, for what is not there or leads out of the project.
        """
        start = normpath(source)
        if start.startswith(("/", "..")) or not (self.root / start).exists():
            said = "is not in the project" if start.startswith(("/", "..")) else "does not exist"
            raise SpecError([Fault(place, f"{source!r} {said}", hint="paths start at the project's folder")])
        found = self.root / start
        if not found.resolve().is_relative_to(self.root.resolve()):
            raise SpecError([Fault(place, f"{source!r} leads out of the project through a symbolic link")])
        if not found.is_dir():
            if self._secret(start):
                return ()
            return (_file(_absolute(target, found.name if target.endswith("/") else ""), found),)
        inside = "" if start == "." else start
        entries = [Entry(_absolute(target, ""), "dir", 0o755, "")] if _absolute(target, "") != "/" else []
        for path in self.walk(inside):
            relative = path[len(inside) :].lstrip("/")
            entries.append(self._entry(path, _absolute(target, relative), relative, place))
        return tuple(sorted(entries, key=lambda entry: entry.path.split("/")))

    def walk(self, inside: str = "") -> Iterator[str]:
        """Every path beneath a folder that may enter an image, relative to the project, sorted, parents first."""
        for name in sorted(found.name for found in (self.root / inside).iterdir()):
            path = f"{inside}/{name}".lstrip("/")
            if ignore.internal(name) or ignore.noise(name):
                continue
            out = self.rules.ignores(path)
            found = self.root / path
            folder = found.is_dir() and not found.is_symlink()
            if out and not (folder and self.rules.takes_back):
                continue
            if self._secret(path):
                continue
            if not out and stat.S_IFMT(found.lstat().st_mode) in {stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR}:
                yield path
            if folder:
                yield from self.walk(path)

    def _secret(self, path: str) -> bool:
        found = self.root / path
        if not ignore.secret(found.name, lambda size: _head(found, size)):
            return False
        if path not in self.left_out:
            self.left_out.append(path)
        return True

    def _entry(self, path: str, target: str, relative: str, place: str) -> Entry:
        found = self.root / path
        if found.is_symlink():
            link = str(found.readlink())
            if link.startswith("/") or normpath(os.path.join(os.path.dirname(relative), link)).startswith(".."):  # noqa: PTH118, PTH120 - a path inside the image
                raise SpecError(
                    [Fault(place, f"{path} is a symbolic link to {link}, which is not copied with it")],
                    hint="copy what it points to, or name the link in .wardianignore",
                )
            return Entry(target, "symlink", 0o777, link)
        return Entry(target, "dir", 0o755, "") if found.is_dir() else _file(target, found)


def _file(target: str, found: Path) -> Entry:
    """One file: 0755 when its owner may execute it, else 0644, whatever this machine's umask is."""
    with found.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    mode = 0o755 if found.stat().st_mode & stat.S_IXUSR else 0o644
    return Entry(target, "file", mode, digest, str(found))


def _absolute(target: str, relative: str) -> str:
    """The path in the image. Behind /bin and its like stand symbolic links: a folder of a layer would replace them."""
    path = normpath(f"/{target}/{relative}").replace("//", "/")
    first, _, rest = path[1:].partition("/")
    return f"/usr/{first}/{rest}".rstrip("/") if first in _MERGED else path


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a regular file; nothing of anything else, or of what cannot be read."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""
