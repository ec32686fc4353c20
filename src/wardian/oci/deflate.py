"""A deflate encoder of our own, for what lies between the wheels' streams: tar headers, padding, generated files.

It knows one block of fixed codes, in which runs of zeros become matches at distance 1, and stored blocks. It is small
so that its output can stay the same for ever: no layer's digest depends on a compressor's version.
Source: RFC 1951, RFC 1952.
"""

import re
import zlib
from functools import lru_cache

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, no hints, unknown system
EMPTY = b"\x03\x00"  # the deflate stream of nothing

_MAX_STORED = 65535
# RFC 1951, 3.2.5: lengths from 3 to 258.
_LENGTH_BASES = (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31,
                 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258)  # fmt: skip
_LENGTH_BITS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0)


def _reversed(code: int, width: int) -> int:
    """Huffman codes enter the stream with their highest bit first, everything else with its lowest."""
    return int(f"{code:0{width}b}"[::-1], 2)


# RFC 1951, 3.2.6: 0-143 have 8 bits from 00110000, 144-255 nine from 110010000, 256-279 seven from 0, 280-287 eight
# from 11000000.
_EIGHT = bytes(_reversed(0x30 + byte, 8) if byte < 144 else 0 for byte in range(256))
_NINE = tuple(_reversed(0x190 + byte, 9) for byte in range(112))
# What cannot be written by translating bytes: runs of NUL and of "0" (octal fields), and bytes with nine-bit codes.
_SPECIAL = re.compile(rb"\0{4,}|0{5,}|[\x90-\xff]+")


def fixed(data: bytes) -> bytes:
    """``data`` as one final block of fixed codes."""
    out = bytearray()
    pending, width, at = 0b011, 3, 0  # the last block (1), of fixed codes (01)
    for special in _SPECIAL.finditer(data):
        start, end = special.span()
        if start > at:
            pending |= int.from_bytes(data[at:start].translate(_EIGHT), "little") << width
            width += 8 * (start - at)
        bits, count = _run(data[start], end - start) if data[start] < 144 else _nine_bit(data[start:end])
        pending |= bits << width
        width += count
        at = end
        if width > 8192:
            whole = width >> 3
            out += (pending & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
            pending >>= 8 * whole
            width -= 8 * whole
    if at < len(data):
        pending |= int.from_bytes(data[at:].translate(_EIGHT), "little") << width
        width += 8 * (len(data) - at)
    return bytes(out) + pending.to_bytes((width + 7 + 7) >> 3, "little")  # 7 zeros end the block


def stored(data: bytes, *, final: bool = True) -> bytes:
    """``data`` as blocks without compression; each costs 5 bytes for at most 65535. Ends at a byte boundary."""
    if not data:
        return b"\x01\x00\x00\xff\xff" if final else b""
    out = bytearray()
    for at in range(0, len(data), _MAX_STORED):
        piece = data[at : at + _MAX_STORED]
        last = final and at + _MAX_STORED >= len(data)
        out += bytes((last,)) + len(piece).to_bytes(2, "little") + (len(piece) ^ 0xFFFF).to_bytes(2, "little") + piece
    return bytes(out)


def encode(data: bytes) -> bytes:
    """``data`` as a deflate stream: fixed codes, or stored blocks where these are shorter."""
    coded = fixed(data) if len(data) <= _MAX_STORED else None
    plain = len(data) + 5
    return coded if coded is not None and len(coded) <= plain else stored(data)


def member(data: bytes) -> bytes:
    """``data`` as one gzip member."""
    return GZIP_HEADER + encode(data) + trailer(zlib.crc32(data), len(data))


def trailer(crc: int, size: int) -> bytes:
    """The end of a gzip member: CRC-32 and size modulo 2**32."""
    return crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def _nine_bit(data: bytes) -> tuple[int, int]:
    bits = 0
    for at, byte in enumerate(data):
        bits |= _NINE[byte - 144] << 9 * at
    return bits, 9 * len(data)


@lru_cache(maxsize=4096)
def _run(byte: int, count: int) -> tuple[int, int]:
    """Bits and their number for ``count`` (4 or more) times a byte: once as it is, then matches at distance 1."""
    bits, width, left = _EIGHT[byte], 8, count - 1
    while left >= 3:
        length = 258 if left >= 261 or left == 258 else min(left, 257 if left <= 257 else left - 3)
        code, size = _match(length)
        bits |= code << width
        width += size
        left -= length
    return bits, width


def _match(length: int) -> tuple[int, int]:
    """Bits and their number for a match of 3 to 258 bytes at distance 1 (whose code is five zeros)."""
    at = max(index for index, base in enumerate(_LENGTH_BASES) if base <= length)
    code, width = (_reversed(1 + at, 7), 7) if at < 23 else (_reversed(0xC0 + at - 23, 8), 8)
    return code | (length - _LENGTH_BASES[at]) << width, width + _LENGTH_BITS[at] + 5
