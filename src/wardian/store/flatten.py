"""An image as one folder of files, with every layer laid over the ones beneath.

As root the files get their owners, device files and attributes. Anyone else gets files of his own: what only root can
make is left out, and counted.
"""

import os
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import IO

from wardian.errors import WardianError
from wardian.store.contents import Contents, Member, contents, open_layer, walk
from wardian.store.export import EPOCH, blobs, replacing_folder, verified
from wardian.store.store import Store, Tagged

_CHUNK = 1 << 20


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
            with open_layer(store, layer) as stream:
                writer.files(at, stream, layer.digest)
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
        for path in self._of("folder"):
            (self._folder / path).mkdir(mode=0o700)

    def files(self, layer: int, stream: IO[bytes], name: str) -> None:
        """Write the files that are seen in one layer; hard links to one file stay links."""
        wanted: defaultdict[int, list[str]] = defaultdict(list)
        for path in self._of("file"):
            placed = self._whole.entries[path]
            if placed.layer == layer:
                wanted[placed.member.at].append(path)
        if not wanted:
            return
        for at, (_, content) in enumerate(walk(stream, name)):
            if at in wanted and content is not None:
                first, *others = wanted.pop(at)
                self._file(self._folder / first, self._whole.entries[first].member, content)
                for path in others:
                    (self._folder / path).hardlink_to(self._folder / first)
                if not wanted:
                    return
        if wanted:
            raise WardianError(f"layer {name} changed while it was read")

    def rest(self) -> None:
        """Make symbolic links, pipes and device files: they need no content, and nothing is written through them."""
        for path in self._of("symlink"):
            place, member = self._folder / path, self._whole.entries[path].member
            place.symlink_to(member.target)
            self._attributes(place, member)
        for path in (*self._of("fifo"), *self._of("device")):
            place, member = self._folder / path, self._whole.entries[path].member
            if member.kind == "fifo":
                os.mkfifo(place)
            elif self._as_root:
                os.mknod(place, member.mode | member.device[0], os.makedev(*member.device[1:]))
            else:
                self.left_out["device files"] += 1
                continue
            self._attributes(place, member)

    def finish(self) -> None:
        """Give the folders their modes and times, the inner ones first."""
        for path in reversed(self._of("folder")):
            self._attributes(self._folder / path, self._whole.entries[path].member)
        os.utime(self._folder, (EPOCH, EPOCH))

    def _of(self, kind: str) -> list[str]:
        return [path for path, placed in sorted(self._whole.entries.items()) if placed.member.kind == kind]

    def _file(self, place: Path, member: Member, content: IO[bytes]) -> None:
        with place.open("xb") as out:
            shutil.copyfileobj(content, out, _CHUNK)
        self._attributes(place, member)

    def _attributes(self, place: Path, member: Member) -> None:
        if self._as_root:
            os.chown(place, member.uid, member.gid, follow_symlinks=False)
        if member.kind != "symlink":
            place.chmod(member.mode)  # after chown, which takes setuid away
        for name, value in member.xattrs:
            if self._as_root or name.startswith("user."):
                try:
                    os.setxattr(place, name, value, follow_symlinks=False)
                except OSError:
                    self.left_out["extended attributes that this file system does not take"] += 1
            else:
                self.left_out["extended attributes that only root may set"] += 1
        os.utime(place, (member.mtime, member.mtime), follow_symlinks=False)
