"""Content digests, written as OCI writes them: ``sha256:`` and 64 hexadecimal digits."""

import hashlib
import re
from typing import Protocol

from wardian.errors import WardianError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """The digest of some bytes.

    >>> sha256(b"")
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether ``text`` is a digest that Wardian can check (OCI also knows sha512, which nobody uses)."""
    return _DIGEST.fullmatch(text) is not None


def hexadecimal(digest: str) -> str:
    """The 64 digits of a digest. Raises ``WardianError`` for anything else: the result becomes a file name."""
    if not is_digest(digest):
        raise WardianError(f"not a sha256 digest: {digest[:100]!r}")
    return digest[7:]


class Sink(Protocol):
    """Anything bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""
        ...


class Hasher:
    """A sink that keeps the digest and the count of what it was given."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Add bytes."""
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        """The digest of everything so far."""
        return "sha256:" + self._hash.hexdigest()


class Tee(Hasher):
    """A sink that passes on what it is given, and knows its digest and size."""

    def __init__(self, out: Sink) -> None:
        super().__init__()
        self._out = out

    def write(self, data: bytes) -> int:
        """Pass bytes on."""
        self._out.write(data)
        return super().write(data)
