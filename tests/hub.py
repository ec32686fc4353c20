"""A HuggingFace hub on loopback, as far as an upload asks it; the real ``huggingface_hub`` is what asks.

Source: https://huggingface.co/docs/hub/api and https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving import served

TOKEN = "hf_of_the_test"


@dataclass
class Repository:
    """Branches, each a path → bytes."""

    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})


class Hub(ThreadingHTTPServer):
    """``cuts``: so many uploads of a large file are cut in the middle. ``closed``: nobody may write."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.heard: list[str] = []
        self.cuts = 0
        self.closed = False


@contextmanager
def hub() -> Iterator[Hub]:
    """One that serves while the block runs."""
    server = Hub()
    with served(server):
        yield server


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.heard.append(path)
        if not self._may():
            self._say(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/(batch|verify)", path):
            self._say(200, self._batch(json.loads(body)) if found[2] == "batch" else {})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path):
            self._model(found[1], found[2], found[3], body)
        else:
            self._say(500, {"error": f"this hub knows no {path}"})

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").partition("?")[0]
        known = self.server.repositories.get(name)
        if not self._may():
            self._say(401, {"error": "Invalid username or password."})
        elif known is None:
            self._say(404, {"error": "Repository not found"})
        else:
            self._say(200, {"id": name, "private": known.private})

    def do_PUT(self) -> None:
        size, oid = int(self.headers["Content-Length"]), self.path.rpartition("/")[2]
        if self.server.cuts:
            self.server.cuts -= 1
            self.rfile.read(size // 2)
            self.close_connection = True
            self.connection.close()
            return
        data = self.rfile.read(size)
        if hashlib.sha256(data).hexdigest() != oid:
            self._say(400, {"error": "other bytes"})
            return
        self.server.objects[oid] = data
        self._say(200, {})

    def _may(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if self.server.closed:
            self._say(403, {"error": "You don't have the rights to create a model under this namespace"})
            return
        known = name in self.server.repositories
        self.server.repositories.setdefault(name, Repository(asked["visibility"] == "private"))
        self._say(409 if known else 200, {"url": f"{self.server.url}/{name}"})

    def _batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        """An address for each object that is not there yet; it asks no other transfer than the plain one."""
        objects = []
        for one in asked["objects"]:
            actions = {"upload": {"href": f"{self.server.url}/objects/{one['oid']}"}}
            objects.append({**one, **({} if one["oid"] in self.server.objects else {"actions": actions})})
        return {"transfer": "basic", "objects": objects}

    def _model(self, name: str, verb: str, revision: str, body: bytes) -> None:
        repository = self.server.repositories[name]
        if verb == "branch":
            known = revision in repository.branches
            repository.branches.setdefault(revision, dict(repository.branches["main"]))
            self._say(409 if known else 200, {})
        elif verb == "preupload":
            self._say(200, {"files": [self._mode(one["path"]) for one in json.loads(body)["files"]]})
        else:
            files = repository.branches[revision]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
            self._say(200, {"commitOid": "0" * 40, "commitUrl": f"{self.server.url}/{name}/commit/{'0' * 40}"})

    def _mode(self, path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith(".safetensors") else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False}

    def _say(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing of each request."""
