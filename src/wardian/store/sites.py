"""Where an image has Python packages, and which: read from its layers once and kept beside them."""

import csv
import json
import re
from collections.abc import Callable

from wardian.spec.units import human_size
from wardian.store.contents import read
from wardian.store.listing import keep, kept, laid, place
from wardian.store.store import Store

# Debian's Python has its packages in dist-packages. Source: https://wiki.debian.org/Python
FOLDER = re.compile(r"(?:.*/)?lib(?:64)?/python3(?:\.\d+)?/(?:site|dist)-packages")

LARGE = 200 << 20  # bytes, packed: more take longer than one waits without a word


def sites(store: Store, manifest: str, say: Callable[[str], None] = lambda _: None) -> dict[str, tuple[str, ...]]:
    """Each folder of installed packages in an image, absolute, and the names in it.

    The first time reads all layers; of an image that is large, ``say`` is told so.
    """
    path = place(store, manifest).with_suffix(".sites")
    if (known := kept(path)) is not None:
        return {folder: tuple(names) for folder, names in json.loads(known).items()}
    size = sum(layer.size for layer in store.manifest(manifest).layers)
    if size > LARGE:
        say(f"looking for Python packages in {human_size(size)} of layers, this once")
    whole = laid(store, manifest)
    folders = sorted(
        name for name, placed in whole.entries.items() if placed.entry.kind == "dir" and FOLDER.fullmatch(name)
    )
    found = {f"/{folder}": tuple(whole.names(folder)) for folder in folders}
    keep(store, path, json.dumps(found).encode())
    return found


def imports(store: Store, manifest: str, distribution: str) -> tuple[str, ...]:
    """What one imports of a distribution that is installed in an image; empty when it is not."""
    for folder, names in sites(store, manifest).items():
        for name in names:
            if name.endswith(".dist-info") and _plain(name.removesuffix(".dist-info").rpartition("-")[0]) == _plain(
                distribution
            ):
                record = read(store, manifest, laid(store, manifest), f"{folder}/{name}/RECORD".lstrip("/"))
                return tops((record or b"").decode("utf-8", "replace"))
    return ()


def tops(record: str) -> tuple[str, ...]:
    r"""The top-level packages and modules of a RECORD, sorted.

    >>> tops("rsl_rl/__init__.py,,\nrsl_rl_lib-2.3.dist-info/RECORD,,\n../../../bin/x,,\nsix.py,,")
    ('rsl_rl', 'six.py')
    """
    names = {row[0].partition("/")[0] for row in csv.reader(record.splitlines()) if row}
    return tuple(
        sorted(
            name
            for name in names
            if not name.endswith((".dist-info", ".data", ".pth")) and name not in {"..", "__pycache__"}
        )
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
