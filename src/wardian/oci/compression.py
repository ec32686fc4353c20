"""The uncompressed bytes of a layer, told by its first bytes how: media types lie."""

import gzip
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from wardian.errors import WardianError
from wardian.oci.inflater import damage

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 20
_ZSTD_STEP = 1 << 12  # a step may become 32768 times as much


def uncompressed(file: BinaryIO) -> BinaryIO:
    """A file object over the content of a plain, gzip (of any number of members) or zstd file."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == GZIP:
        return _gunzip(file)
    if start == ZSTD or (start[1:] == b"\x2a\x4d\x18" and start[:1] >= b"\x50"):  # the latter: a skippable frame
        return cast("BinaryIO", _Zstd(file))
    return file


def chunks(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The uncompressed content in pieces. Raises ``WardianError``, naming the file, when it is damaged or cut."""
    try:
        stream = uncompressed(file)
        while piece := stream.read(CHUNK):
            yield piece
    except _damage() as error:
        raise WardianError(f"{name} is damaged: {error}", hint="type: wardian store verify") from error


def _damage() -> tuple[type[Exception], ...]:
    return (EOFError, gzip.BadGzipFile, *damage())


class _Zstd:
    """The content of a zstd file of any number of frames. ``zstandard``'s own reader takes a cut for the end."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._damage = zstandard.ZstdError
        self._context = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        self._file = file
        self._frame = self._context.decompressobj()
        self._inside = False
        self._left = b""
        self._content = memoryview(b"")

    def read(self, count: int = -1) -> bytes:
        """At most ``count`` bytes, none at the end. Damage is an ``EOFError``, as it is for gzip."""
        while not self._content:
            piece = self._left or self._file.read(_ZSTD_STEP)
            if not piece:
                if self._inside:
                    raise EOFError("it ends too early")
                return b""
            try:
                self._content = memoryview(self._frame.decompress(piece))
            except self._damage as error:
                raise EOFError(str(error)) from error
            self._inside, self._left = not self._frame.eof, b""
            if self._frame.eof:
                self._left, self._frame = self._frame.unused_data, self._context.decompressobj()
        taken = self._content[:count] if count >= 0 else self._content
        self._content = self._content[len(taken) :]
        return bytes(taken)


def _gunzip(file: BinaryIO) -> BinaryIO:
    try:
        from isal import igzip
    except ImportError:  # no wheel for this platform
        return cast("BinaryIO", io.BufferedReader(gzip.GzipFile(fileobj=file), CHUNK))
    return cast("BinaryIO", igzip.IGzipFile(fileobj=file))  # type: ignore[no-untyped-call]  # isal has no types here
