"""Wheels → one gzip layer, made of the wheels' own deflate streams: nothing is compressed again.

gzip allows members one after the other (RFC 1952, 2.2). A file's content is the wheel's stream between a gzip header
and trailer; what lies between files (tar headers, padding) and what is generated is written by our own encoder. So the
bytes depend on nothing but the wheels, and are read once: copied out, inflated, hashed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

from wardian.errors import WheelRefused
from wardian.oci import deflate, tar
from wardian.oci.collisions import footprint
from wardian.oci.digest import Hasher, Sink, Tee
from wardian.oci.layer import LayerBlob
from wardian.oci.wheel import Installed, Placed, Verifier, WheelFile, install
from wardian.oci.zip import Member, inflate

_BIG = 1 << 15  # generated content from here on is a member of its own
_BATCH = 1 << 19
_WAITING = 8


def write_wheels(
    out: Sink, wheels: Sequence[WheelFile], *, prefix: str, python: str, mtime: int = tar.MTIME
) -> LayerBlob:
    """Write the layer that installs ``wheels`` under ``prefix``; the order they are given in does not matter.

    Where two wheels bring the same file, the one whose name sorts last wins, as if they were installed in that order;
    ``oci.collisions`` finds such files. Raises ``WheelRefused``.
    """
    installed = sorted((install(wheel, prefix=prefix, python=python) for wheel in wheels), key=_order)
    placed = {file.path: (file, one.source) for one in installed for file in one.files}
    folders = list(tar.directories(placed))
    for folder in folders:
        if folder in placed:
            raise WheelRefused(placed[folder][1].filename, "would be a file and a folder at once", folder)
    with ThreadPoolExecutor(1) as beside:
        layer = _Layer(out, beside)
        for path in sorted([*placed, *folders]):
            if path not in placed:
                layer.add(tar.header(tar.Entry(path, "dir", 0o755, mtime=mtime)))
                continue
            file, source = placed[path]
            layer.add(tar.header(tar.Entry(path, "file", file.mode, file.size, mtime=mtime)))
            layer.place(file, source)
            layer.add(tar.padding(file.size))
        written = layer.close()
    brought = tuple((f"{one.name}=={one.version}", footprint(one.files)) for one in installed)
    return replace(written, brought=brought)


def _order(installed: Installed) -> tuple[str, str, str]:
    return installed.name, installed.version, installed.source.filename


class _Layer:
    """The gzip members of a layer, and the two digests. What is inflated is hashed by ``beside``, a thread."""

    def __init__(self, out: Sink, beside: Executor) -> None:
        self._out = Tee(out)
        self._content = Hasher()
        self._pending = bytearray()
        self._unhashed: list[bytes] = []
        self._unhashed_size = 0
        self._beside = beside
        self._hashing: deque[Future[object]] = deque()

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
        self._hash_now()
        while self._hashing:
            self._hashing.popleft().result()
        return LayerBlob(self._out.digest, self._content.digest, self._out.size, self._content.size)

    def _splice(self, file: Placed, member: Member, source: WheelFile) -> None:
        self._flush()
        check = Verifier(file, source.filename)
        call = self._call if member.size > _BIG else _at_once
        self._out.write(deflate.GZIP_HEADER)
        for piece in inflate(source.file, member, source.filename, self._out.write):
            call(check.update, piece)
            self._hash(piece)
        call(check.finish)
        self._out.write(deflate.trailer(member.crc, member.size))

    def _flush(self) -> None:
        if self._pending:
            self._write(bytes(self._pending))
            self._pending.clear()

    def _write(self, data: bytes) -> None:
        self._hash(data)
        self._out.write(deflate.member(data))

    def _hash(self, piece: bytes) -> None:
        """Add to the DiffID, in batches: handing over each piece would cost more than it saves."""
        self._unhashed.append(piece)
        self._unhashed_size += len(piece)
        if self._unhashed_size >= _BATCH:
            self._hash_now()

    def _hash_now(self) -> None:
        self._call(self._content.write, b"".join(self._unhashed))
        self._unhashed.clear()
        self._unhashed_size = 0

    def _call(self, function: Callable[..., object], *arguments: bytes) -> None:
        """Have a function called by the thread, after those before; raise what an earlier one raised."""
        while len(self._hashing) >= _WAITING:
            self._hashing.popleft().result()
        self._hashing.append(self._beside.submit(function, *arguments))


def _at_once(function: Callable[..., object], *arguments: bytes) -> None:
    function(*arguments)
