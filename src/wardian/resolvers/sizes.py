"""The size of every locked file. Not every index tells it, and the planner gives big wheels a layer of their own."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from wardian.lock.pylock import Pinned
from wardian.resolvers.fetch import WORKERS, Fetcher, File


def sized(pins: Sequence[Pinned], fetcher: Fetcher, before: Sequence[Pinned] = ()) -> tuple[Pinned, ...]:
    """The pins with their sizes: as resolved, as locked ``before``, else as the file's own place tells."""
    known = {one.sha256: one.size for one in before}

    def ask(one: Pinned) -> Pinned:
        size = one.size if one.size is not None else known.get(one.sha256)
        if size is None and one.kind == "wheel":
            size = fetcher.size_of(File(one.filename, one.sha256, one.url, None, "wheel", one.name, one.version))
        return replace(one, size=size)

    with ThreadPoolExecutor(WORKERS) as pool:
        return tuple(pool.map(ask, pins))
