"""Blobs into the store: continued where they were cut, never visible before their digest is right."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wardian.errors import DigestMismatch, Unavailable
from wardian.oci.digest import Hasher, hexadecimal
from wardian.oci.model import Descriptor
from wardian.registry.faults import cut, unreachable
from wardian.registry.progress import Advance
from wardian.registry.transport import Transport
from wardian.store.files import explained
from wardian.store.store import Store

if TYPE_CHECKING:
    import httpx

_CHUNK = 1 << 20


def download(
    wanted: Descriptor,
    store: Store,
    open_at: "Callable[[int], httpx.Response]",
    transport: Transport,
    *,
    host: str,
    advance: Advance | None = None,
) -> Path:
    """Bring one blob into the store. ``open_at(offset)`` asks for its bytes from there on.

    Raises ``DigestMismatch`` when the bytes are other ones (nothing is kept), ``Unavailable`` when the connection is
    cut again and again without a byte of progress (what there is is kept, and continued next time).
    """
    store.claim()
    with store.lock(f"blob-{wanted.digest}"):
        if store.has(wanted.digest, wanted.size):
            return store.path(wanted.digest)
        partial = Partial(store.scratch / f"{hexadecimal(wanted.digest)}.partial", wanted.size)
        continued = partial.size > 0
        if advance:
            advance(partial.size)
        _fill(partial, open_at, transport, host, advance)
        if continued and partial.digest != wanted.digest:  # what was there was damaged: a power cut, a disk
            if advance:
                advance(-partial.size)
            partial.restart()
            _fill(partial, open_at, transport, host, advance)
        if partial.digest != wanted.digest:
            partial.remove()
            raise DigestMismatch(
                f"{host} sent other bytes for {wanted.digest}: they are {partial.digest}",
                hint="try again; if it stays so, tell who runs the registry",
            )
        return store.adopt(partial.path, wanted.digest)


class Partial:
    """A blob that is not whole yet: a file that grows, and the hash of what it has."""

    def __init__(self, path: Path, total: int) -> None:
        self.path = path
        self.total = total
        self.restart()
        if path.exists() and path.stat().st_size <= total:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    self._content.write(chunk)

    @property
    def digest(self) -> str:
        """The digest of what is there."""
        return self._content.digest

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return self._content.size

    def restart(self) -> None:
        """Begin anew."""
        self._content = Hasher()

    def receive(self, response: "httpx.Response", advance: Advance | None) -> None:
        """Append a body. Raises ``DigestMismatch`` when it is longer than it may be."""
        with self.path.open("r+b" if self.size else "wb") as file:
            file.seek(self.size)
            file.truncate()
            for chunk in response.iter_raw():  # as they come: what a chunker still holds would be lost by a cut
                if self.size + len(chunk) > self.total:
                    self.remove()
                    raise DigestMismatch(
                        f"{response.url.host} sends more than the {self.total} bytes that were announced"
                    )
                with explained(self.path.parent):
                    file.write(chunk)
                self._content.write(chunk)
                if advance:
                    advance(len(chunk))

    def remove(self) -> None:
        """Keep nothing."""
        self.path.unlink(missing_ok=True)


def _fill(
    partial: Partial,
    open_at: "Callable[[int], httpx.Response]",
    transport: Transport,
    host: str,
    advance: Advance | None,
) -> None:
    idle = 0
    while partial.size < partial.total or not partial.path.exists():
        before = partial.size
        failure: httpx.HTTPError | None = None
        response = open_at(partial.size)
        try:
            if _from_the_start(response, partial.size):
                if advance:
                    advance(-partial.size)
                partial.restart()
            if response.status_code != 416:
                partial.receive(response, advance)
        except cut() as error:
            failure = error
        finally:
            response.close()
        if partial.size >= partial.total:
            return
        idle = 0 if partial.size > before else idle + 1
        if idle >= transport.attempts:
            raise (
                unreachable(failure, host)
                if failure
                else Unavailable(
                    f"{host} ends a blob after {partial.size} of {partial.total} bytes", hint="try again later"
                )
            )
        if idle:
            transport.pause(idle - 1)


def _from_the_start(response: "httpx.Response", offset: int) -> bool:
    """Whether the answer does not continue at ``offset``: the server knows no ranges, or the range was wrong."""
    if offset == 0:
        return False
    return response.status_code != 206 or not response.headers.get("content-range", "").startswith(f"bytes {offset}-")
