"""Layers as folders, unpacked once for all images that have them.

A folder is whole when its marker stands beside it: the tree is made under a temporary name, renamed, and then marked.
Trees belong to the namespace that made them (see ``hosts.sandbox.Namespace``); each kind has its own, because a plain
user's tree has other owners and other overlayfs attributes than root's.
"""

import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wardian.command import Command, Result
from wardian.errors import WardianError, retold
from wardian.hosts.base import Host
from wardian.hosts.sandbox import Namespace
from wardian.oci.digest import hexadecimal
from wardian.store.files import WORK, explained, write_file
from wardian.store.store import Store

_DONE = ".done"
_NONE = f"sha256:{'0' * 64}"
_PROGRAM = (sys.executable, "-P", "-m", "wardian.store.unpack")


class Layer(NamedTuple):
    """A layer to unpack: the digest of its blob, and of the tar in it."""

    digest: str
    diff_id: str


def layers_of(store: Store, manifest: str) -> list[Layer]:
    """The layers of an image, from the bottom up."""
    blobs = store.manifest(manifest).layers
    return [Layer(blob.digest, diff_id) for blob, diff_id in zip(blobs, store.diff_ids(manifest), strict=True)]


def ensure(store: Store, host: Host, inside: Namespace, layers: Sequence[tuple[str, str]]) -> list[Path]:
    """The folders of layers, given as (digest, DiffID), in their order; those that are not there are unpacked now.

    Nobody prunes them before this process ends.
    """
    wanted = [Layer(*layer) for layer in layers]
    while missing := [
        layer for layer in dict.fromkeys(wanted) if not leased(store, folder(store, inside, layer.diff_id))
    ]:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(lambda layer: _unpack_once(store, host, inside, layer), missing))
    return [folder(store, inside, layer.diff_id) for layer in wanted]


def stack(store: Store, host: Host, inside: Namespace, layers: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The folders of layers, given from the bottom up, as overlayfs wants them: the top one first, each once.

    It does not see that a layer's root is opaque: what lies beneath such a one is left out.
    """
    found: list[str] = []
    for path in dict.fromkeys(str(path) for path in reversed(ensure(store, host, inside, layers))):
        found.append(path)
        if f"{inside.xattr}.overlay.opaque" in os.listxattr(path):
            break
    return tuple(found)


def leased(store: Store, tree: Path) -> bool:
    """Whether a tree is there and whole; then nobody prunes it before this process ends."""
    if not is_done(tree):
        return False
    try:
        store.lease(marker(tree))
    except FileNotFoundError:  # pruned at this moment
        return False
    return True


def folder(store: Store, inside: Namespace, diff_id: str) -> Path:
    """Where a layer is unpacked, or would be."""
    kind = "" if inside.kind == "root" else f".{inside.kind}"
    return store.unpacked / f"{hexadecimal(diff_id)}{kind}"


def companion(tree: Path, key: str) -> Path:
    """Where something lies that was made of an unpacked layer, and goes with it; ``key`` is hexadecimal, 16 digits."""
    return tree.with_name(f"{tree.name[:64]}.{key}{tree.name[64:]}")


def is_done(tree: Path) -> bool:
    """Whether a tree is there, and whole."""
    return marker(tree).exists() and tree.is_dir()


def marker(tree: Path) -> Path:
    """The file that says that a tree is whole."""
    return tree.with_name(tree.name + _DONE)


def noted(tree: Path) -> dict[str, Any]:
    """What its maker wrote into a tree's marker; nothing when that is not there, or is damaged."""
    try:
        said = json.loads(marker(tree).read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def trees(store: Store, inside: Namespace) -> list[Path]:
    """Every folder that this kind of namespace unpacked, finished or not."""
    wanted = folder(store, inside, _NONE).name.removeprefix(hexadecimal(_NONE))
    found = store.unpacked.iterdir() if store.unpacked.is_dir() else ()
    return sorted(
        path for path in found if re.fullmatch(rf"[0-9a-f]{{64}}(\.[0-9a-f]{{16}})?{re.escape(wanted)}", path.name)
    )


def changed(host: Host, inside: Namespace, tree: Path) -> str | None:
    """What somebody did to a finished tree; None when it is as it was made."""
    expected = noted(tree).get("fingerprint")
    if not isinstance(expected, str):
        return "has a damaged marker"
    same = measured(host, inside, tree)["fingerprint"] == expected
    return None if same else "was changed since it was unpacked"


def measured(host: Host, inside: Namespace, tree: Path) -> dict[str, Any]:
    """What a marker holds: the ``fingerprint`` of a tree, and the ``size`` of its files in bytes."""
    said = host.run(Command((*inside.prefix, *_PROGRAM, "--measure", str(tree)))).check()
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def removed_if_free(store: Store, host: Host, inside: Namespace, tree: Path) -> bool:
    """Remove a tree unless a running process uses it, or is about to mark it; whether it is gone."""
    with store.lock(_lock(tree)):
        try:
            with marker(tree).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(host, inside, tree)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            remove(host, inside, tree)
    return True


def remove(host: Host, inside: Namespace, tree: Path) -> None:
    """Remove a tree from inside the namespace that owns its files; the marker goes first."""
    marker(tree).unlink(missing_ok=True)
    host.run(Command((*inside.prefix, "rm", "-rf", "--", str(tree)), changes=True)).check()


def _lock(tree: Path) -> str:
    return f"unpack-{tree.name}"


@contextmanager
def making(store: Store, host: Host, inside: Namespace, trees: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Hold back other makers of these trees; yield an empty folder for each that is not there yet, by the tree.

    What ``finish`` does not move into place is removed with the block.
    """
    with ExitStack() as stack:
        for tree in sorted(trees):
            stack.enter_context(store.lock(_lock(tree)))
        missing = [tree for tree in trees if not is_done(tree)]
        for tree in missing:
            if tree.exists() or marker(tree).exists():
                remove(host, inside, tree)
        if not missing:
            yield {}
            return
        scratch = store.temporary(WORK)
        stack.callback(host.run, Command((*inside.prefix, "rm", "-rf", "--", str(scratch)), changes=True))
        fresh = {tree: scratch / str(at) for at, tree in enumerate(missing)}
        for path in fresh.values():
            path.mkdir(mode=0o755)
            path.chmod(0o755)
        yield fresh


def finish(store: Store, fresh: Path, tree: Path, written: Mapping[str, Any]) -> None:
    """Make a whole tree visible, and mark it with what its maker wrote."""
    with explained(store.root):
        fresh.rename(tree)
        write_file(marker(tree), json.dumps(written, sort_keys=True).encode(), scratch=store.scratch)


def _unpack_once(store: Store, host: Host, inside: Namespace, layer: Layer) -> None:
    tree = folder(store, inside, layer.diff_id)
    with making(store, host, inside, [tree]) as made:
        for fresh in made.values():
            if not store.has(layer.digest):
                raise WardianError(f"layer {layer.digest} is not in the store", hint="build or pull the image again")
            finish(store, fresh, tree, _read(host.run(_command(store, inside, layer, fresh)), layer))


def _command(store: Store, inside: Namespace, layer: Layer, target: Path) -> Command:
    program = (*_PROGRAM, str(store.path(layer.digest)), str(target))
    options = ("--xattr", inside.xattr, "--diff-id", layer.diff_id)
    owners = ("--no-owners",) if inside.kind == "single" else ()
    return Command((*inside.prefix, *program, *options, *owners), changes=True)


def _read(result: Result, layer: Layer) -> dict[str, Any]:
    """What the unpacking program wrote; raises what it raised."""
    try:
        said = json.loads(result.stdout)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        result.check()
        raise WardianError(f"unpacking layer {layer.digest} did not end as it should")
    if "error" in said:
        raise retold(said)
    return said
