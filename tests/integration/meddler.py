"""A proxy before a real registry that does what a bad network does: cuts, lies, refuses. It forwards all else."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.indexes import Server
from tests.serving import served

_PIECE = 64 << 10


@dataclass
class Seen:
    """One request as it came: the query is left out of ``path``."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass
class Rule:
    """What happens to the next ``times`` requests that match."""

    method: str
    path: str
    status: int | None = None  # answer this instead of asking the registry; its body is read before
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # pass on so many bytes of the request's body, then hang up on both
    cut_answer: int | None = None  # pass on so many bytes of the answer's body, then hang up
    lie: Mapping[str, str] = field(default_factory=dict)  # replace headers of the answer
    before: Callable[[], object] | None = None  # do this first
    after: Callable[[], object] | None = None  # do this when the registry has answered, before the client hears of it
    times: int = 1


class Meddler:
    """The proxy, as it runs."""

    def __init__(self, host: str, upstream: str) -> None:
        self.host = host
        self.upstream = upstream
        self.rules: list[Rule] = []
        self.seen: list[Seen] = []
        self.guard = threading.Lock()

    def on(self, method: str, path: str, **what: object) -> Rule:
        """Meddle with requests of a method whose path matches."""
        rule = Rule(method, path, **what)  # type: ignore[arg-type]
        self.rules.append(rule)
        return rule

    def count(self, method: str, path: str = "") -> int:
        """How many requests came."""
        return len([one for one in self.seen if one.method == method and re.search(path, one.path)])

    def take(self, seen: Seen) -> Rule | None:
        with self.guard:
            self.seen.append(seen)
            for rule in self.rules:
                if rule.times and rule.method == seen.method and re.search(rule.path, f"{seen.path}?{seen.query}"):
                    rule.times -= 1
                    return rule
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    meddler: Meddler

    def _any(self) -> None:
        path, _, query = self.path.partition("?")
        rule = self.meddler.take(Seen(self.command, path, query, {k.lower(): v for k, v in self.headers.items()}))
        rule = rule or Rule("", "")
        if rule.before:
            rule.before()
        if rule.status is not None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(rule.status, dict(rule.headers), rule.body)
            return
        server = http.client.HTTPConnection(self.meddler.upstream, timeout=60)
        try:
            self._forward(server, rule)
        finally:
            server.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - the base class's names

    def _forward(self, server: http.client.HTTPConnection, rule: Rule) -> None:
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            server.putheader(name, value)
        server.endheaders()
        left = int(self.headers.get("Content-Length") or 0)
        if rule.cut is not None:
            server.send(self.rfile.read(min(rule.cut, left)))
            self.close_connection = True
            return
        while left:
            piece = self.rfile.read(min(_PIECE, left))
            server.send(piece)
            left -= len(piece)
        answer = server.getresponse()
        body = answer.read()
        if rule.after:
            rule.after()
        headers = {name: value for name, value in answer.getheaders() if name.lower() != "content-length"}
        headers = {name: value for name, value in headers.items() if name.lower() not in rule.lie} | dict(rule.lie)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        self._answer(answer.status, headers, body, cut=rule.cut_answer, length=length)

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, *, cut: int | None = None, length: str | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)) if length is None else length)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def meddling(upstream: str) -> Iterator[Meddler]:
    """A proxy on a free port before ``upstream``, which speaks plain HTTP."""
    handler = type("Handler", (_Handler,), {})
    server = Server(("127.0.0.1", 0), handler)
    handler.meddler = Meddler(f"127.0.0.1:{server.server_address[1]}", upstream)  # type: ignore[attr-defined]
    with served(server):
        yield handler.meddler  # type: ignore[attr-defined]
