"""This machine's own folders of wheels over HTTP, as pypi.org serves its files, so that all contestants read the same.

A folder is what no user has: uv reads a wheel of a folder in thousands of small steps. Here all get byte ranges, the
cache headers of pypi.org and files.pythonhosted.org, connections that stay, and METADATA beside each wheel (PEP 658).
"""

import hashlib
import os
import re
import sys
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.utils import parse_wheel_filename

from wardian.hosts.machine import Machine

PAGE, FILE = "max-age=600, public", "max-age=365000000, immutable, public"  # what pypi.org says of both
_LINK = re.compile(r'<a href="([^"#]+\.whl)((?:#[^"]*)?)"')
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PIECE = 1 << 20


class Served:
    """The folders that pip and uv of this machine would read as files, under the same paths on loopback."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        self._server: ThreadingHTTPServer | None = None
        if folders:
            # An index of files ("…/simple") points to files beside it.
            roots = [str(Path(each).parent) if Path(each).name == "simple" else each for each in folders]
            self._server = _Quiet(("127.0.0.1", 0), partial(Below, roots))
            threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def environment(self, machine: Machine, ca_bundle: str | None = None) -> dict[str, str]:
        """The machine's settings, with addresses in place of folders; a find-links folder is an index like the others.

        pip's and uv's own files, which name the folders, are out of the way.
        """
        if self._server is None:
            return machine.environment(ca_bundle)
        flat = [self.url(place) for place in machine.find_links]
        indexes = [self.url(place) for place in machine.extra_indexes]
        found = replace(
            machine,
            index=self.url(machine.index),
            extra_indexes=(*(each for each in flat if each not in machine.find_links), *indexes),
            find_links=tuple(each for each in flat if each in machine.find_links),
            index_strategy="unsafe-best-match",  # as find-links are: the best version of all places
        )
        unset = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "PIP_FIND_LINKS": "", "UV_FIND_LINKS": ""}
        return unset | found.environment(ca_bundle)

    def url(self, place: str) -> str:
        """The address of the index that a folder is; any other place as it is."""
        path = place.removeprefix("file://").rstrip("/")
        if self._server is None or path not in self._folders:
            return place
        inner = "" if Path(path).name == "simple" else "/simple"
        return f"http://127.0.0.1:{self._server.server_port}{path}{inner}"

    def stop(self) -> None:
        """End the server."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Quiet(ThreadingHTTPServer):
    """Says nothing of clients that hang up, as uv does when it knows enough."""

    request_queue_size = 256  # uv opens 50 connections at once; with 5, some wait a second for a second knock
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what else went wrong."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Below(SimpleHTTPRequestHandler):
    """Answers for what lies below some folders, for nothing else, and quietly."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a page waits 40 ms behind its own headers

    def __init__(self, roots: Sequence[str], *words: Any) -> None:
        self._roots = [Path(root).resolve() for root in roots]
        super().__init__(*words, directory="/")

    def do_GET(self) -> None:
        """Answer with a page, a wheel's METADATA, or a file or a range of it."""
        meant = Path(self.translate_path(self.path))
        wheel = meant.with_suffix("") if meant.name.endswith(".whl.metadata") else None
        if not any(meant.resolve().is_relative_to(root) for root in self._roots):
            self._nothing()
        elif text := page(meant):
            self._answer(text.encode(), "text/html; charset=utf-8", PAGE)
        elif wheel and wheel.is_file():
            self._answer(metadata(wheel), "application/octet-stream", FILE)
        elif meant.is_file():
            self._file(meant)
        else:
            self._nothing()

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _nothing(self) -> None:
        """Not found; the connection stays, which `send_error` would end."""
        self.send_response(HTTPStatus.NOT_FOUND)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, content: bytes, kind: str, cached: str) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        same = self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", cached)
        if not same:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET" and not same:
            self.wfile.write(content)

    def _file(self, path: Path) -> None:
        size = path.stat().st_size
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, end = _span(asked[1], asked[2], size) if asked else (0, size)
        if asked and start >= end:
            self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", FILE)
        self.end_headers()
        if self.command == "HEAD":
            return
        with path.open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(_PIECE, end - start))):
                self.wfile.write(piece)
                start += len(piece)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing of each request."""


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """From where to where a range goes. Source: RFC 9110, 14.1.2."""
    if not first:
        return max(0, size - int(last or 0)), size
    return int(first), min(size, int(last) + 1) if last else size


@cache
def page(place: Path) -> str:
    """A project's page, or nothing: its own, or a list of its wheels in the folder above with their hashes.

    Each wheel's METADATA can be had, it says (PEP 714).
    """
    own, folder = place / "index.html", place.parent.parent
    text = own.read_text() if own.is_file() else ""
    if not text and place.parent.name == "simple" and not place.parent.exists() and folder.is_dir():
        wheels = [each for each in sorted(folder.glob("*.whl")) if parse_wheel_filename(each.name)[0] == place.name]
        text = "\n".join(map(_link, wheels))
    return _LINK.sub(r'<a href="\1\2" data-core-metadata="true" data-dist-info-metadata="true"', text)


def _link(wheel: Path) -> str:
    status = wheel.stat()
    digest = _hash(wheel, status.st_mtime_ns, status.st_size)
    return f'<a href="../../{quote(wheel.name)}#sha256={digest}">{wheel.name}</a>'


@cache
def _hash(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def metadata(wheel: Path) -> bytes:
    """The METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as file:
        name = next(each for each in file.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each))
        return file.read(name)
