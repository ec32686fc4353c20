"""A tar stream → a gzip layer, for layers that no wheel can be spliced into.

The stream is cut into pieces of one mebibyte; each becomes a gzip member of its own (RFC 1952, 2.2), so that threads
can compress them side by side and the result does not depend on their number.
"""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from wardian.oci import deflate
from wardian.oci.digest import Hasher, Sink, Tee
from wardian.oci.layer import LayerBlob

PIECE = 1 << 20
_LEVEL = 6


def write_layer(out: Sink, chunks: Iterable[bytes], *, threads: int = 2) -> LayerBlob:
    """Compress a tar stream, given in chunks of any size. The same stream and the same zlib give the same bytes."""
    tee, content = Tee(out), Hasher()
    compressing: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for piece in _pieces(chunks):
            compressing.append(pool.submit(member, piece))
            content.write(piece)
            if len(compressing) > 2 * threads:
                tee.write(compressing.popleft().result())
        while compressing:
            tee.write(compressing.popleft().result())
    return LayerBlob(tee.digest, content.digest, tee.size, content.size)


def member(piece: bytes) -> bytes:
    """One gzip member. The header is ours: zlib's names the operating system."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    coded = compressor.compress(piece) + compressor.flush()
    return deflate.GZIP_HEADER + coded + deflate.trailer(zlib.crc32(piece), len(piece))


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        while len(pending) >= PIECE:
            yield bytes(pending[:PIECE])
            del pending[:PIECE]
    if pending:
        yield bytes(pending)
