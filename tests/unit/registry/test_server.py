"""The registry of a moment: what it answers, and all that it does not."""

import http.client
import socket
import struct
from pathlib import Path

import pytest

from tests.images import add_image, layer
from wardian.oci.digest import sha256
from wardian.oci.model import MANIFEST
from wardian.oci.reference import Reference
from wardian.registry.server import serving
from wardian.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    add_image(made, "demo/train:latest", [layer({"a": b"x" * 5000})])
    add_image(made, "demo/other:latest", [layer({"b": b"y"})])
    return made


def ask(host: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_the_image_can_be_read_by_digest(store: Store) -> None:
    image = store.resolve("demo/train:latest")
    assert image
    layers = store.manifest(image.digest).layers
    counted: list[int] = []
    with serving(store, image, counted.append) as reference:
        named = Reference.parse(reference)
        assert (named.registry.split(":")[0], named.digest) == ("127.0.0.1", image.digest)
        assert ask(named.registry, "/v2/")[0] == 200
        code, headers, body = ask(named.registry, f"/v2/{named.repository}/manifests/{image.digest}")
        assert (code, sha256(body), headers["content-type"]) == (200, image.digest, MANIFEST)
        assert headers["docker-content-digest"] == image.digest
        blob = f"/v2/{named.repository}/blobs/{layers[0].digest}"
        code, headers, body = ask(named.registry, blob)
        assert (code, sha256(body)) == (200, layers[0].digest)
        code, headers, nothing = ask(named.registry, blob, "HEAD")
        assert (code, headers["content-length"], nothing) == (200, str(layers[0].size), b"")
        code, headers, part = ask(named.registry, blob, Range="bytes=3-9")
        assert (code, part, headers["content-range"]) == (206, body[3:10], f"bytes 3-9/{layers[0].size}")
        assert ask(named.registry, blob, Range="bytes=5-")[2] == body[5:]
        assert ask(named.registry, blob, Range=f"bytes={layers[0].size}-")[0] == 416
    assert sum(counted) >= 2 * layers[0].size - 5


@pytest.mark.parametrize("said", ["bytes=" + "9" * 5000 + "-", "bytes=0-" + "9" * 5000, "bytes=-5", "lines=1-2"])
def test_a_range_that_is_none_is_left_out_of_account(
    store: Store, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    image = store.resolve("demo/train:latest")
    assert image
    with serving(store, image) as reference:
        named = Reference.parse(reference)
        path = f"/v2/{named.repository}/manifests/{image.digest}"
        assert ask(named.registry, path, Range=said)[::2] == (200, store.read(image.digest))
    assert capfd.readouterr() == ("", "")


def test_a_client_that_hangs_up_writes_nothing_on_the_terminal(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """An engine that was interrupted resets its connections; that is no traceback for whoever started it."""
    image = store.resolve("demo/train:latest")
    assert image
    with serving(store, image) as reference:
        host, port = Reference.parse(reference).registry.split(":")
        for sent in (b"", b"GET /v2/", b"GET /v2/ HTTP/1.1\r\n"):
            with socket.create_connection((host, int(port))) as caller:
                caller.sendall(sent)
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        assert ask(f"{host}:{port}", "/v2/")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_nothing_else_of_the_store_is_there(store: Store) -> None:
    image, other = store.resolve("demo/train:latest"), store.resolve("demo/other:latest")
    assert image
    assert other
    with serving(store, image) as reference:
        named = Reference.parse(reference)
        name = named.repository
        for path in (
            f"/v2/{name}/manifests/{other.digest}",
            f"/v2/{name}/blobs/{other.digest}",
            f"/v2/{name}/manifests/latest",
            f"/v2/{name}/blobs/{image.digest}",
            f"/v2/wardian/guess/manifests/{image.digest}",
            f"/v2/{name}/blobs/../../oci-layout",
            "/v2/_catalog",
            "/",
        ):
            assert ask(named.registry, path)[0] == 404, path
        for method in ("PUT", "POST", "PATCH", "DELETE"):
            assert ask(named.registry, f"/v2/{name}/manifests/{image.digest}", method)[0] == 501


def test_who_speaks_tls_is_told_at_once(store: Store) -> None:
    """As containerd's client needs it: an answer that begins with HTTP/ makes it try without."""
    image = store.resolve("demo/train:latest")
    assert image
    with serving(store, image) as reference:
        host, port = Reference.parse(reference).registry.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"\x16\x03\x01\x00\xf8")
            assert client.recv(5) == b"HTTP/"


def test_it_ends_with_the_block(store: Store) -> None:
    image = store.resolve("demo/train:latest")
    assert image
    with serving(store, image) as reference:
        host = Reference.parse(reference).registry
    with pytest.raises(OSError, match="refused"):
        ask(host, "/v2/")


def test_each_time_it_has_another_name(store: Store) -> None:
    image = store.resolve("demo/train:latest")
    assert image
    with serving(store, image) as one, serving(store, image) as two:
        assert Reference.parse(one).repository != Reference.parse(two).repository


def test_a_blob_that_is_gone_is_not_found(store: Store) -> None:
    image = store.resolve("demo/train:latest")
    assert image
    blob = store.manifest(image.digest).layers[0]
    with serving(store, image) as reference:
        store.path(blob.digest).unlink()
        named = Reference.parse(reference)
        assert ask(named.registry, f"/v2/{named.repository}/blobs/{blob.digest}")[0] == 404
