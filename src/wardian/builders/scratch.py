"""Folders in which a system step works: only a namespace can remove what belongs to subordinate ids."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wardian.hosts.base import Host
from wardian.hosts.sandbox import Namespace
from wardian.store.store import Store


@contextmanager
def scratch(store: Store, host: Host, namespace: Callable[[], Namespace]) -> Iterator[Path]:
    """A new folder in the store's ``tmp``, removed at the end."""
    folder = store.temporary()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            host.run(namespace().command("rm", "-rf", "--one-file-system", "--", str(folder)))
