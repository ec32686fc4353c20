"""What the contestants talk to on loopback: a real registry, and this machine's own folders of wheels."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from measure import size_of
from wardian.hosts.machine import Machine


class Registry:
    """One registry of our own, empty after ``start``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._child: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"

    def start(self) -> None:
        """Begin again with nothing stored."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._data.mkdir(parents=True)
        settings = self._folder / "config.yml"
        storage = f"storage: {{filesystem: {{rootdirectory: {self._data}}}}}"
        settings.write_text(f"version: 0.1\nlog: {{level: error}}\n{storage}\nhttp: {{addr: '{self.address}'}}\n")
        with (self._folder / "log").open("wb") as log:
            self._child = subprocess.Popen(
                ["docker-registry", "serve", settings], stdout=log, stderr=log, env=dict(os.environ)
            )
        for _ in range(100):
            try:
                httpx.get(f"http://{self.address}/v2/", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"docker-registry did not start: {(self._folder / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        """End it."""
        if self._child:
            self._child.terminate()
            self._child.wait()
            self._child = None

    @property
    def stored(self) -> int:
        """The bytes of all blobs and manifests it holds."""
        return size_of(self._data / "docker" / "registry" / "v2" / "blobs")


class Served:
    """Folders that pip and uv would read as files, for a RUN that cannot see them: over HTTP, under the same paths."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        self._server: ThreadingHTTPServer | None = None
        if folders:
            # An index of files ("…/simple") points to files beside it.
            roots = [str(Path(each).parent) if Path(each).name == "simple" else each for each in folders]
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Below, roots, directory="/"))
            threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def environment(self, machine: Machine, ca_bundle: str | None) -> dict[str, str]:
        """The machine's settings as a RUN must have them."""
        settings = machine.environment(ca_bundle)
        return {name: re.sub(r"[^ ,]+", lambda found: self._url(found[0]), value) for name, value in settings.items()}

    def stop(self) -> None:
        """End the server."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _url(self, word: str) -> str:
        path = word.removeprefix("file://").rstrip("/")
        known = self._server is not None and path in self._folders
        return f"http://127.0.0.1:{self._server.server_port}{path}/" if known and self._server else word


class _Below(SimpleHTTPRequestHandler):
    """Answers for what lies below some folders, for nothing else, and quietly."""

    def __init__(self, roots: Sequence[str], *words: Any, **options: Any) -> None:
        self._roots = [Path(root).resolve() for root in roots]
        super().__init__(*words, **options)

    def translate_path(self, path: str) -> str:
        """The file that is meant; one that cannot be there for anything outside of the folders."""
        meant = super().translate_path(path)
        inside = any(Path(meant).resolve().is_relative_to(root) for root in self._roots)
        return meant if inside else "/nonexistent"

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing of each request."""
