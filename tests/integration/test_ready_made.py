"""A ready-made service with its real package: debugpy waits for an editor, and who looks at its port is none."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.verbs.test_detached import until
from tests.verbs.test_services import free_port

Wardian = Callable[..., Any]
FILE = """\
[project]
name = "made"

[images.dev]
from = "base/base:latest"
requirements = ["debugpy"]

[services.debug]
use = "debugpy"
command = "train.py --lr 3"
ports = [PORT]
"""


class Editor:
    """As much of an editor as attaches and lets the program go. Source: the Debug Adapter Protocol."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._file = self._socket.makefile("rb")
        self._number = 0

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> None:
        self._number += 1
        said = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(said).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def events(self) -> Iterator[str]:
        """The events of the session, until it is over."""
        while True:
            length = 0
            while line := self._file.readline().strip():
                length = int(line.partition(b":")[2])
            said = json.loads(self._file.read(length))
            if said["type"] == "event":
                yield said["event"]
                if said["event"] == "terminated":
                    return


@pytest.mark.usefixtures("with_base")
def test_debugpy_waits_for_its_client_and_for_nobody_else(tmp_path: Path, wardian: Wardian) -> None:
    port = free_port()
    (tmp_path / "wardian.toml").write_text(FILE.replace("PORT", str(port)))
    (tmp_path / "train.py").write_text("import sys\nprint('trained', *sys.argv[1:], flush=True)\n")
    wardian("lock", cwd=tmp_path)
    wardian("build", cwd=tmp_path)
    try:
        wardian("up", cwd=tmp_path)
        for _ in range(3):  # each asks it whether it listens
            assert wardian("status", "--json", cwd=tmp_path).json()[0]["state"] == "ready"
        assert "trained" not in wardian("logs", "debug", cwd=tmp_path).out
        with closing(Editor(port)) as editor:
            editor.ask("initialize", adapterID="tests")
            editor.ask("attach", justMyCode=False)
            seen = []
            for event in editor.events():
                seen.append(event)
                if event == "initialized":
                    editor.ask("configurationDone")
        assert seen[-1] == "terminated"
        until(lambda: "trained --lr 3" in wardian("logs", "debug", cwd=tmp_path).out)
        until(lambda: wardian("status", "--json", cwd=tmp_path).json()[0]["state"] == "exit 0")
    finally:
        wardian("down", cwd=tmp_path)
