"""Folders in which a system step works: only a namespace can remove what belongs to subordinate ids."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wardian.hosts.base import Host
from wardian.hosts.sandbox import Namespace
from wardian.store.store import Store


@contextmanager
def scratch(store: Store, host: Host, namespace: Callable[[], Namespace], parent: Path | None = None) -> Iterator[Path]:
    """A new folder in ``parent``, by default the store's ``tmp``; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="wardian-", dir=parent)) if parent else store.temporary()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            host.run(namespace().command("rm", "-rf", "--one-file-system", "--", str(folder)))
