"""A real registry on loopback that contestants push to."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx

from measure import size_of


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
