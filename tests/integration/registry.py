"""Real registries for tests: Debian's docker-registry, plain or TLS, open or behind basic or bearer authentication."""

import base64
import json
import re
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from tests.serving import served

USER, PASSWORD = "ada", "s3cret"
SERVICE, ISSUER = "wardian-registry", "wardian-tokens"
Auth = Literal["none", "basic", "bearer"]


@dataclass
class Running:
    """A registry that runs: ``host`` goes into references, ``ca`` into SSL_CERT_FILE."""

    host: str
    folder: Path
    ca: Path | None = None
    auth: Auth = "none"
    tokens: list[str] = field(default_factory=list)  # the scopes for which tokens were asked
    life: int = 300  # seconds for which new tokens hold
    read_only: bool = False  # whether tokens are for reading, whatever was asked for

    def docker_config(
        self, folder: Path, *, user: str = USER, password: str = PASSWORD, host: str | None = None
    ) -> Path:
        """Write a docker config.json with the credentials; the folder is a DOCKER_CONFIG."""
        folder.mkdir(parents=True, exist_ok=True)
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {host or self.host: {"auth": encoded}}}))
        return folder

    def push(self, layout: str, name: str) -> str:
        """Copy ``oci:…`` into the registry with skopeo; the reference it has there."""
        reference = f"{self.host}/{name}"
        verify = ["--dest-tls-verify=false"]  # what is tested is our client, not skopeo's
        login = ["--dest-creds", f"{USER}:{PASSWORD}"] if self.auth != "none" else []
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--preserve-digests", *verify, *login, layout, f"docker://{reference}"],
            check=True,
        )
        return reference


@contextmanager
def start_registry(
    folder: Path, *, tls: bool = False, auth: Auth = "none", deletes: bool = True, data: Path | None = None
) -> Iterator[Running]:
    """Run a docker-registry on a free port of 127.0.0.1 until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    running = Running(f"127.0.0.1:{port}", folder, auth=auth)
    http: dict[str, object] = {"addr": running.host}
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(data or folder / "data")}, "delete": {"enabled": deletes}},
        "http": http,
    }
    with ExitStack() as stack:
        if tls or auth == "bearer":
            authority = make_certificates(folder)
            running.ca = authority if tls else None
        if tls:
            http["tls"] = {"certificate": str(folder / "server.crt"), "key": str(folder / "server.key")}
        if auth == "basic":
            line = subprocess.run(
                ["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True, text=True
            ).stdout
            (folder / "htpasswd").write_text(line)
            settings["auth"] = {"htpasswd": {"realm": "wardian", "path": str(folder / "htpasswd")}}
        if auth == "bearer":
            realm = stack.enter_context(token_server(running))
            settings["auth"] = {
                "token": {
                    "realm": realm,
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(folder / "server.crt"),
                }
            }
        (folder / "config.yml").write_text(json.dumps(settings))  # YAML is a superset of JSON
        stack.enter_context(process(folder, f"{'https' if tls else 'http'}://{running.host}/v2/"))
        yield running


@contextmanager
def process(folder: Path, url: str) -> Iterator[None]:
    """The registry's process, answering."""
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        for _ in range(100):
            if child.poll() is not None or answers(url):
                break
            time.sleep(0.05)
        assert child.poll() is None, (folder / "log").read_text()
        yield
    finally:
        child.terminate()
        child.wait(10)


def answers(url: str) -> bool:
    import ssl

    context = ssl._create_unverified_context() if url.startswith("https") else None
    try:
        urllib.request.build_opener(
            urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
        ).open(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 401
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_certificates(folder: Path) -> Path:
    """A certificate authority and a server certificate for 127.0.0.1 and localhost; the path of the authority's."""
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for argv in (
        [*request, "-x509", "-days", "2", "-subj", "/CN=wardian test CA", "-keyout", "ca.key", "-out", "ca.crt"],
        [*request, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
        ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", "2", "-out", "server.crt", "-extfile", "names"],
    ):  # fmt: skip
        subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return folder / "ca.crt"


@contextmanager
def token_server(running: Running) -> Iterator[str]:
    """A token server as docker's; it signs with the registry's key. Source: distribution's token specification."""

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if self.headers.get("Authorization") != wanted:
                self.send_error(401)
                return
            query = parse_qs(urlsplit(self.path).query)
            scope = " ".join(query.get("scope", []))
            running.tokens.append(scope)
            allowed = re.sub(r"(push,|,push)", "", scope) if running.read_only else scope
            body = json.dumps({"token": signed(running, allowed), "expires_in": max(60, running.life)}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    with served(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/token"


def signed(running: Running, scope: str) -> str:
    """A JSON web token for scopes ``repository:NAME:ACTIONS``, signed with openssl."""
    access = []
    for one in scope.split():
        kind, _, rest = one.partition(":")
        name, _, actions = rest.rpartition(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": USER, "aud": SERVICE, "iat": now, "nbf": now - 10, "exp": now + running.life,
              "jti": secrets.token_hex(8), "access": access}  # fmt: skip
    pem = (running.folder / "server.crt").read_text()
    chain = ["".join(pem.split("-----")[2].split())]
    parts = [encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "RS256", "x5c": chain}, claims)]
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(running.folder / "server.key")],
        input=".".join(parts).encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    return ".".join([*parts, encoded(signature)])


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
