"""Looks at services: real sockets, real answers."""

import http.server
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.serving import served
from wardian.runs.probe import answers, last_lines, listens, written


class Answering(http.server.BaseHTTPRequestHandler):
    """/N is answered with status N; /hang is not answered in time; /rude is no HTTP at all."""

    def do_GET(self) -> None:
        if self.path == "/rude":
            self.wfile.write(b"hello\r\n")
            return
        self.send_response(int(self.path[1:]))
        if self.path == "/302":
            self.send_header("Location", "/500")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def answering() -> Iterator[int]:
    """Such a server; its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    with served(server):
        yield server.server_address[1]


@pytest.fixture
def port() -> Iterator[int]:
    with answering() as number:
        yield number


def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("path", "good"),
    [("/200", True), ("/204", True), ("/302", True), ("/404", False), ("/503", False), ("/rude", False)],
)
def test_a_status_below_400_is_an_answer(port: int, path: str, good: bool) -> None:
    assert answers(port, path) is good


def test_nobody_there_is_no_answer() -> None:
    assert answers(closed_port(), "/") is False


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_who_listens_is_seen_and_not_called(family: socket.AddressFamily, address: str) -> None:
    with closing(socket.create_server((address, 0), family=family)) as server:
        number = server.getsockname()[1]
        assert listens(number)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not listens(number)


def test_a_port_that_is_only_used_does_not_listen() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with closing(server), closing(socket.create_connection(server.getsockname())) as client:
        assert not listens(client.getsockname()[1])


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    assert not listens(80, tmp_path)


def test_a_log_line_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not written(log, "up")
    log.write_bytes(b"\xff warming up\nserver up\n")
    assert written(log, "^server up$")
    assert not written(log, "^up")
    assert last_lines(log, 1) == ["server up"]
    assert last_lines(tmp_path / "none") == []
