"""The checks of a rendered compose file, executed here as an engine executes them: what they say is what is so."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.unit.plan.test_compose import part
from tests.unit.runs.test_probe import answering, closed_port
from wardian.plan.compose import health
from wardian.spec.models import Ready, Service


@pytest.fixture
def server() -> Iterator[int]:
    with answering() as number:
        yield number


def execute(ready: Ready, number: int, *, python: bool = True, path: str | None = None) -> bool:
    """Whether the check passes; ``path``: the only folder where it finds programs."""
    service = Service(ready=ready, ports={"p": 1})
    made = health(part(service=service, ports=((str(number), "1"),), python=python))
    assert made is not None
    kind, *words = made["test"]
    argv = [word.replace("$$", "$") for word in words]
    argv = ["/bin/sh", "-c", *argv] if kind == "CMD-SHELL" else [sys.executable, *argv[1:]]
    return (
        subprocess.run(
            argv, env={"PATH": path or os.environ["PATH"]}, stderr=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


STATUS = [("/200", True), ("/204", True), ("/404", False), ("/503", False), ("/rude", False)]


@pytest.mark.parametrize(("path", "good"), [*STATUS, ("/302", True)])
def test_by_python(server: int, path: str, good: bool) -> None:
    assert execute(Ready(http=path), server) is good
    assert not execute(Ready(http=path), closed_port())


@pytest.mark.parametrize("program", ["wget", "curl", "bash"])
def test_by_what_the_image_has(server: int, program: str, tmp_path: Path, need: Callable[..., None]) -> None:
    real = "busybox" if program == "wget" else program
    need(real)
    (tmp_path / program).symlink_to(str(shutil.which(real)))
    (tmp_path / "sh").symlink_to("/bin/sh")
    found = [(path, execute(Ready(http=path), server, python=False, path=str(tmp_path))) for path, _ in STATUS]
    assert found == STATUS
    assert not execute(Ready(http="/200"), closed_port(), python=False, path=str(tmp_path))


STRANGE = "/a%20b?x=1&y=(2);z|w<3>*~#"


@contextmanager
def listening(said: list[str]) -> Iterator[int]:
    """A server that answers 200 and notes the first line of each request."""

    def serve() -> None:
        while True:
            try:
                caller, _ = door.accept()
            except OSError:
                return
            with caller, caller.makefile("rb") as text:
                said.append(text.readline().decode().strip())
                while text.readline().strip():
                    pass
                caller.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("program", ["wget", "curl", "bash", "python"])
def test_a_path_that_a_shell_or_printf_would_read_otherwise(
    program: str, tmp_path: Path, need: Callable[..., None]
) -> None:
    real = "busybox" if program == "wget" else program
    if program != "python":
        need(real)
        (tmp_path / program).symlink_to(str(shutil.which(real)))
    (tmp_path / "sh").symlink_to("/bin/sh")
    said: list[str] = []
    with listening(said) as number:
        assert execute(Ready(http=STRANGE), number, python=program == "python", path=str(tmp_path))
    [line] = said
    assert line.split(" ")[:1] == ["GET"]
    asked = line.split(" ")[1].split("#")[0]  # wget and curl keep what follows to themselves
    assert asked == STRANGE.split("#")[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({program, "sh"} - {"python"})


def test_who_listens_is_seen_and_not_called() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        number = server.getsockname()[1]
        assert execute(Ready(tcp=0), number)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not execute(Ready(tcp=0), number)
