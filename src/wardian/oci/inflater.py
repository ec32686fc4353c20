"""Inflating, by ISA-L where it is installed (twice as fast as zlib); what comes out is the same."""

import zlib
from functools import cache
from types import ModuleType
from typing import Protocol, cast


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


def inflater(window: int) -> Inflater:
    """A decompressor: ``window`` is -15 for raw deflate, 31 for gzip."""
    return cast("Inflater", _fastest().decompressobj(window))


def crc32(data: bytes, value: int = 0) -> int:
    """The CRC-32 of bytes, after earlier ones."""
    return int(_fastest().crc32(data, value))


@cache
def damage() -> tuple[type[Exception], ...]:
    """What an inflater raises for a damaged stream."""
    return (zlib.error, _fastest().error)


@cache
def _fastest() -> ModuleType:
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this platform
        return zlib
    return isal_zlib
