"""One blob into a repository: mounted where the registry has it already, sent in pieces, continued where it was cut.

Source: distribution-spec, «Pushing blobs» (mounting, monolithic, chunked, resuming an interrupted upload).
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.oci.digest import Hasher
from wardian.oci.model import Descriptor
from wardian.oci.reference import Reference
from wardian.registry.auth import Access
from wardian.registry.exchange import WRITE, Exchange, answer
from wardian.registry.faults import full
from wardian.registry.progress import Advance

if TYPE_CHECKING:
    import httpx

    from wardian.registry.transport import Body

How = Literal["mounted", "sent"]
CHUNK = 64 << 20  # bytes of one request: a token or a proxy that gives up costs no more than these
_PIECE = 256 << 10
_AGAIN = frozenset({400, 404, 408, 416, 429, 500, 502, 503, 504})  # after these, ask where the upload stands
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_LENGTH = re.compile(r"[0-9]{1,18}")
_BINARY = {"Content-Type": "application/octet-stream"}


class Upload:
    """Brings one file into one repository."""

    def __init__(
        self, exchange: Exchange, target: Reference, blob: Descriptor, path: Path, advance: Advance | None = None
    ) -> None:
        self._exchange = exchange
        self._target = target
        self._blob = blob
        self._path = path
        self._advance = advance
        self._access = Access(target.registry, target.repository, WRITE)
        self._what = f"blob {blob.digest[:19]}… of {target.repository}"
        self._shown = 0
        self._smallest = 0  # bytes of a piece, as the registry wants them

    def is_there(self) -> bool:
        """Whether the repository has the blob."""
        url = self._exchange.url(self._target, f"blobs/{self._blob.digest}")
        response = self._exchange.send("HEAD", self._target, url, {}, access=self._access)
        if response.status_code not in (200, 404):
            raise self._exchange.refused(self._target, response, self._what, "pushing")
        response.close()
        return response.status_code == 200

    def send(self, source: str | None = None) -> How:
        """Mount the blob from the repository ``source``, or send it. Gives up when no byte moves any more."""
        place = self._begin(source)
        if place is None:
            self._show(self._blob.size)
            return "mounted"
        offset, best, idle = 0, 0, 0
        while True:
            response: httpx.Response | None = None
            try:
                response = self._request(place, offset)
            except Unavailable as error:
                failure: WardianError = error
            else:
                if response.is_success and self._is_last(offset):
                    self._end(response)
                    return "sent"
                if response.is_success and (stands := self._offset(response, offset)) > offset:
                    place, offset = self._exchange.place(self._target, response), stands
                    response.close()
                    continue
                failure = self._failure(response)
            if offset > best:
                best, idle = offset, 0
            idle += 1
            if idle >= self._exchange.transport.attempts:
                raise failure
            self._exchange.transport.pause(idle - 1, response)
            place, offset = self._resume(place)
            self._show(offset)

    def _begin(self, source: str | None) -> str | None:
        """Where to send to; None when the registry took the blob from ``source``."""
        uploads = self._exchange.url(self._target, "blobs/uploads/")
        if source:
            wanted = Access(self._target.registry, self._target.repository, WRITE, (source,))
            url = f"{uploads}?mount={self._blob.digest}&from={source}"
            try:
                response = self._exchange.send("POST", self._target, url, {"Content-Length": "0"}, access=wanted)
            except Unavailable:
                raise
            except WardianError:  # no token for the other repository: nothing is lost
                return self._begin(None)
            response.close()
            if response.status_code == 201:
                return None
            if response.status_code == 202:
                return self._exchange.place(self._target, response)
        response = self._exchange.send("POST", self._target, uploads, {"Content-Length": "0"}, access=self._access)
        if response.status_code != 202:
            raise self._exchange.refused(self._target, response, self._what, "pushing")
        response.close()
        said = response.headers.get("oci-chunk-min-length", "")
        self._smallest = int(said) if _LENGTH.fullmatch(said) else 0
        return self._exchange.place(self._target, response)

    def _request(self, place: str, offset: int) -> "httpx.Response":
        """The next piece. A blob of one piece is sent and ended at once, a longer one by a request of its own."""
        end = self._end_of(offset)
        headers = {**_BINARY, "Content-Length": str(end - offset)}
        method, url = "PUT", place
        if self._is_last(offset):
            url += f"{'&' if '?' in place else '?'}digest={self._blob.digest}"
        else:
            method, headers["Content-Range"] = "PATCH", f"{offset}-{end - 1}"
        body: Body | None = (lambda: self._read(offset, end)) if end > offset else None
        return self._exchange.send(method, self._target, url, headers, body, access=self._access, attempts=1)

    def _is_last(self, offset: int) -> bool:
        return offset == self._blob.size or (offset == 0 and self._end_of(0) == self._blob.size)

    def _end_of(self, offset: int) -> int:
        return min(self._blob.size, offset + max(CHUNK, self._smallest))

    def _read(self, start: int, end: int) -> Iterable[bytes]:
        self._show(start)
        with self._path.open("rb", buffering=0) as file:
            file.seek(start)
            while start < end:
                piece = file.read(min(_PIECE, end - start))
                if not piece:
                    raise DigestMismatch(f"{self._path} is shorter than it was", hint=_MEND)
                yield piece
                start += len(piece)
                self._show(start)

    def _offset(self, response: "httpx.Response", offset: int) -> int:
        """Where the registry stands after a piece: what its Range says, or the end of the piece."""
        found = _RANGE.fullmatch(response.headers.get("range", "").strip())
        return min(int(found[1]) + 1, self._end_of(offset)) if found and int(found[1]) else self._end_of(offset)

    def _resume(self, place: str) -> tuple[str, int]:
        """Where a broken upload stands; a new one where the registry has forgotten it."""
        response = self._exchange.send("GET", self._target, place, {}, access=self._access)
        response.close()
        found = _RANGE.fullmatch(response.headers.get("range", "").strip())
        if response.status_code == 204 and found:
            stands = int(found[1]) + 1 if int(found[1]) else 0  # "0-0" is what docker's registry says of nothing
            if stands <= self._blob.size:
                return self._exchange.place(self._target, response), stands
        again = self._begin(None)
        assert again is not None
        return again, 0

    def _failure(self, response: "httpx.Response") -> WardianError:
        """What went wrong, to be said when nothing helps; raised at once when trying again cannot help."""
        body = answer(response)
        if b"DIGEST_INVALID" in body:
            self._blame()
        found = self._exchange.explained(self._target, response, body, self._what, "pushing")
        if response.is_success:
            return Unavailable(f"{self._target.registry} takes pieces of {self._what} and keeps none of them")
        if response.status_code not in _AGAIN or full(response.status_code, body):
            raise found
        return found

    def _blame(self) -> None:
        """Raise when it is our file that has other bytes than its name says."""
        hasher = Hasher()
        with self._path.open("rb") as file:
            while piece := file.read(1 << 20):
                hasher.write(piece)
        if hasher.digest != self._blob.digest:
            raise DigestMismatch(f"{self._path} was changed: its bytes are {hasher.digest}", hint=_MEND)

    def _end(self, response: "httpx.Response") -> None:
        response.close()
        said = response.headers.get("docker-content-digest", self._blob.digest)
        if said.startswith("sha256:") and said != self._blob.digest:
            raise DigestMismatch(f"{self._target.registry} stored {said} where {self._blob.digest} was sent")

    def _show(self, position: int) -> None:
        if self._advance and position != self._shown:
            self._advance(position - self._shown)
        self._shown = position


_MEND = "type: wardian store verify --repair"
