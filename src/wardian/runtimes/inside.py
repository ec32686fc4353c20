"""What an engine's container gets from this machine: binds, passwd and group files, a home, a folder to start in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wardian.errors import EngineFailed
from wardian.hosts.sandbox import ordered
from wardian.oci.links import followed
from wardian.plan.containers import Bind, Container
from wardian.plan.identity import group, passwd
from wardian.runtimes.base import Missing, Place
from wardian.runtimes.program import KERNELS, UNKNOWN, missing, on_host
from wardian.store.files import remove_tree
from wardian.store.listing import Listing, Seen, listing


class Binder(Protocol):
    """What is asked of an engine here."""

    @property
    def name(self) -> str:
        """The name of its program."""
        ...

    @property
    def tmpfs_owner(self) -> bool:
        """Whether a tmpfs can be given to a user."""
        ...

    def same_files(self) -> bool:
        """Whether folders of this machine can be bound."""
        ...

    def owns(self, uid: int) -> bool:
        """Whether we can give a folder to this uid of the container, so that it may write there."""
        ...


@dataclass(frozen=True, slots=True)
class Inside:
    """What is bound and mounted, and what is wrong with the program."""

    binds: tuple[Bind, ...]
    tmpfs: tuple[str, ...]
    missing: Missing | None


@contextmanager
def inside(engine: Binder, container: Container, place: Place) -> Iterator[Inside]:
    """Prepare it in a scratch folder that goes with the block."""
    image = listing(place.store, container.image)
    if not engine.same_files() and container.binds:
        first = container.binds[0]
        raise EngineFailed(
            f"{engine.name} runs on another machine: {first.source} of this one cannot be bound there",
            hint="use --engine sandbox, or --no-project and no mounts",
        )
    view = _View(image, ordered(container.binds))
    scratch = place.store.temporary()
    try:
        fault = missing(container.argv, container.env, container.workdir, view.look)
        binds, tmpfs = _folders(engine, container, view, scratch)
        if engine.same_files():
            binds = (*_accounts(container, image, scratch), *binds)
        yield Inside((*ordered(container.binds), *binds), tmpfs, fault)
    finally:
        _clear(scratch)


class _View:
    """The file system that the program will see: the image, and binds over it. Raises for a bind that cannot be."""

    def __init__(self, image: Listing, binds: list[Bind]) -> None:
        self._image = image
        self._binds: dict[str, str] = {}
        for bind in binds:
            source, target = Path(bind.source), self.resolve(bind.target)
            if not source.exists():
                raise EngineFailed(f"cannot bind {bind.source} to {bind.target}: it does not exist")
            there = self._at(target)
            if there is not None and there.kind != "unknown" and (there.kind == "dir") != source.is_dir():
                raise EngineFailed(f"cannot bind {bind.source} to {bind.target}: only one of them is a folder")
            self._binds[target] = bind.source

    def resolve(self, path: str) -> str:
        """The path without links, from the root, no slash before it."""
        real = followed(path, self._link)
        if real is None:
            raise EngineFailed(f"{path} in the image is a loop of symlinks")
        return real

    def look(self, path: str) -> Seen | None:
        """What lies at a path; links are followed."""
        real = self.resolve(path)
        return UNKNOWN if f"/{real}".startswith(KERNELS) else self._at(real)

    def _at(self, real: str) -> Seen | None:
        host = self._bound(real)
        return on_host(host) if host else self._image.at(real)

    def _link(self, path: str) -> str | None:
        if path in self._binds:
            return None
        host = self._bound(path)
        if host is None:
            return self._image.link(path)
        return str(host.readlink()) if host.is_symlink() else None

    def _bound(self, real: str) -> Path | None:
        for target in sorted(self._binds, key=len, reverse=True):
            if real == target or real.startswith(f"{target}/"):
                return Path(self._binds[target] + real[len(target) :])
        return None


def _accounts(container: Container, image: Listing, scratch: Path) -> Iterator[Bind]:
    """Passwd and group with the user in them, where the image's own lack them."""
    shell = "/bin/bash" if image.resolve("bin/bash") and image.at(image.resolve("bin/bash") or "") else "/bin/sh"
    texts = (passwd(image.accounts[0], container.user, shell), group(image.accounts[1], container.user))
    for name, before, text in zip(("passwd", "group"), image.accounts, texts, strict=True):
        if text != before:
            path = scratch / name
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
            path.chmod(0o444 if container.user.uid else 0o644)  # in a rootless Podman its owner is the program's user
            yield Bind(str(path), f"/etc/{name}")


def _folders(
    engine: Binder, container: Container, view: _View, scratch: Path
) -> tuple[tuple[Bind, ...], tuple[str, ...]]:
    """A home for the user alone, and the workdir where the image has none: folders of the scratch, or a tmpfs."""
    user = container.user
    needed = {user.home: 0o700} if view.look(user.home) is None else {}
    if view.look(container.workdir) is None:
        needed[container.workdir] = 0o755
    binds, tmpfs = [], []
    for at, (target, mode) in enumerate(needed.items()):
        if engine.same_files() and engine.owns(user.uid):
            folder = scratch / f"folder-{at}"
            folder.mkdir(mode=mode)
            give(folder, user.uid, user.gid)
            binds.append(Bind(str(folder), target))
        elif engine.tmpfs_owner:
            tmpfs.append(f"{target}:rw,exec,uid={user.uid},gid={user.gid},mode={mode:o}")
        else:
            tmpfs.append(f"{target}:rw,exec,mode=1777")
    return tuple(binds), tuple(tmpfs)


def give(folder: Path, uid: int, gid: int) -> None:
    """Make a folder a user's, when we are root and it is not."""
    if os.getuid() == 0 and (uid, gid) != (0, 0):
        os.chown(folder, uid, gid)


def _clear(scratch: Path) -> None:
    try:
        remove_tree(scratch)
    except OSError:
        return
