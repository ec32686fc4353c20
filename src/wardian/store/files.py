"""Files that are either there whole or not at all: temporary name, fsync, rename."""

import errno
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from wardian.errors import DigestMismatch, WardianError
from wardian.oci.digest import Hasher, hexadecimal

WORK = "-work"  # ends the temporary name of a folder that nobody needs once its maker is gone
ROOM = "type: wardian store prune, or set WARDIAN_HOME to a folder on another disk"
FULL = {errno.ENOSPC: "no space is left on the disk", errno.EDQUOT: "the disk quota is used up"}
_CLOSED = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
}
_PATIENCE, _LONGEST_RUN = 7 * 86400, 60 * 86400  # seconds; the latter is longer than clusters let a job run


def is_full(said: str) -> bool:
    """Whether a program's last words are those of a full disk."""
    return os.strerror(errno.ENOSPC) in said


def disk_error(error: OSError) -> WardianError | None:
    """The line for a full or closed disk, whatever was written there; None for any other failure.

    >>> print(disk_error(OSError(errno.ENOSPC, "", "/data/x")))
    no space is left on the disk: /data/x
    """
    said = FULL.get(error.errno or 0) or _CLOSED.get(error.errno or 0)
    if said is None:
        return None
    hint = "free some space there" if error.errno in FULL else "look at who may write there"
    place = error.filename2 or error.filename  # the second is a copy's target
    return WardianError(f"{said}: {place}" if place else said, hint=hint)


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn a full or closed disk into one line that names the store and what to do."""
    try:
        yield
    except OSError as error:
        if said := FULL.get(error.errno or 0):
            raise WardianError(
                f"{said}: cannot write to the store at {root}",
                hint=ROOM,
            ) from error
        if said := _CLOSED.get(error.errno or 0):
            raise WardianError(
                f"{said}: cannot write to the store at {root} ({error.filename or root})",
                hint="set WARDIAN_HOME to a folder that you may write to",
            ) from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise WardianError(
                f"the store at {root} needs a folder where there is a file: {error.filename}",
                hint="move that file, or set WARDIAN_HOME",
            ) from error
        raise


def temporary_name() -> str:
    """A fresh name that tells which process of which machine made it, so that a dead one's leavings can be removed."""
    return f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}"


def abandoned(name: str, age: float) -> bool:
    """Whether the maker of a temporary name is gone, or a download is not continued any more; ``age`` is in seconds."""
    host, _, pid = name.rpartition(".")[0].rpartition(".")
    if not host:  # "<hash>.partial"
        return age > _PATIENCE
    if host != socket.gethostname() or not pid.isdigit():
        return age > _LONGEST_RUN
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        pass
    return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(target: Path, content: bytes, *, scratch: Path, mode: int = 0o644) -> None:
    """Put ``content`` at ``target``, atomically; ``scratch`` is a folder of the same file system."""
    temporary = scratch / temporary_name()
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def remove_tree(path: Path) -> None:
    """Remove a folder that this process's user owns, also when folders in it are not writable."""
    for folder, names, _ in os.walk(path):
        for name in names:
            inner = Path(folder, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(path)


def write_all(file: BinaryIO, data: bytes, root: Path) -> None:
    """Write all of ``data`` to an unbuffered file of the store at ``root``. Raises ``WardianError`` for a full disk."""
    with explained(root):
        left = memoryview(data)
        while left:
            left = left[file.write(left) or 0 :]


class Guarded:
    """A sink that ends a layer when its check raises: the build was stopped."""

    def __init__(self, file: BinaryIO, root: Path, check: Callable[[], None]) -> None:
        self._file = file
        self._root = root
        self._check = check

    def write(self, data: bytes) -> int:
        """Write all bytes. Raises ``WardianError`` when the disk is full."""
        self._check()
        write_all(self._file, data, self._root)
        return len(data)


@contextmanager
def creating(path: Path, root: Path, check: Callable[[], None]) -> Iterator[Guarded]:
    """A new file of the store at ``root``; ``check`` is called before each write."""
    with explained(root):
        file = cast("BinaryIO", path.open("xb", buffering=0))
    with file:
        yield Guarded(file, root, check)


class BlobWriter:
    """A file object for one new blob: visible with ``commit``; leaving the block without it leaves nothing."""

    def __init__(self, root: Path, scratch: Path, blobs: Path) -> None:
        self._root = root
        self._blobs = blobs
        self._path = scratch / temporary_name()
        self._hasher = Hasher()
        self._file = cast("BinaryIO", self._path.open("xb", buffering=0))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._hasher.size

    def write(self, data: bytes) -> int:
        """Append bytes. Raises ``WardianError`` when the disk is full."""
        write_all(self._file, data, self._root)
        return self._hasher.write(data)

    def commit(self, expected: str | None = None) -> str:
        """Make the blob visible under its digest and return that. With ``expected``, another digest is an error.

        A file that already stands there is replaced: should someone have touched it, it is whole again.
        """
        digest = self._hasher.digest
        if expected is not None and digest != expected:
            raise DigestMismatch(f"expected {expected}, got {digest} ({self.size} bytes)")
        with explained(self._root):
            os.fchmod(self._file.fileno(), 0o444)
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(self._blobs / hexadecimal(digest))
            sync_folder(self._blobs)
        return digest

    def __enter__(self) -> "BlobWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
