"""A read-only registry on loopback with one image of the store, for the moment in which an engine pulls it.

It answers GET and HEAD of the image's own manifest and blobs, under a name that nobody can guess, and nothing else; so
who else is on this machine learns nothing of the store. Bytes are not verified here: who pulls compares digests.
Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md (Pull)
"""

import re
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

from wardian.oci.model import Descriptor
from wardian.store.export import blobs
from wardian.store.store import Store

_PATH = re.compile(r"/v2/(?P<name>[a-z0-9/-]+)/(?P<kind>manifests|blobs)/(?P<digest>sha256:[0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})")
_CHUNK = 1 << 20
TLS = b"\x16"  # the first byte of a handshake. Source: RFC 8446, 5.1


@contextmanager
def serving(store: Store, image: Descriptor, sent: Callable[[int], None] = lambda _: None) -> Iterator[str]:
    """Serve one image while the block runs; its reference, by digest. ``sent`` hears of bytes on their way.

    ``sent`` is called from other threads.
    """
    name = f"wardian/{secrets.token_hex(16)}"
    known = {blob.digest: blob for blob in blobs(store, image)}

    class Answers(_Answers):
        """For this image."""

        def find(self) -> Descriptor | None:
            found = _PATH.fullmatch(self.path)
            if not found or found["name"] != name:
                return None
            blob = known.get(found["digest"])
            is_manifest = blob is not None and blob.digest == image.digest
            return blob if is_manifest == (found["kind"] == "manifests") else None

        def open(self, blob: Descriptor) -> BinaryIO:
            return store.path(blob.digest).open("rb")

        def tell(self, count: int) -> None:
            sent(count)

    server = _Server(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}/{name}@{image.digest}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing here either: a client that hangs up is no traceback on the user's terminal."""


class _Answers(ABC, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @abstractmethod
    def find(self) -> Descriptor | None:
        """What the request's path names."""

    @abstractmethod
    def open(self, blob: Descriptor) -> BinaryIO:
        """Its bytes."""

    @abstractmethod
    def tell(self, count: int) -> None:
        """Hear that so many bytes were sent."""

    def handle_one_request(self) -> None:
        """Answer one request. Who begins with TLS hears at once that it is not spoken here, and comes back without."""
        if self.rfile.peek(1)[:1] == TLS:  # type: ignore[attr-defined]
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            self.close_connection = True
            return
        super().handle_one_request()

    def do_HEAD(self) -> None:
        """What is there, without its bytes."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """The whole, or the part that was asked for."""
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.path == "/v2/":
            self._head(HTTPStatus.OK, 2, "application/json")
            if body:
                self.wfile.write(b"{}")
            return
        blob = self.find()
        if blob is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            file = self.open(blob)
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            self._send(blob, file, body=body)

    def _send(self, blob: Descriptor, file: BinaryIO, *, body: bool) -> None:
        first, last = 0, blob.size - 1
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked:
            first, last = int(asked["first"]), min(last, int(asked["last"] or last))
            if first > last:
                self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                return
        extra = {"Docker-Content-Digest": blob.digest, "Accept-Ranges": "bytes"}
        if asked:
            extra["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
        code = HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK
        self._head(code, last - first + 1, blob.media_type, extra)
        if not body:
            return
        self.wfile.flush()
        left = last - first + 1
        try:
            while left > 0:
                count = self.connection.sendfile(file, first, min(left, _CHUNK))
                if not count:  # shorter than it should be: the client sees that the connection ends
                    self.close_connection = True
                    return
                first, left = first + count, left - count
                self.tell(count)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _head(self, code: HTTPStatus, length: int, media_type: str, extra: dict[str, str] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(length))
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing: what goes wrong is said by who pulls."""
