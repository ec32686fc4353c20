"""Python bytecode beside unpacked layers, so that no run compiles again what an image brings.

Images hold none: it would be a second copy of each module to push, and is as quickly made. A container's writable
folder ends with it, so each run would compile torch's two thousand modules anew (bench/startup.py has the figures).
So each layer gets a companion, once: a folder to lie over it that holds ``__pycache__`` folders and nothing else.
Builds do not see it.

It is the image's Python that compiles, in a sandbox of the layers up to its own: what lies over these could be another
image's, and has no say in what is kept for all. The companion's name holds the digests of those layers.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from wardian.errors import WardianError
from wardian.hosts import sandbox
from wardian.hosts.rootfs import Tree
from wardian.plan.containers import Bind
from wardian.runtimes import compiling
from wardian.runtimes.base import Place
from wardian.store import unpacked

_FORM = "1"  # what companions are made of; another number makes all of them anew
_NAMES = ("python", "python3")
_HERE, _LAYERS, _MADE = "/wardian/compiling.py", "/wardian/layers", "/wardian/made"


def with_bytecode(lowers: tuple[str, ...], path: str, place: Place, inside: sandbox.Namespace) -> tuple[str, ...]:
    """Unpacked layers, the top one first, each beneath its companion; as they are where there is no Python.

    ``path`` is the container's PATH.
    """
    python = interpreter(lowers, path)
    if python is None:
        return lowers
    beneath = _least(lowers, python)
    key = _key(beneath, python)
    wanted = {lower: unpacked.companion(Path(lower), key) for lower in lowers}
    if missing := {lower: tree for lower, tree in wanted.items() if not unpacked.leased(place.store, tree)}:
        try:
            _make(missing, beneath, python, place, inside)
        except (WardianError, OSError):
            return lowers  # a store that is read-only, or full: what is lost is time
        if not all(unpacked.leased(place.store, tree) for tree in missing.values()):
            return lowers  # pruned at this moment
    return tuple(path for lower in lowers for path in (*_worth(wanted[lower]), lower))


def interpreter(lowers: Sequence[str], path: str) -> str | None:
    """The Python that a program finds first, as a path in the image; None where there is none."""
    tree = Tree(lowers)
    places = [f"{folder}/{name}" for folder in path.split(":") if folder.startswith("/") for name in _NAMES]
    return next((one for one in places if (found := tree.find(one)) and found.is_file()), None)


def _least(lowers: tuple[str, ...], python: str) -> tuple[str, ...]:
    """The fewest layers, from the bottom up, in which the interpreter is whole."""
    for count in range(1, len(lowers)):
        beneath = lowers[-count:]
        if (found := Tree(beneath).find(python)) and found.is_file():
            return beneath
    return lowers


def _key(beneath: Sequence[str], python: str) -> str:
    said = json.dumps([_FORM, python, [Path(lower).name for lower in beneath]])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _worth(tree: Path) -> tuple[str, ...]:
    """The companion, unless it is empty."""
    return (str(tree),) if any(tree.iterdir()) else ()


def _make(
    trees: dict[str, Path], beneath: tuple[str, ...], python: str, place: Place, inside: sandbox.Namespace
) -> None:
    store, host = place.store, place.host
    with unpacked.making(store, host, inside, list(trees.values())) as made, ExitStack() as stack:
        if not made:  # another process was faster
            return
        tasks = stack.enter_context(place.progress())
        stack.enter_context(tasks.task("Python modules of the image, compiled once"))
        run_dir = stack.enter_context(sandbox.folder(beneath))
        layer = {tree: lower for lower, tree in trees.items()}
        names = {tree: str(at) for at, tree in enumerate(made)}
        script = Bind(compiling.__file__, _HERE, read_only=True)
        read = [Bind(layer[tree], f"{_LAYERS}/{name}", read_only=True) for tree, name in names.items()]
        written = [Bind(str(made[tree]), f"{_MADE}/{name}") for tree, name in names.items()]
        box = sandbox.Sandbox(
            beneath,
            run_dir,
            (python, "-I", "-W", "ignore", _HERE, _LAYERS, _MADE, *names.values()),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            binds=(script, *read, *written),
            network=False,
        )
        host.run(sandbox.command(box, inside)).check()
        for tree, fresh in made.items():
            measured = unpacked.measured(host, inside, fresh)
            unpacked.finish(store, fresh, tree, {**measured, "made_by": f"sha256:{Path(beneath[0]).name[:64]}"})
