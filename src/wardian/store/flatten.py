"""An image as one folder of files, with every layer laid over the ones beneath.

As root the files get their owners, device files and attributes. Anyone else gets files of his own: what only root can
make is left out, and counted.
"""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from wardian.errors import WardianError
from wardian.oci.tar import Entry
from wardian.store.contents import Contents, contents, walk
from wardian.store.export import EPOCH, blobs, replacing_folder, verified
from wardian.store.store import Store, Tagged

_CHUNK = 1 << 20
_LENT = stat.S_ISUID | stat.S_ISGID


def export_folder(store: Store, image: Tagged, target: Path, *, as_root: bool) -> tuple[str, ...]:
    """Write the files of an image to a new folder; what was left out, in words. Raises when the folder is not empty."""
    for blob in blobs(store, image.descriptor):
        with verified(store, blob) as content:
            while content.read(_CHUNK):
                pass
    whole = contents(store, image.descriptor.digest)
    with replacing_folder(target) as folder:
        writer = _Writer(folder, whole, as_root=as_root)
        writer.folders()
        for at, layer in enumerate(store.manifest(image.descriptor.digest).layers):
            writer.files(at, walk(store, layer), layer.digest)
        writer.rest()
        writer.finish()
    return tuple(f"{count} {what}" for what, count in sorted(writer.left_out.items()))


class _Writer:
    """Writes below one folder. Paths come from ``Contents``: their parents are folders that were made here."""

    def __init__(self, folder: Path, whole: Contents, *, as_root: bool) -> None:
        self.left_out: Counter[str] = Counter()
        self._folder = folder
        self._whole = whole
        self._as_root = as_root

    def folders(self) -> None:
        """Make all folders, closed to others until they are finished."""
        for path in self._of("dir"):
            (self._folder / path).mkdir(mode=0o700)

    def files(self, layer: int, tar: Iterator[tuple[Entry, Iterator[memoryview]]], name: str) -> None:
        """Write the files that are seen in one layer; hard links to one file stay links."""
        wanted: defaultdict[int, list[str]] = defaultdict(list)
        for path in self._of("file"):
            placed = self._whole.entries[path]
            if placed.layer == layer:
                wanted[placed.at].append(path)
        for at, (_, content) in enumerate(tar):
            if at in wanted:
                first, *others = wanted.pop(at)
                self._file(self._folder / first, self._whole.entries[first].entry, content)
                for path in others:
                    (self._folder / path).hardlink_to(self._folder / first)
        if wanted:
            raise WardianError(f"layer {name} changed while it was read")

    def rest(self) -> None:
        """Make symbolic links, pipes and device files: they need no content, and nothing is written through them."""
        for path in self._of("symlink"):
            place, entry = self._folder / path, self._whole.entries[path].entry
            place.symlink_to(entry.link)
            self._attributes(place, entry)
        for path in (*self._of("fifo"), *self._of("char"), *self._of("block")):
            place, entry = self._folder / path, self._whole.entries[path].entry
            if entry.kind == "fifo":
                os.mkfifo(place)
            elif self._as_root:
                kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
                os.mknod(place, entry.mode | kind, os.makedev(*entry.device))
            else:
                self.left_out["device files"] += 1
                continue
            self._attributes(place, entry)

    def finish(self) -> None:
        """Give the folders their modes and times, the inner ones first."""
        for path in reversed(self._of("dir")):
            self._attributes(self._folder / path, self._whole.entries[path].entry)
        os.utime(self._folder, (EPOCH, EPOCH))

    def _of(self, kind: str) -> list[str]:
        return [path for path, placed in sorted(self._whole.entries.items()) if placed.entry.kind == kind]

    def _file(self, place: Path, entry: Entry, content: Iterator[memoryview]) -> None:
        with place.open("xb") as out:
            out.writelines(content)
        self._attributes(place, entry)

    def _mode(self, entry: Entry) -> int:
        """Programs that were to run as root must not run as a plain user who exports them, for everybody."""
        if self._as_root or entry.kind == "dir" or not entry.mode & _LENT:
            return entry.mode
        self.left_out["setuid or setgid bits"] += 1
        return entry.mode & ~_LENT

    def _attributes(self, place: Path, entry: Entry) -> None:
        if self._as_root:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        for name, value in entry.xattrs:
            if self._as_root or name.startswith("user."):
                try:
                    os.setxattr(place, name, value, follow_symlinks=False)
                except OSError:
                    self.left_out["extended attributes that this file system does not take"] += 1
            else:
                self.left_out["extended attributes that only root may set"] += 1
        if entry.kind != "symlink":
            place.chmod(self._mode(entry))  # after chown, which takes setuid away; before it the file can be written
        os.utime(place, (entry.mtime, entry.mtime), follow_symlinks=False)
