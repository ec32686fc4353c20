"""What a real registry cannot be made to do: cut bodies, lies, limits. The fake knows only what it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.images import add_image, layer
from tests.indexes import Server
from tests.serving import served
from wardian.command import Command, Result
from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.hosts.local import LocalHost
from wardian.oci.model import LAYER_GZIP, Descriptor, Manifest
from wardian.oci.reference import Reference
from wardian.registry.auth import Authorizer
from wardian.registry.client import Registry
from wardian.registry.credentials import Keyring
from wardian.registry.exchange import Exchange
from wardian.registry.transport import LONGEST_WAIT, Transport
from wardian.store.gc import prune
from wardian.store.store import Store

AMD64 = "linux/amd64"
BIG = bytes(range(256)) * 8192


class Answer:
    """One answer: status, headers, body; ``sent`` bytes of it really go out."""

    def __init__(self, status: int = 200, body: bytes = b"", *, sent: int | None = None, **headers: str) -> None:
        self.status = status
        self.body = body
        self.sent = len(body) if sent is None else sent
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Fake:
    """A server with a list of answers for each path; a request that was not foreseen fails the test."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.answers: dict[str, list[Answer | Callable[[dict[str, str]], Answer]]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.unexpected: list[str] = []

    def on(self, path: str, *answers: Answer | Callable[[dict[str, str]], Answer]) -> None:
        """Answer a path, in order; the last answer is given again and again."""
        self.answers[path] = list(answers)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path."""
        return [headers for asked, headers in self.requests if asked.partition("?")[0] == path]

    def next(self, path: str, headers: dict[str, str]) -> Answer | None:
        self.requests.append((path, headers))
        known = self.answers.get(path) or self.answers.get(path.partition("?")[0])
        if not known:
            self.unexpected.append(path)
            return None
        found = known.pop(0) if len(known) > 1 else known[0]
        return found if isinstance(found, Answer) else found(headers)


@pytest.fixture
def fakes() -> Iterator[Callable[[], Fake]]:
    """Fake servers on free ports."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(serving())


def serving() -> Any:
    from contextlib import contextmanager

    @contextmanager
    def run() -> Iterator[Fake]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer = fake.next(self.path, {name.lower(): value for name, value in self.headers.items()})
                if answer is None:
                    self.send_error(599)
                    return
                self.send_response(answer.status)
                if "Transfer-Encoding" not in answer.headers:
                    self.send_header("Content-Length", str(len(answer.body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body[: answer.sent])
                if answer.sent < len(answer.body):
                    self.close_connection = True

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                answer = fake.next(self.path, {"form": form})
                assert answer
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        server = Server(("127.0.0.1", 0), Handler)
        fake = Fake(f"127.0.0.1:{server.server_address[1]}")
        fake.on("/v2/", Answer())
        with served(server):
            yield fake
        assert fake.unexpected == []

    return run()


class Client:
    """A registry client that does not sleep but notes for how long it would have."""

    def __init__(self, folder: Path, stack: ExitStack, **environ: str) -> None:
        self.slept: list[float] = []
        transport = Transport({"HOME": str(folder), **environ}, sleep=self.slept.append)
        keyring = Keyring({"HOME": str(folder), **environ}, no_helper)
        self.registry = stack.enter_context(Registry(Exchange(transport, Authorizer(transport, keyring))))


def no_helper(command: Command) -> Result:
    raise AssertionError(f"no helper was to be asked: {command}")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    with ExitStack() as stack:
        yield lambda **environ: Client(tmp_path, stack, **environ)


@pytest.fixture
def image(tmp_path: Path) -> tuple[Store, Manifest, bytes]:
    """An image in a store, its manifest and the manifest's bytes."""
    store = Store(tmp_path / "source")
    found = add_image(store, "made/here:1", [layer({"data": BIG})])
    return store, store.manifest(found.digest), store.read(found.digest)


def serve(fake: Fake, image: tuple[Store, Manifest, bytes]) -> Reference:
    """Let a fake serve an image's manifest and config; the reference it has there."""
    store, manifest, body = image
    fake.on("/v2/acme/image/manifests/1", Answer(body=body, Content_Type="application/vnd.oci.image.manifest.v1+json"))
    fake.on(f"/v2/acme/image/blobs/{manifest.config.digest}", Answer(body=store.read(manifest.config.digest)))
    return Reference.parse(f"{fake.host}/acme/image:1")


def blob_of(image: tuple[Store, Manifest, bytes]) -> tuple[str, bytes]:
    store, manifest, _ = image
    blob = manifest.layers[0]
    return f"/v2/acme/image/blobs/{blob.digest}", store.read(blob.digest)


Image = tuple[Store, Manifest, bytes]
Fakes = Callable[[], Fake]
Clients = Callable[..., Client]


def test_a_cut_blob_is_continued_where_it_was_cut(tmp_path: Path, fakes: Fakes, client: Clients, image: Image) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    half = len(content) // 2

    def rest(headers: dict[str, str]) -> Answer:
        assert headers["range"] == f"bytes={half}-"
        return Answer(206, content[half:], Content_Range=f"bytes {half}-{len(content) - 1}/{len(content)}")

    fake.on(path, Answer(body=content, sent=half), rest)
    client().registry.pull(reference, AMD64, store)
    assert store.read(image[1].layers[0].digest) == content
    assert list(store.scratch.iterdir()) == []


def test_a_server_without_ranges_sends_it_all_again(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image
) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    fake.on(path, Answer(body=content, sent=100), Answer(body=content))
    client().registry.pull(reference, AMD64, store)
    assert store.read(image[1].layers[0].digest) == content


def test_a_blob_that_never_ends_is_kept_for_next_time(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image
) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)

    def nothing_more(headers: dict[str, str]) -> Answer:
        start = int(headers.get("range", "bytes=0-")[6:-1])
        body = content[start:]
        return Answer(
            206 if start else 200, body, sent=0 if start else 1000, Content_Range=f"bytes {start}-{len(content) - 1}/*"
        )

    fake.on(path, nothing_more)
    ours = client()
    with pytest.raises(Unavailable, match="cut the connection") as error:
        ours.registry.pull(reference, AMD64, store)
    assert "what was fetched is kept" in str(error.value.hint)
    assert store.resolve(str(reference)) is None
    partial = store.scratch / f"{image[1].layers[0].digest[7:]}.partial"
    assert partial.read_bytes() == content[:1000]
    fake.on(
        path, lambda headers: Answer(206, content[1000:], Content_Range=f"bytes 1000-{len(content) - 1}/{len(content)}")
    )
    ours.registry.pull(reference, AMD64, store)
    assert fake.asked(path)[-1]["range"] == "bytes=1000-"
    assert store.has(image[1].layers[0].digest)


@pytest.mark.parametrize("extra", [0, 5])
def test_other_bytes_are_refused_and_nothing_is_kept(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image, extra: int
) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    fake.on(path, Answer(body=b"x" * (len(content) + extra)))
    with pytest.raises(DigestMismatch):
        client().registry.pull(reference, AMD64, store)
    assert list(store.scratch.iterdir()) == []
    assert not store.has(image[1].layers[0].digest)
    assert store.references() == []


def test_a_damaged_partial_file_is_not_trusted(tmp_path: Path, fakes: Fakes, client: Clients, image: Image) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    store.prepare()
    (store.scratch / f"{image[1].layers[0].digest[7:]}.partial").write_bytes(b"?" * 100)

    def answer(headers: dict[str, str]) -> Answer:
        start = int(headers.get("range", "bytes=0-")[6:-1])
        return Answer(206 if start else 200, content[start:], Content_Range=f"bytes {start}-{len(content) - 1}/*")

    fake.on(path, answer)
    counted: list[float] = []
    client().registry.blob(reference, image[1].layers[0], store, counted.append)
    assert [headers.get("range") for headers in fake.asked(path)] == ["bytes=100-", None]
    assert sum(counted) == len(content)
    assert store.read(image[1].layers[0].digest) == content


@pytest.mark.parametrize(
    ("said", "waits"), [("7", 7.0), ("100000", LONGEST_WAIT), ("Thu, 01 Jan 2026 00:00:00 GMT", 0.0)]
)
def test_retry_after_is_obeyed(fakes: Fakes, client: Clients, image: Image, said: str, waits: float) -> None:
    fake, ours = fakes(), client()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(429, Retry_After=said), Answer(body=image[2]))
    ours.registry.resolve(reference, AMD64)
    assert ours.slept == [waits]


@pytest.mark.parametrize(
    ("status", "words"),
    [(429, "answers 429 .* too many requests"), (500, "answers 500 .* in trouble"), (503, "answers 503")],
)
def test_trouble_that_lasts_is_named(fakes: Fakes, client: Clients, image: Image, status: int, words: str) -> None:
    fake, ours = fakes(), client()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(status, b'{"errors":[{"code":"TOOMANY","message":"slow\\ndown"}]}'))
    with pytest.raises(Unavailable, match=f"{words}.*: slow down"):
        ours.registry.resolve(reference, AMD64)
    assert len(fake.asked("/v2/acme/image/manifests/1")) == 5
    assert len(ours.slept) == 4
    assert all(0 < one < LONGEST_WAIT for one in ours.slept)


def test_403_is_not_asked_twice(fakes: Fakes, client: Clients, image: Image) -> None:
    fake = fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(403, b'{"errors":[{"code":"DENIED","message":"not yours"}]}'))
    with pytest.raises(WardianError, match="forbids reading acme/image:1: not yours"):
        client().registry.resolve(reference, AMD64)
    assert len(fake.asked("/v2/acme/image/manifests/1")) == 1


def test_a_cut_manifest_is_asked_for_again(fakes: Fakes, client: Clients, image: Image) -> None:
    fake, ours = fakes(), client()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(body=image[2], sent=10), Answer(body=image[2]))
    ours.registry.resolve(reference, AMD64)
    assert len(ours.slept) == 1


def test_a_manifest_that_is_not_the_one_asked_for(fakes: Fakes, client: Clients, image: Image) -> None:
    fake = fakes()
    reference = serve(fake, image)
    digest = f"sha256:{'1' * 64}"
    fake.on(f"/v2/acme/image/manifests/{digest}", Answer(body=image[2]))
    with pytest.raises(DigestMismatch, match=f"not {digest}"):
        client().registry.resolve(reference.at(digest), AMD64)
    fake.on("/v2/acme/image/manifests/1", Answer(body=image[2], Docker_Content_Digest=digest))
    with pytest.raises(DigestMismatch):
        client().registry.resolve(reference, AMD64)


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        (b"<html>Welcome</html>", "text/html; charset=utf-8", "is not an image registry: it answers text/html"),
        (b"hello", "application/octet-stream", "is not an image registry"),
        (b'{"schemaVersion":1,"fsLayers":[]}', "application/json", "docker schema 1"),
        (
            b'{"schemaVersion":2}',
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "docker schema 1",
        ),
        (b'{"mediaType":"application/x-thing"}', "application/json", "is no image but 'application/x-thing'"),
        (b'{"broken', "application/json", "damaged manifest"),
    ],
)
def test_what_is_no_manifest_is_named(  # noqa: PLR0917 - a table and its fixtures
    fakes: Fakes, client: Clients, image: Image, body: bytes, media_type: str, words: str
) -> None:
    fake = fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(body=body, Content_Type=media_type))
    with pytest.raises(WardianError, match=words):
        client().registry.resolve(reference, AMD64)


def test_an_endless_manifest_is_refused(fakes: Fakes, client: Clients, image: Image) -> None:
    fake = fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(body=b"{" + b" " * (5 << 20)))
    with pytest.raises(WardianError, match="more than 4194304 bytes"):
        client().registry.resolve(reference, AMD64)


def test_a_helm_chart_is_no_image(tmp_path: Path, fakes: Fakes, client: Clients, image: Image) -> None:
    fake, manifest = fakes(), image[1]
    strange = Descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", *_parts(manifest.layers[0]))
    chart = Manifest(manifest.config, (strange,)).to_bytes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(body=chart))
    with pytest.raises(WardianError, match="no container image: it holds"):
        client().registry.pull(reference, AMD64, Store(tmp_path / "store"))


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ],
)
def test_layers_of_every_kind_are_taken(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image, media_type: str
) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    fake.on(path, Answer(body=content))
    body = Manifest(image[1].config, (Descriptor(media_type, *_parts(image[1].layers[0])),)).to_bytes()
    fake.on("/v2/acme/image/manifests/1", Answer(body=body))
    found = client().registry.pull(reference, AMD64, store)
    assert store.read(found.digest) == body


def _parts(blob: Descriptor) -> tuple[str, int]:
    return blob.digest, blob.size


def test_a_redirect_elsewhere_drops_the_authorization(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image
) -> None:
    fake, storage, (path, content) = fakes(), fakes(), blob_of(image)
    reference = serve(fake, image)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password pw\n")
    (tmp_path / ".netrc").chmod(0o600)

    def guarded(good: Answer) -> Callable[[dict[str, str]], Answer]:
        refusal = Answer(401, WWW_Authenticate='Basic realm="x"')
        return lambda headers: good if "authorization" in headers else refusal

    for known, (good, *_) in list(fake.answers.items()):
        if known != "/v2/" and isinstance(good, Answer):
            fake.on(known, guarded(good))
    fake.on(path, Answer(307, Location=f"http://{storage.host}/blob?signature=1"))
    storage.on("/blob", Answer(body=content))
    client().registry.pull(reference, AMD64, Store(tmp_path / "store"))
    assert fake.asked(path)[-1]["authorization"] == "Basic YWRhOnB3"
    assert "authorization" not in storage.asked("/blob")[0]


@pytest.mark.parametrize("place", ["http://[evil/", "file:///etc/passwd", "x:y"])
def test_a_redirect_to_no_address_is_named(fakes: Fakes, client: Clients, image: Image, place: str) -> None:
    fake = fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(307, Location=place))
    with pytest.raises(WardianError, match=r"cannot be used|cannot be reached"):
        client().registry.resolve(reference, AMD64)


def test_a_registry_s_words_cannot_steer_the_terminal(fakes: Fakes, client: Clients, image: Image) -> None:
    fake = fakes()
    reference = serve(fake, image)
    said = json.dumps({"errors": [{"message": "no\x1b[2J\x07\x9b entry\u202e"}]}).encode()
    fake.on("/v2/acme/image/manifests/1", Answer(403, said))
    with pytest.raises(WardianError, match="forbids") as caught:
        client().registry.resolve(reference, AMD64)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", [200, 403])
def test_json_of_a_hundred_thousand_floors_is_no_bug(fakes: Fakes, client: Clients, image: Image, status: int) -> None:
    fake, tokens = fakes(), fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(401, WWW_Authenticate=f'Bearer realm="http://{tokens.host}/token"'))
    tokens.on("/token", Answer(status, b'{"a":' + b"[" * 100_000))
    with pytest.raises(WardianError, match=r"no token|forbids"):
        client().registry.resolve(reference, AMD64)


def test_an_endless_answer_to_a_refresh_token_is_refused(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, tokens = fakes(), fakes()
    reference = serve(fake, image)
    config = {"auths": {fake.host: {"identitytoken": "refresh me"}}}
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config))
    fake.on("/v2/acme/image/manifests/1", Answer(401, WWW_Authenticate=f'Bearer realm="http://{tokens.host}/token"'))
    tokens.on("/token", Answer(body=b"x" * (20 << 20)))
    read: list[int] = []
    feed = httpx.Response.iter_raw

    def counting(self: httpx.Response, chunk_size: int | None = None) -> Iterator[bytes]:
        for piece in feed(self, chunk_size):
            read.append(len(piece))
            yield piece

    monkeypatch.setattr(httpx.Response, "iter_raw", counting)
    with pytest.raises(WardianError, match="more than 1048576 bytes"):
        client().registry.resolve(reference, AMD64)
    assert sum(read) < 2 << 20


def test_redirects_in_circles_end(fakes: Fakes, client: Clients, image: Image) -> None:
    fake = fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(302, Location="/v2/acme/image/manifests/1"))
    with pytest.raises(WardianError, match="redirects in circles"):
        client().registry.resolve(reference, AMD64)


def test_a_token_is_kept_until_it_expires_and_renewed_once_on_401(fakes: Fakes, client: Clients, image: Image) -> None:
    fake, tokens = fakes(), fakes()
    reference = serve(fake, image)
    challenge = f'Bearer realm="http://{tokens.host}/token",service="s",scope="repository:acme/image:pull"'

    def answer(headers: dict[str, str]) -> Answer:
        if headers.get("authorization") != f"Bearer t{len(tokens.requests)}":
            return Answer(401, WWW_Authenticate=challenge)
        return Answer(body=image[2])

    def issue(_: dict[str, str]) -> Answer:
        return Answer(body=json.dumps({"access_token": f"t{len(tokens.requests)}", "expires_in": 300}).encode())

    fake.on("/v2/acme/image/manifests/1", answer)
    tokens.on("/token", issue)
    registry = client().registry
    registry.resolve(reference, AMD64)
    registry.resolve(reference, AMD64)
    assert len(tokens.requests) == 1
    assert tokens.requests[0][0] == "/token?service=s&scope=repository%3Aacme%2Fimage%3Apull"
    tokens.requests.append(("expired", {}))  # what was issued is not accepted any more
    registry.resolve(reference, AMD64)
    assert len(tokens.asked("/token")) == 2


def test_an_identity_token_is_exchanged(tmp_path: Path, fakes: Fakes, client: Clients, image: Image) -> None:
    fake, tokens = fakes(), fakes()
    reference = serve(fake, image)
    (tmp_path / ".docker").mkdir()
    config = {"auths": {fake.host: {"auth": "PHRva2VuPjo=", "identitytoken": "refresh me"}}}
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config))
    challenge = f'Bearer realm="http://{tokens.host}/token",service="s"'
    fake.on("/v2/acme/image/manifests/1", Answer(401, WWW_Authenticate=challenge), Answer(body=image[2]))
    tokens.on("/token", Answer(body=b'{"access_token":"t"}'))
    client().registry.resolve(reference, AMD64)
    form = tokens.requests[0][1]["form"]
    assert "grant_type=refresh_token" in form
    assert "refresh_token=refresh+me" in form
    assert "scope=repository%3Aacme%2Fimage%3Apull" in form
    assert fake.asked("/v2/acme/image/manifests/1")[-1]["authorization"] == "Bearer t"


@pytest.mark.parametrize("body", [b"[]", b"{}", b"no", b'{"token":"a\\nb"}', b'{"token":1}'])
def test_a_token_server_that_answers_nonsense(fakes: Fakes, client: Clients, image: Image, body: bytes) -> None:
    fake, tokens = fakes(), fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(401, WWW_Authenticate=f'Bearer realm="http://{tokens.host}/token"'))
    tokens.on("/token", Answer(body=body))
    with pytest.raises(WardianError, match=r"no token|without a token"):
        client().registry.resolve(reference, AMD64)


def test_a_token_that_is_cut_is_named(fakes: Fakes, client: Clients, image: Image) -> None:
    fake, tokens = fakes(), fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(401, WWW_Authenticate=f'Bearer realm="http://{tokens.host}/token"'))
    tokens.on("/token", Answer(body=b'{"token":"t"}', sent=3))
    with pytest.raises(Unavailable, match="cut the connection"):
        client().registry.resolve(reference, AMD64)


@pytest.mark.parametrize("realm", ["ftp://example.org/token", "https://[evil/token", "", "//example.org/token"])
def test_credentials_are_not_sent_to_an_unsafe_place(fakes: Fakes, client: Clients, image: Image, realm: str) -> None:
    fake = fakes()
    reference = serve(fake, image)
    fake.on("/v2/acme/image/manifests/1", Answer(401, WWW_Authenticate=f'Bearer realm="{realm}"'))
    with pytest.raises(WardianError, match="not a safe address"):
        client().registry.resolve(reference, AMD64)


def test_layers_come_in_parallel_and_a_failure_ends_all(tmp_path: Path, fakes: Fakes, client: Clients) -> None:
    source, fake, store = Store(tmp_path / "many"), fakes(), Store(tmp_path / "store")
    found = add_image(source, "made/here:1", [layer({f"f{at}": BIG[at:]}) for at in range(8)])
    image = source, source.manifest(found.digest), source.read(found.digest)
    reference = serve(fake, image)
    together, most, guard = 0, 0, threading.Lock()
    gate = threading.Barrier(4, timeout=10)

    def slow(content: bytes) -> Callable[[dict[str, str]], Answer]:
        def answer(_: dict[str, str]) -> Answer:
            nonlocal together, most
            with guard:
                together += 1
                most = max(most, together)
            gate.wait()
            with guard:
                together -= 1
            return Answer(body=content)

        return answer

    for blob in image[1].layers:
        fake.on(f"/v2/acme/image/blobs/{blob.digest}", slow(source.read(blob.digest)))
    client().registry.pull(reference, AMD64, store)
    assert most == 4
    bad = Store(tmp_path / "bad")
    for blob in image[1].layers:
        fake.on(f"/v2/acme/image/blobs/{blob.digest}", Answer(404))
    with pytest.raises(WardianError, match="has no blob sha256:"):
        client().registry.pull(reference, AMD64, bad)
    assert bad.references() == []


def test_nobody_prunes_while_an_image_comes_of_which_all_layers_are_here(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image
) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    fake.on(path, Answer(body=content))
    client().registry.blob(reference, image[1].layers[0], Store(store.root))  # by somebody who was killed

    def prune_now(_: dict[str, str]) -> Answer:
        with pytest.raises(WardianError, match="building or pulling"):
            prune(Store(store.root), LocalHost(), None, said=lambda _: None)
        return Answer(body=image[2])

    fake.on("/v2/acme/image/manifests/1", prune_now)
    client().registry.pull(reference, AMD64, store)
    assert store.has(image[1].layers[0].digest)


def test_a_blob_that_was_fetched_and_not_named_yet_is_not_pruned(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image
) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    fake.on(path, Answer(body=content))
    client().registry.blob(reference, image[1].layers[0], store)
    with pytest.raises(WardianError, match="building or pulling"):
        prune(Store(store.root), LocalHost(), None, said=lambda _: None)


def test_what_is_here_is_not_fetched(tmp_path: Path, fakes: Fakes, client: Clients, image: Image) -> None:
    fake = fakes()
    reference = serve(fake, image)
    client().registry.pull(reference, AMD64, image[0])
    assert blob_of(image)[0] not in [path for path, _ in fake.requests]


def test_a_name_that_was_built_here_is_not_taken_away(
    tmp_path: Path, fakes: Fakes, client: Clients, image: Image
) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    fake.on(path, Answer(body=content))
    own = add_image(store, str(reference), [layer({"own": b"1"})])
    client().registry.pull(reference, AMD64, store)
    held = store.resolve(str(reference))
    assert held
    assert held.digest == own.digest


def test_the_environment_s_proxy_is_used_and_no_proxy_is_obeyed(fakes: Fakes, client: Clients, image: Image) -> None:
    proxy = fakes()
    store, manifest, body = image
    here = "http://registry.example/v2/acme/image"
    proxy.on(f"{here}/manifests/1", Answer(body=body))
    proxy.on(f"{here}/blobs/{manifest.config.digest}", Answer(body=store.read(manifest.config.digest)))
    environ = {"http_proxy": f"http://{proxy.host}"}
    reference = Reference.parse("registry.example/acme/image:1")
    client(**environ).registry.with_plain("registry.example").resolve(reference, AMD64)
    assert len(proxy.asked(f"{here}/manifests/1")) == 1
    own = fakes()  # no proxy stands between a machine and itself
    client(**environ).registry.resolve(serve(own, image), AMD64)
    with pytest.raises(Unavailable, match=r"registry\.example cannot be|did not answer"):
        client(**environ, no_proxy="registry.example").registry.with_plain("registry.example").resolve(reference, AMD64)


def test_progress_counts_every_byte_once(tmp_path: Path, fakes: Fakes, client: Clients, image: Image) -> None:
    fake, store = fakes(), Store(tmp_path / "store")
    reference, (path, content) = serve(fake, image), blob_of(image)
    fake.on(path, Answer(body=content, sent=1000), Answer(body=content))
    counted: list[float] = []
    registry = client().registry
    registry.blob(reference, Descriptor(LAYER_GZIP, *_parts(image[1].layers[0])), store, counted.append)
    assert sum(counted) == len(content)
