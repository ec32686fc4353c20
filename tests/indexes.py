"""Package indexes for tests: tiny wheels and source distributions in a folder, served over loopback with any fault."""

import base64
import hashlib
import io
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

from tests.serving import served
from tests.wheels import WHEEL, record, zipped

USER, PASSWORD = "ada", "s3cret"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """An honest wheel with dependencies, as a file."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    whole = {
        **(files if files is not None else {f"{name}/__init__.py": f"version = {version!r}\n".encode()}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode(),
        f"{info}/WHEEL": WHEEL.replace("py3-none-any", tag).encode(),
    }
    path = folder / f"{name}-{version}-{tag}.whl"
    path.write_bytes(zipped({**whole, f"{info}/RECORD": record(whole, f"{info}/RECORD")}))
    return path


def make_sdist(folder: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    """A source distribution with the metadata that lets a resolver read it without building."""
    info = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for inner, text in {"PKG-INFO": info, **files}.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{inner}")
            entry.size, entry.mtime = len(text.encode()), 1577836800
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def sha256(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Index:
    """A served folder of distributions. ``simple`` is the index, ``files`` are beneath ``url``."""

    folder: Path
    url: str = ""
    auth: bool = False  # ask for USER and PASSWORD
    cut: int | None = None  # end each body after so many bytes; the length that is announced is the whole one
    cuts: int = 10**6  # how many bodies are cut
    ranges: bool = True  # honour Range
    status: int | None = None  # answer files with this
    hashes: bool = True  # pages tell the SHA-256
    lengths: bool = True  # answers tell their length
    pause: float = 0.0  # seconds before each 64 KiB of a file
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Range) of every request for a file
    authorizations: list[str] = field(default_factory=list)

    @property
    def simple(self) -> str:
        """The index's URL."""
        return f"{self.url}/simple"

    def page(self, name: str) -> str:
        """The links of one distribution."""
        lines = []
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and path.name.split("-")[0].lower().replace("_", "-").replace(".", "-") == name:
                fragment = f"#sha256={sha256(path)}" if self.hashes else ""
                lines.append(f'<a href="../../files/{quote(path.name)}{fragment}">{path.name}</a>')
        return f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>" if lines else ""


class Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up: what a test reads from stderr is Wardian's."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Let only other failures be told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """Answers for the index that its subclass names."""

    protocol_version = "HTTP/1.1"
    index: Index

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def do_GET(self) -> None:
        """A page or a file."""
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        given = self.headers.get("Authorization", "")
        self.index.authorizations.append(given)
        if self.index.auth and given != wanted:
            self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="index"'})
        elif self.path.startswith("/simple/"):
            page = self.index.page(self.path.split("/")[2])
            self._answer(200 if page else 404, page.encode(), {"Content-Type": "text/html"})
        else:
            self._file(self.index.folder / unquote(self.path.rpartition("/")[2]))

    def do_HEAD(self) -> None:
        """The length of a file, which uv asks for before it reads a part of a wheel."""
        path = self.index.folder / unquote(self.path.rpartition("/")[2])
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
        self.end_headers()

    def _file(self, path: Path) -> None:
        given = self.headers.get("Range")
        self.index.asked.append((self.path, given))
        if self.index.status or not path.is_file():
            self._answer(self.index.status or 404, b"", {})
            return
        content = path.read_bytes()
        if not (given and self.index.ranges):
            self._answer(200, content, {}, may_cut=True)
            return
        start, size = int(given.removeprefix("bytes=").split("-")[0]), len(content)
        if start >= size:
            self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        self._answer(206, content[start:], {"Content-Range": f"bytes {start}-{size - 1}/{size}"}, may_cut=True)

    def _answer(self, code: int, body: bytes, headers: Mapping[str, str], *, may_cut: bool = False) -> None:
        index = self.index
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if index.lengths:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if may_cut and index.cut is not None and index.cuts > 0 and len(body) > index.cut:
            index.cuts -= 1
            body = body[: index.cut]
            self.close_connection = True
        try:
            for at in range(0, len(body), 1 << 16):
                time.sleep(index.pause if may_cut else 0)
                self.wfile.write(body[at : at + (1 << 16)])
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


@contextmanager
def serve(index: Index) -> Iterator[Index]:
    """Serve an index on loopback until the block ends."""
    handler = type("Bound", (Handler,), {"index": index})
    server = Server(("127.0.0.1", 0), handler)
    index.url = f"http://127.0.0.1:{server.server_port}"
    with served(server):
        yield index
