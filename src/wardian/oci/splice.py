"""Wheels → one gzip layer, made of the wheels' own deflate streams: nothing is compressed again.

gzip allows members one after the other (RFC 1952, 2.2). A file's content is the wheel's stream between a gzip header and
trailer; what lies between files (tar headers, padding) and what is generated is written by our own encoder. So the bytes
depend on nothing but the wheels, and are read once: copied out, inflated, hashed.
"""

from collections.abc import Sequence
from typing import BinaryIO

from packaging.utils import canonicalize_name

from wardian.errors import WheelRefused
from wardian.oci import deflate, tar
from wardian.oci.digest import Hasher, Sink, Tee
from wardian.oci.layer import LayerBlob
from wardian.oci.wheel import Installed, Placed, Verifier, WheelFile, install
from wardian.oci.zip import Member, inflate

__all__ = ["LayerBlob", "WheelFile", "write_wheels"]

_BIG = 1 << 15  # generated content from here on is a member of its own


def write_wheels(
    out: Sink, wheels: Sequence[WheelFile], *, prefix: str, python: str, mtime: int = tar.MTIME
) -> LayerBlob:
    """Write the layer that installs ``wheels`` under ``prefix``; the order they are given in does not matter.

    Where two wheels bring the same file, the one whose name sorts last wins, as if they were installed in that order;
    ``collisions`` finds such files. Raises ``WheelRefused``.
    """
    installed = sorted((install(wheel, prefix=prefix, python=python) for wheel in wheels), key=_order)
    placed = {file.path: (file, one.source) for one in installed for file in one.files}
    folders = list(tar.directories(placed))
    for folder in folders:
        if folder in placed:
            raise WheelRefused(placed[folder][1].filename, "is a folder in another wheel of the same layer", folder)
    layer = _Layer(out)
    for path in sorted([*placed, *folders]):
        if path not in placed:
            layer.add(tar.header(tar.Entry(path, "dir", 0o755, mtime=mtime)))
            continue
        file, source = placed[path]
        layer.add(tar.header(tar.Entry(path, "file", file.mode, file.size, mtime=mtime)))
        layer.place(file, source)
        layer.add(tar.padding(file.size))
    return layer.close()


def _order(installed: Installed) -> tuple[str, str, str]:
    return canonicalize_name(installed.name), installed.version, installed.source.filename


class _Layer:
    """The gzip members of a layer, and the two digests."""

    def __init__(self, out: Sink) -> None:
        self._out = Tee(out)
        self._content = Hasher()
        self._pending = bytearray()

    def add(self, data: bytes) -> None:
        """Add bytes that no wheel has."""
        self._pending += data

    def place(self, file: Placed, source: WheelFile) -> None:
        """Add a file's content."""
        if file.member and file.member.size:
            self._splice(file, file.member, source)
        elif file.content and len(file.content) >= _BIG:
            self._flush()
            self._write(file.content)
        else:
            self.add(file.content or b"")

    def close(self) -> LayerBlob:
        """Write the end of the archive."""
        self.add(tar.END)
        self._flush()
        return LayerBlob(self._out.digest, self._content.digest, self._out.size, self._content.size)

    def _splice(self, file: Placed, member: Member, source: WheelFile) -> None:
        self._flush()
        check = Verifier(file, source.filename)
        self._out.write(deflate.GZIP_HEADER)
        for piece in inflate(source.file, member, source.filename, self._out.write):
            check.update(piece)
            self._content.write(piece)
        check.finish()
        self._out.write(deflate.trailer(member.crc, member.size))

    def _flush(self) -> None:
        if self._pending:
            self._write(bytes(self._pending))
            self._pending.clear()

    def _write(self, data: bytes) -> None:
        self._content.write(data)
        self._out.write(deflate.member(data))
