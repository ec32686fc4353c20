"""Folders in which a system step works: only a namespace can remove what belongs to subordinate ids."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wardian.hosts.base import Host
from wardian.store.files import WORK, abandoned, temporary_name
from wardian.store.store import Store

if TYPE_CHECKING:
    from wardian.hosts.sandbox import Namespace


@contextmanager
def scratch(
    store: Store, host: Host, namespace: "Callable[[], Namespace]", parent: Path | None = None
) -> Iterator[Path]:
    """A new folder in ``parent``, by default the store's ``tmp``; removed at the end."""
    if parent is None:
        folder = store.temporary(WORK)
    else:
        folder = parent / f"{temporary_name()}{WORK}"
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder, host, namespace)


def sweep(store: Store, host: Host, namespace: "Callable[[], Namespace]", parent: Path | None = None) -> None:
    """Remove what killed builds left in these places: blobs that were never finished, and work folders.

    The folder of a run stays: its program may outlive the process that began it.
    """
    for path in [*store.scratch.glob("*"), *(parent.glob(f"*{WORK}") if parent else ())]:
        if (path.is_file() or path.name.endswith(WORK)) and abandoned(path.name, 0):
            _remove(path, host, namespace)


def _remove(path: Path, host: Host, namespace: "Callable[[], Namespace]") -> None:
    if path.is_file():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        host.run(namespace().command("rm", "-rf", "--one-file-system", "--", str(path)))
