"""The upper folder of an overlay → a tar stream with OCI whiteouts. Runs inside the namespace that owns the folder.

    python -m wardian.builders.capture UPPER --epoch SECONDS [--skip PATH]… > layer.tar

Overlay marks what was removed with a character device 0/0 and a folder that hides what lies beneath with an extended
attribute; OCI marks them with ``.wh.NAME`` and ``.wh..wh..opq``. Source: https://docs.kernel.org/filesystems/overlayfs.html
and https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import argparse
import os
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from wardian.builders.clean import dropped
from wardian.errors import WardianError
from wardian.oci import tar

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
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


def write(upper: Path, out: BinaryIO, *, epoch: int, skip: Collection[str] = ()) -> int:
    """Write the layer; how many entries it has. ``skip`` names paths that are there only because of a bind."""
    count = 0
    for entry, source in entries(upper, epoch=epoch, skip=frozenset(skip)):
        out.write(tar.header(entry))
        if source is not None:
            _copy(source, entry, out)
        count += 1
    out.write(tar.END)
    return count


def entries(upper: Path, *, epoch: int, skip: frozenset[str]) -> Iterator[tuple[tar.Entry, Path | None]]:
    """Every entry of the layer in the order of its paths, and where its bytes are."""
    links: dict[tuple[int, int], str] = {}
    for path, found in _walk(upper, "", skip):
        status = found.lstat()
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:  # a socket: nobody listens any more
            continue
        if _is_whiteout(status):
            folder, _, name = path.rpartition("/")
            yield tar.Entry(f"{folder}/{WHITEOUT}{name}".lstrip("/"), mode=0, mtime=epoch), None
            continue
        if found.name.startswith(WHITEOUT):
            raise WardianError(f"/{path}: a file in an image cannot have a name that starts with {WHITEOUT}")
        first = links.setdefault((status.st_dev, status.st_ino), path) if kind != "dir" else path
        if first != path:
            yield _entry(path, "hardlink", status, epoch, link=first), None
            continue
        xattrs = _xattrs(found, path)
        link = str(found.readlink()) if kind == "symlink" else ""
        yield _entry(path, kind, status, epoch, link=link, xattrs=xattrs), found if kind == "file" else None
        if kind == "dir" and _opaque(found):
            yield tar.Entry(f"{path}/{OPAQUE}", mode=0, mtime=epoch), None


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


def _walk(folder: Path, inside: str, skip: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """Relative path and real path of everything beneath, parents first, whiteouts before their siblings."""
    for found in sorted(folder.iterdir(), key=_whiteouts_first):
        path = f"{inside}/{found.name}".lstrip("/")
        if path in skip or path == "run" or dropped(path):
            continue
        if not stat.S_ISDIR(found.lstat().st_mode):
            yield path, found
            continue
        beneath = list(_walk(found, path, skip))
        if beneath or not _only_compiled(found):
            yield path, found
            yield from beneath


def _only_compiled(folder: Path) -> bool:
    """Whether nothing but compiled Python, which is dropped, is the reason why a folder is here."""
    names = [found.name for found in folder.iterdir()]
    folders = [found for found in folder.iterdir() if found.is_dir() and not found.is_symlink()]
    return "__pycache__" in names or (
        bool(folders) and len(folders) == len(names) and all(map(_only_compiled, folders)) and not _opaque(folder)
    )


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
    kept = [name for name in names if name.startswith(_KEPT) and not name.startswith(_OVERLAY)]
    return tuple((name, os.getxattr(found, name, follow_symlinks=False)) for name in kept)


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
    parser.add_argument("--skip", action="append", default=[])
    chosen = parser.parse_args(argv)
    try:
        count = write(chosen.upper, sys.stdout.buffer, epoch=chosen.epoch, skip=chosen.skip)
    except WardianError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stderr.write(f"{count}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
