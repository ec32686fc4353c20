"""The caller's SSH agent and display, reached from inside; absent, one line says so and nothing else happens."""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Wardian = Callable[..., Any]
# Asks for identities and prints the type of the answer: 12. Source: draft-miller-ssh-agent, 3.5 and 5.1.
AGENT = """\
import os, socket
with socket.socket(socket.AF_UNIX) as agent:
    agent.connect(os.environ["SSH_AUTH_SOCK"])
    agent.sendall(bytes([0, 0, 0, 1, 11]))
    print(agent.recv(5)[4], os.environ["SSH_AUTH_SOCK"])
"""
DISPLAY = """\
import os, socket
with socket.socket(socket.AF_UNIX) as server:
    server.connect("/tmp/.X11-unix/X" + os.environ["DISPLAY"][1:])
    print(server.recv(99).decode(), open(os.environ["XAUTHORITY"]).read(), os.environ["XAUTHORITY"])
try:
    open(os.environ["XAUTHORITY"], "a")
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture
def project(base_project: Path, with_base: Path, tmp_path: Path, need: Callable[..., None]) -> Iterator[Path]:
    need("bwrap", "unshare")
    folder = tmp_path / "project"
    folder.mkdir()
    for path in base_project.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "wardian.toml").open("a") as file:
        file.write('\n[run]\ngpus = "none"\nforward = ["x11", "ssh-agent"]\n')
    yield folder
    inside = ("unshare", "--mount") if os.getuid() == 0 else ("unshare", "--map-auto", "--map-root-user", "--mount")
    subprocess.run([*inside, "rm", "-rf", str(with_base / "unpacked")], check=False)


@pytest.fixture
def agent(need: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    need("ssh-agent")
    said = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    values = dict(re.findall(r"(SSH_\w+)=([^;]+);", said))
    monkeypatch.setenv("SSH_AUTH_SOCK", values["SSH_AUTH_SOCK"])
    yield
    os.kill(int(values["SSH_AGENT_PID"]), 15)


@pytest.fixture
def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that says a word to whoever connects, where an X server would listen."""
    folder = Path("/tmp/.X11-unix")
    made = not folder.exists()
    folder.mkdir(mode=0o1777, exist_ok=True)
    number = 5000 + os.getpid() % 40000
    place = folder / f"X{number}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                client.sendall(b"hello")
                client.close()

        threading.Thread(target=serve, daemon=True).start()
        (tmp_path / "cookies").write_text("cookie")
        monkeypatch.setenv("DISPLAY", f":{number}")
        monkeypatch.setenv("XAUTHORITY", str(tmp_path / "cookies"))
        yield f":{number}"
        server.shutdown(socket.SHUT_RDWR)
    place.unlink()
    if made:
        folder.rmdir()


@pytest.mark.usefixtures("agent", "display")
def test_both_are_reached(wardian: Wardian, project: Path) -> None:
    assert wardian("run", "--", "python3", "-c", AGENT, cwd=project).out == "12 /run/wardian/ssh-agent\n"
    for more in ([], ["--read-only"], ["--no-network"]):
        done = wardian("run", *more, "--", "python3", "-c", DISPLAY, cwd=project)
        first, second = done.out.splitlines()
        assert first == "hello cookie /run/wardian/xauthority"
        assert second == "Read-only file system"
        assert done.err == ""
    (record,) = wardian("runs", "--last", "1", "--json", cwd=project).json()
    assert record["mounts"] == []  # of this session: another one has its own
    off = ["--set", "run.forward=[]"]
    script = "import os; print([name in os.environ for name in ('DISPLAY', 'SSH_AUTH_SOCK', 'XAUTHORITY')])"
    assert wardian("run", *off, "--", "python3", "-c", script, cwd=project).out == "[False, False, False]\n"


def test_absent_is_off_with_one_line_each(
    wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the original: "invalid spec: :/ssh-agent: empty section between colons"."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    done = wardian(
        "run", "--", "sh", "-c", 'echo "$DISPLAY$SSH_AUTH_SOCK$XAUTHORITY"; ls /run/wardian', cwd=project, code=2
    )
    assert done.out == "\n"
    assert done.err.splitlines()[:2] == ["no ssh-agent: SSH_AUTH_SOCK is not set", "no x11: DISPLAY is not set"]
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    done = wardian("run", "--", "true", cwd=project)
    assert done.err.splitlines()[0] == f"no ssh-agent: SSH_AUTH_SOCK names {tmp_path}/gone, where none listens"
