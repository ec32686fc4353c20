"""A real server of `wardian env serve`, in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass
class Served:
    """A server that answers."""

    url: str
    process: "subprocess.Popen[str]"
    client: httpx.Client

    def post(self, path: str, data: Any = None) -> httpx.Response:
        """POST JSON."""
        return self.client.post(path, json=data)

    def ok(self, path: str, data: Any = None) -> Any:
        """What a POST that succeeds is answered."""
        answer = self.post(path, data)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextlib.contextmanager
def serving(env: str, *options: str, **variables: str) -> Iterator[Served]:
    """Serve an environment on a free port, until the block ends."""
    argv = [sys.executable, "-m", "wardian", "env", "serve", env, "--port", "0", "--json", *options]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables})
    try:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, f"{env}: the server ended with {process.wait(5)}"
            text += line
        url = json.loads(text)["url"]
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield Served(url, process, client)
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()
