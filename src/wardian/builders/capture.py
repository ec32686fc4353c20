"""The upper folder of an overlay → a tar stream with OCI whiteouts. Runs inside the namespace that owns the folder.

    python -m wardian.builders.capture UPPER --epoch SECONDS [--lower FOLDER]… [--skip PATH]… > layer.tar

Overlay marks what was removed with a character device 0/0 and a folder that hides what lies beneath with an extended
attribute; OCI marks them with ``.wh.NAME`` and ``.wh..wh..opq``. Source: https://docs.kernel.org/filesystems/overlayfs.html
and https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import argparse
import os
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from wardian.builders.clean import dropped
from wardian.errors import WardianError
from wardian.oci import tar

_CHUNK = 1 << 20
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_KEPT = ("security.capability", "user.")
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


def write(upper: Path, out: BinaryIO, *, epoch: int, lowers: Sequence[Path] = (), skip: Collection[str] = ()) -> int:
    """Write the layer; how many entries it has. ``skip`` names paths that are there only because of a bind."""
    count = 0
    for entry, source in entries(upper, epoch=epoch, lowers=lowers, skip=frozenset(skip)):
        out.write(tar.header(entry))
        if source is not None:
            _copy(source, entry, out)
        count += 1
    out.write(tar.END)
    return count


def entries(
    upper: Path, *, epoch: int, lowers: Sequence[Path], skip: frozenset[str]
) -> Iterator[tuple[tar.Entry, Path | None]]:
    """Every entry of the layer in the order of its paths, and where its bytes are."""
    links: dict[tuple[int, int], str] = {}
    for path, found, hides in _walk(upper, "", list(lowers), skip):
        status = found.lstat()
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:  # a socket: nobody listens any more
            continue
        if _is_whiteout(status):
            folder, _, name = path.rpartition("/")
            yield tar.Entry(f"{folder}/{tar.WHITEOUT}{name}".lstrip("/"), mode=0, mtime=epoch), None
            continue
        if found.name.startswith(tar.WHITEOUT):
            raise WardianError(f"/{path}: a file in an image cannot have a name that starts with {tar.WHITEOUT}")
        first = links.setdefault((status.st_dev, status.st_ino), path) if kind != "dir" else path
        if first != path:
            yield _entry(path, "hardlink", status, epoch, link=first), None
            continue
        xattrs = _xattrs(found, path)
        link = str(found.readlink()) if kind == "symlink" else ""
        yield _entry(path, kind, status, epoch, link=link, xattrs=xattrs), found if kind == "file" else None
        if hides:
            yield tar.Entry(f"{path}/{tar.OPAQUE}", mode=0, mtime=epoch), None


def _entry(
    path: str,
    kind: str,
    status: os.stat_result,
    epoch: int,
    *,
    link: str,
    xattrs: tuple[tuple[str, bytes], ...] = (),
) -> tar.Entry:
    return tar.Entry(
        path,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_size if kind == "file" else 0,
        link,
        epoch,
        status.st_uid,
        status.st_gid,
        (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in {"char", "block"} else (0, 0),
        xattrs,
    )


def _walk(folder: Path, inside: str, beneath: list[Path], skip: frozenset[str]) -> Iterator[tuple[str, Path, bool]]:
    """Relative path, real path, and whether it is a folder that hides one beneath; parents first, whiteouts first.

    ``beneath`` are the folders of lower layers that show through this one. A folder that is here only because something
    below it was touched that is not kept, and is as it was, is left out.
    """
    for found in sorted(folder.iterdir(), key=_whiteouts_first):
        path = f"{inside}/{found.name}".lstrip("/")
        if path in skip or path == "run" or dropped(path):
            continue
        if not stat.S_ISDIR(found.lstat().st_mode):
            yield path, found, False
            continue
        lower = _beneath(found.name, beneath)
        hides = bool(lower) and _opaque(found)
        inner = list(_walk(found, path, [] if hides else lower, skip))
        if inner or hides or not lower or _attributes(found) != _attributes(lower[0]):
            yield path, found, hides
            yield from inner


def _beneath(name: str, folders: Sequence[Path]) -> list[Path]:
    """The folders of this name that show through, the top one first."""
    found = []
    for folder in folders:
        try:
            status = (folder / name).lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            break
        found.append(folder / name)
        if _opaque(folder / name):
            break
    return found


def _attributes(folder: Path) -> tuple[object, ...]:
    """What a layer can change of a folder."""
    status = folder.lstat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, _xattrs(folder, folder.name)


def _whiteouts_first(found: Path) -> tuple[bool, bytes]:
    """The order within a folder. Source: OCI layer.md, "Whiteouts" (they should come before their siblings)."""
    return not _is_whiteout(found.lstat()), os.fsencode(found.name)


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _xattrs(found: Path, path: str) -> tuple[tuple[str, bytes], ...]:
    """The attributes that belong to the image: capabilities and the user's; overlay's and the machine's stay here."""
    names = sorted(os.listxattr(found, follow_symlinks=False))
    for name in names:
        if name.startswith(_OVERLAY) and name.rpartition(".")[2] in {"redirect", "metacopy"}:
            raise WardianError(
                f"/{path}: overlay kept a reference to a lower layer in its place (redirect_dir or metacopy)",
                hint="type: echo N > /sys/module/overlay/parameters/redirect_dir",
            )
    kept = [name for name in names if kept_attribute(name)]
    return tuple((name, os.getxattr(found, name, follow_symlinks=False)) for name in kept)


def kept_attribute(name: str) -> bool:
    """Whether an extended attribute belongs to an image."""
    return name.startswith(_KEPT) and not name.startswith(_OVERLAY)


def _opaque(found: Path) -> bool:
    for prefix in _OVERLAY:
        try:
            if os.getxattr(found, f"{prefix}opaque", follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _copy(source: Path, entry: tar.Entry, out: BinaryIO) -> None:
    left = entry.size
    with source.open("rb") as file:
        while left and (piece := file.read(min(left, _CHUNK))):
            out.write(piece)
            left -= len(piece)
    if left:
        raise WardianError(f"/{entry.path} became shorter while it was read")
    out.write(tar.padding(entry.size))


def main(argv: list[str] | None = None) -> int:
    """The program that runs inside the namespace."""
    parser = argparse.ArgumentParser(prog="wardian.builders.capture")
    parser.add_argument("upper", type=Path)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--lower", action="append", default=[], type=Path)
    parser.add_argument("--skip", action="append", default=[])
    chosen = parser.parse_args(argv)
    try:
        count = write(chosen.upper, sys.stdout.buffer, epoch=chosen.epoch, lowers=chosen.lower, skip=chosen.skip)
    except WardianError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stderr.write(f"{count}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
