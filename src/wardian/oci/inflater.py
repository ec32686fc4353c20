"""Inflating, by ISA-L where it is installed (twice as fast as zlib); what comes out is the same."""

import zlib
from functools import cache
from types import ModuleType


def inflater(window: int) -> "zlib._Decompress":
    """A decompressor: ``window`` is -15 for raw deflate, 31 for gzip."""
    made: zlib._Decompress = _fastest().decompressobj(window)
    return made


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
