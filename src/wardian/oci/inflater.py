"""Inflating, by ISA-L where it is installed (twice as fast as zlib); what comes out is the same."""

import zlib
from types import ModuleType
from typing import Protocol, cast

_fast: ModuleType = zlib
try:
    from isal import isal_zlib

    _fast = isal_zlib
except ImportError:  # no wheel for this platform
    pass


class Inflater(Protocol):
    """The part of ``zlib.decompressobj`` that is used."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def unconsumed_tail(self) -> bytes:
        """Input that was left because ``max_length`` was reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        """Inflate, at most ``max_length`` bytes."""
        ...

    def flush(self) -> bytes:
        """Inflate what is left."""
        ...


damaged: tuple[type[Exception], ...] = (zlib.error, _fast.error)


def crc32(data: bytes, value: int = 0) -> int:
    """The CRC-32 of bytes, after earlier ones."""
    return int(_fast.crc32(data, value))


def inflater(window: int) -> Inflater:
    """A decompressor: ``window`` is -15 for raw deflate, 31 for gzip."""
    return cast("Inflater", _fast.decompressobj(window))
