"""Compile the modules of unpacked layers. The image's own Python (3.7 or newer) runs this file, in a sandbox.

    python -I compiling.py LAYERS MADE NAME…

For each NAME, what lies in LAYERS/NAME on this Python's ``sys.path`` is compiled into MADE/NAME: nothing but
``__pycache__`` folders and the folders above them, which look as in the layer. Folders called ``test`` and ``tests``
are left out: no program imports them each time.

Each file says which source it was made of, and Python looks (PEP 552, checked hash): a module that somebody edits, in a
shell or in a layer above, is compiled anew, as without this.
"""

# Paths are strings here: there are thousands of files.
# ruff: noqa: PTH101, PTH112, PTH113, PTH114, PTH116, PTH118, PTH120

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
from typing import Iterator  # noqa: UP035 - Python 3.7

SKIPPED = {"__pycache__", "test", "tests"}


def roots(folders: list[str]) -> list[str]:
    """The folders that lie in none of the others."""
    real = sorted({folder.rstrip("/") + "/" for folder in folders if os.path.isdir(folder)})
    return [one for one in real if not any(one != other and one.startswith(other) for other in real)]


def modules(tree: str, root: str) -> Iterator[tuple[str, str]]:
    """Every module of a tree beneath one folder that has no bytecode yet: its path without, and with the tree's."""
    if os.path.realpath(tree + root) != (tree + root).rstrip("/"):
        return  # a symlink is on the way: a folder in its place would hide it
    for folder, inside, files in os.walk(tree + root):
        inside[:] = [one for one in inside if one not in SKIPPED]
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith(".py") and os.path.isfile(path) and not os.path.islink(path):
                if os.path.lexists(importlib.util.cache_from_source(path)):
                    continue
                yield path[len(tree) :], path


def compile_all(jobs: list[tuple[str, str, str]]) -> None:
    """Compile (target, source, folder) triples. A module that does not compile has no bytecode."""
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    for target, source, made in jobs:
        cache = made + importlib.util.cache_from_source(target)
        try:
            py_compile.compile(source, cache, dfile=target, doraise=True, invalidation_mode=mode)
        except Exception:  # noqa: BLE001, S112 - who imports it is told what is wrong with it
            continue


def alike(made: str, layer: str) -> None:
    """Let each folder have the owner, mode and time of the layer's; a new one, those of the folder it is in."""
    for folder, _, _ in os.walk(made, topdown=False):
        same = layer + folder[len(made) :]
        seen = os.stat(same if os.path.isdir(same) else os.path.dirname(same))
        os.chown(folder, seen.st_uid, seen.st_gid)
        os.chmod(folder, seen.st_mode & 0o7777)
        os.utime(folder, ns=(seen.st_mtime_ns, seen.st_mtime_ns))


def main(layers: str, made: str, names: list[str]) -> None:
    """Compile on all processors; one whose process crashes has less bytecode, and no more."""
    jobs = [
        (target, source, f"{made}/{name}")
        for name in names
        for root in roots(sys.path)
        for target, source in modules(f"{layers}/{name}", root)
    ]
    workers = os.cpu_count() or 1
    children = []
    for at in range(workers):
        child = os.fork()
        if child == 0:
            compile_all(jobs[at::workers])
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    for name in names:
        alike(f"{made}/{name}", f"{layers}/{name}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
