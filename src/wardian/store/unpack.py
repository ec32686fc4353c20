"""One layer → a folder in the form that overlayfs reads: whiteouts are devices 0/0, opaque folders carry an attribute.

Layers come from registries and are not trusted: links are resolved inside the destination, as if it were the root, and
nothing is written outside. Runs as a program of its own inside the namespace that owns unpacked trees:

    python -m wardian.store.unpack BLOB DESTINATION --xattr trusted|user [--diff-id D] [--no-owners]
    python -m wardian.store.unpack --measure TREE

Sources: https://github.com/opencontainers/image-spec/blob/main/layer.md, Documentation/filesystems/overlayfs.rst
"""

# Paths are strings here: a layer has tens of thousands of them.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH115, PTH211

import argparse
import errno
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wardian.errors import DigestMismatch, Unavailable, WardianError, told
from wardian.oci.compression import chunks
from wardian.oci.digest import Hasher
from wardian.oci.links import followed
from wardian.oci.tar import OPAQUE, WHITEOUT, Entry
from wardian.oci.untar import Source, entries
from wardian.store.files import explained

_FOLDER = 0o755  # the mode of a folder that a layer only implies
_FLOOR = 4 << 30  # what any layer may unpack to, and how many times its own size a larger one may
_RATIO = 200
_MOST_ENTRIES = 20_000_000
_IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EMLINK)
_IGNORED = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was written."""

    entries: int
    size: int
    diff_id: str


def unpack(blob: Path, destination: Path, *, xattr: str, owners: bool = True, diff_id: str | None = None) -> Unpacked:
    """Write a layer into an empty folder. Raises ``DigestMismatch`` when its content is not the one of ``diff_id``.

    ``xattr`` is the attribute namespace of overlayfs: "trusted" for root, "user" in a user namespace. Without
    ``owners`` everything belongs to whoever unpacks.
    """
    called = f"layer {blob.name[:12]}"
    hasher = Hasher()
    most = max(_FLOOR, _RATIO * blob.stat().st_size)
    written = _Writer(destination, called, xattr, owners=owners)
    with blob.open("rb") as file, explained(destination):
        source = Source(_hashed(_ahead(chunks(file, called)), hasher, most, called), called)
        for entry, content in entries(source):
            written.put(entry, content)
        written.finish()
    if diff_id and hasher.digest != diff_id:
        raise DigestMismatch(
            f"{called} unpacks to {hasher.digest} instead of {diff_id}", hint="type: wardian store verify --repair"
        )
    return Unpacked(written.count, hasher.size, hasher.digest)


def _ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces; the next one is inflated by a thread while this one is written."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, pieces, b"")
        while piece := following.result():
            following = pool.submit(next, pieces, b"")
            yield piece


def _hashed(pieces: Iterator[bytes], hasher: Hasher, most: int, name: str) -> Iterator[bytes]:
    for piece in pieces:
        hasher.write(piece)
        if hasher.size > most:
            raise WardianError(f"{name} unpacks to more than {most} bytes: refused")
        yield piece


class _Writer:
    """Puts entries into a folder; no other process writes there."""

    def __init__(self, root: Path, name: str, xattr: str, *, owners: bool) -> None:
        self.count = 0
        self._root = str(root)
        self._name = name
        self._opaque = f"{xattr}.overlay.opaque"
        self._owners = owners
        self._mine = (os.geteuid(), os.getegid())
        self._real = {"": self._root}  # folder as the layer names it → where it is, links resolved
        self._times: dict[str, int] = {}
        self._puts: dict[str, Callable[[str, Entry], None]] = {
            "dir": self._folder,
            "symlink": self._symlink,
            "hardlink": self._hardlink,
            "char": self._node,
            "block": self._node,
            "fifo": self._node,
        }

    def put(self, entry: Entry, content: Iterator[memoryview]) -> None:
        """Write one entry, over whatever an earlier one put there."""
        self.count += 1
        if self.count > _MOST_ENTRIES:
            raise WardianError(f"{self._name} holds more than {_MOST_ENTRIES} entries: refused")
        folder, _, name = entry.path.rpartition("/")
        if not name:
            return
        try:
            where = self._real.get(folder) or self._resolve(folder)
            if name.startswith(WHITEOUT):
                self._whiteout(where, name)
            elif entry.kind == "file":
                self._file(f"{where}/{name}", entry, content)
            else:
                self._puts[entry.kind](f"{where}/{name}", entry)
        except OSError as error:
            if error.errno not in _IMPOSSIBLE:
                raise
            why = os.strerror(error.errno).lower()
            raise WardianError(f"{self._name} holds {entry.path[:200]!r}, which cannot be written: {why}") from error

    def finish(self) -> None:
        """Give folders their times, which writing into them changed."""
        for path, mtime in self._times.items():
            if os.path.isdir(path) and not os.path.islink(path):
                os.utime(path, (mtime, mtime))

    def _resolve(self, folder: str) -> str:
        """Where a folder really is: links lead from the layer's root, missing folders are made."""
        real = followed(folder, lambda at: self._step(f"{self._root}/{at}", folder))
        if real is None:
            raise WardianError(f"{self._name} holds a path through too many links: {folder[:200]!r}")
        self._real[folder] = f"{self._root}/{real}".rstrip("/")
        return self._real[folder]

    def _step(self, path: str, folder: str) -> str | None:
        """Make sure that ``path`` is a folder; a link's target if it is one."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            os.mkdir(path)
            os.chmod(path, _FOLDER)
            return None
        if stat.S_ISDIR(found.st_mode):
            return None
        if stat.S_ISLNK(found.st_mode):
            return os.readlink(path)
        if _is_whiteout(found):
            self._reborn(path)
            return None
        raise WardianError(f"{self._name} holds files under what is not a folder: {folder[:200]!r}")

    def _file(self, path: str, entry: Entry, content: Iterator[memoryview]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            self._remove(path)
            descriptor = os.open(path, flags, 0o600)
        try:
            for piece in content:
                left = piece
                while left:
                    left = left[os.write(descriptor, left) :]
            self._own(descriptor, entry)
            os.fchmod(descriptor, entry.mode)
            for name, value in entry.xattrs:
                self._attribute(descriptor, name, value)
            os.utime(descriptor, (entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _folder(self, path: str, entry: Entry) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            found = os.lstat(path)
            if _is_whiteout(found):
                self._reborn(path)
            elif not stat.S_ISDIR(found.st_mode):
                self._remove(path)
                os.mkdir(path, 0o700)
        self._own(path, entry)
        os.chmod(path, entry.mode)
        for name, value in entry.xattrs:
            self._attribute(path, name, value)
        self._times[path] = entry.mtime

    def _symlink(self, path: str, entry: Entry) -> None:
        self._replace(path, lambda: os.symlink(entry.link, path))
        self._own(path, entry)
        os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)

    def _hardlink(self, path: str, entry: Entry) -> None:
        folder, _, name = entry.link.rpartition("/")
        origin = f"{self._real.get(folder) or self._resolve(folder)}/{name}"
        if origin == path:
            return
        try:
            if not name or stat.S_ISDIR(os.lstat(origin).st_mode):
                raise WardianError(f"{self._name} holds a hard link to a folder: {entry.path[:200]!r}")
            self._replace(path, lambda: os.link(origin, path, follow_symlinks=False))
        except FileNotFoundError:
            raise WardianError(f"{self._name} holds a hard link to nothing: {entry.path!r} → {entry.link!r}") from None

    def _node(self, path: str, entry: Entry) -> None:
        kind = {"char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}[entry.kind]
        try:
            self._replace(path, lambda: os.mknod(path, kind | 0o600, os.makedev(*entry.device)))
        except PermissionError:
            return  # only the real root may make devices; a sandbox gets its /dev anyway
        self._own(path, entry)
        os.chmod(path, entry.mode)
        os.utime(path, (entry.mtime, entry.mtime))

    def _whiteout(self, where: str, name: str) -> None:
        hidden = name.removeprefix(WHITEOUT)
        if name == OPAQUE:
            self._set_opaque(where)
        elif hidden.startswith(WHITEOUT):
            return  # bookkeeping of aufs
        elif hidden in ("", ".", ".."):
            raise WardianError(f"{self._name} holds a whiteout of {hidden!r}")
        else:
            self._hide(f"{where}/{hidden}")

    def _hide(self, path: str) -> None:
        """Hide what lower layers have at ``path``; what this layer brings itself stays."""
        try:
            os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                self._set_opaque(path)
        except PermissionError as error:
            raise Unavailable(
                "this kernel lets no plain user delete files in layers: it needs Linux 5.8", hint="type: wardian doctor"
            ) from error

    def _reborn(self, path: str) -> None:
        """Put a new folder where a lower one was hidden."""
        os.unlink(path)
        os.mkdir(path)
        os.chmod(path, _FOLDER)
        self._set_opaque(path)

    def _set_opaque(self, path: str) -> None:
        try:
            os.setxattr(path, self._opaque, b"y")
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            raise Unavailable(
                f"the file system of {self._root} has no extended attributes ({self._opaque})",
                hint="set WARDIAN_HOME to a folder on ext4, xfs, btrfs or a recent tmpfs",
            ) from error

    def _replace(self, path: str, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._remove(path)
            make()

    def _remove(self, path: str) -> None:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        # A folder or a link on the way to others may be gone; what stands there next may lead elsewhere.
        self._real = {"": self._root}
        self._times = {folder: at for folder, at in self._times.items() if not f"{folder}/".startswith(f"{path}/")}

    def _own(self, target: int | str, entry: Entry) -> None:
        if not self._owners or (entry.uid, entry.gid) == self._mine:
            return
        try:
            os.chown(target, entry.uid, entry.gid, follow_symlinks=isinstance(target, int))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise Unavailable(
                f"{entry.path} belongs to {entry.uid}:{entry.gid}, which is outside your range of ids",
                hint="give your user 65536 ids in /etc/subuid and /etc/subgid: usermod --add-subuids (see subuid(5))",
            ) from error

    def _attribute(self, target: int | str, name: str, value: bytes) -> None:
        """Set an extended attribute where that is permitted; overlayfs's own would change what the image means."""
        if ".overlay." in name:
            return
        try:
            os.setxattr(target, name, value)
        except OSError as error:
            if error.errno not in _IGNORED:
                raise


def measure(tree: Path) -> dict[str, str | int]:
    """A ``fingerprint`` of what changes when somebody edits a file of a tree, and the ``size`` of all files, in bytes.

    Contents are not read.
    """
    digest, total = hashlib.sha256(), 0
    waiting = [str(tree)]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as found:
            inside = sorted(found, key=lambda entry: entry.name)
        for entry in inside:
            seen = entry.stat(follow_symlinks=False)
            size = 0 if stat.S_ISDIR(seen.st_mode) else seen.st_size
            total += size
            said = (seen.st_mode, seen.st_uid, seen.st_gid, size, seen.st_mtime_ns)
            digest.update(os.fsencode(entry.path[len(str(tree)) :]) + f"\0{said}\n".encode())
            if stat.S_ISDIR(seen.st_mode):
                waiting.append(entry.path)
    return {"fingerprint": digest.hexdigest(), "size": total}


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def main(argv: Sequence[str] | None = None) -> int:
    """The program: prints what was written as JSON, or one line of error."""
    parser = argparse.ArgumentParser(prog="wardian.store.unpack")
    parser.add_argument("blob", type=Path)
    parser.add_argument("destination", type=Path, nargs="?")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--xattr", choices=("trusted", "user"), default="trusted")
    parser.add_argument("--diff-id")
    parser.add_argument("--no-owners", action="store_true")
    given = parser.parse_args(argv)
    if given.measure:
        json.dump(measure(given.blob), sys.stdout)
        return 0
    try:
        done = unpack(
            given.blob, given.destination, xattr=given.xattr, owners=not given.no_owners, diff_id=given.diff_id
        )
    except WardianError as error:
        json.dump(told(error), sys.stdout)
        return 1
    json.dump({**measure(given.destination), "entries": done.entries, "size": done.size}, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
