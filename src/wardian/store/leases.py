"""What this process says it is using, until it ends or lets go: shared locks on files, which nobody then removes."""

import errno
import fcntl
import os
import threading
import weakref
from pathlib import Path


class Leases:
    """The files that are leased. Safe for threads; all are let go when this is collected."""

    def __init__(self) -> None:
        self._held: dict[Path, weakref.finalize[..., Leases]] = {}  # each closes its file
        self._guard = threading.Lock()

    def take(self, path: Path) -> None:
        """Say that ``path`` is in use. Raises ``FileNotFoundError`` when it is not there."""
        with self._guard:
            if path in self._held:
                return
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError as error:
                if error.errno == errno.EMFILE:  # a lease less does no harm unless somebody prunes just now
                    return
                raise
            lease = weakref.finalize(self, os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if not _is_at(path, descriptor):
                lease()
                raise FileNotFoundError(errno.ENOENT, "removed before it could be leased", str(path))
            self._held[path] = lease

    def give_back(self, path: Path) -> None:
        """Use it no more."""
        with self._guard:
            if lease := self._held.pop(path, None):
                lease()


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
