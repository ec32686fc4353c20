"""What goes wrong while pushing: each fault before a real registry, one line for each, and nothing half-visible."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.disks import disk
from tests.images import add_image, layer
from tests.integration.meddler import Meddler, meddling
from tests.integration.registry import Running, start_registry
from tests.integration.test_push import descriptor, parcel, push, sizes
from tests.integration.test_registry_faults import no_helper
from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.oci.digest import hexadecimal
from wardian.oci.reference import Reference
from wardian.registry.auth import Authorizer
from wardian.registry.client import Registry
from wardian.registry.credentials import Keyring
from wardian.registry.exchange import Exchange
from wardian.registry.transport import LONGEST_WAIT, Transport
from wardian.store.store import Store

pytestmark = pytest.mark.engine
Need = Callable[..., None]
BLOB, MANIFEST = "/blobs/uploads/", "/manifests/"


class Client:
    """A registry client that does not sleep but notes for how long it would have."""

    def __init__(self, folder: Path, stack: ExitStack, **environ: str) -> None:
        self.slept: list[float] = []
        transport = Transport({"HOME": str(folder), **environ}, sleep=self.slept.append)
        keyring = Keyring({"HOME": str(folder), **environ}, no_helper)
        self.registry = stack.enter_context(Registry(Exchange(transport, Authorizer(transport, keyring))))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with ExitStack() as stack:
        yield Client(tmp_path, stack)


@pytest.fixture
def plain(tmp_path: Path, need: Need) -> Iterator[Running]:
    need("docker-registry")
    with start_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def meddler(plain: Running) -> Iterator[Meddler]:
    with meddling(plain.host) as running:
        yield running


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with an image of one layer that goes in four pieces, and a config that goes in one."""
    monkeypatch.setattr("wardian.registry.upload.CHUNK", 100_000)
    store = Store(tmp_path / "source")
    add_image(store, "made/here:1", [layer({"noise": random.Random(2).randbytes(350_000)})])
    return store


def go(client: Client, source: Store, meddler: Meddler) -> object:
    return push(client.registry, source, parcel(source, "made/here:1", f"{meddler.host}/acme/image", "1"))


def assert_whole(client: Client, source: Store, meddler: Meddler, tmp_path: Path) -> None:
    """What the registry has under the tag is the image."""
    back = Store(tmp_path / "back")
    found = client.registry.pull(Reference.parse(f"{meddler.host}/acme/image:1"), "linux/amd64", back)
    assert found.digest == descriptor(source, "made/here:1").digest


def assert_nothing(client: Client, meddler: Meddler) -> None:
    """The tag is not there."""
    with pytest.raises(WardianError, match="has no acme/image:1"):
        client.registry.manifest(Reference.parse(f"{meddler.host}/acme/image:1"))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_piece_that_is_refused_for_a_moment_is_sent_again_from_where_it_stood(
    client: Client, source: Store, meddler: Meddler, tmp_path: Path, status: int
) -> None:
    meddler.on("PATCH", BLOB)  # the first piece arrives
    meddler.on("PATCH", BLOB, status=status, headers={"Retry-After": "3"})
    go(client, source, meddler)
    assert_whole(client, source, meddler, tmp_path)
    ranges = [seen.headers["content-range"] for seen in meddler.seen if seen.method == "PATCH"]
    assert ranges[:4] == ["0-99999", "100000-199999", "100000-199999", "200000-299999"]
    assert meddler.count("GET", BLOB) == 1
    assert client.slept == [3.0]


def test_a_piece_that_is_cut_goes_on_or_begins_anew_and_arrives(
    client: Client, source: Store, meddler: Meddler, tmp_path: Path
) -> None:
    """Docker's registry 2.8 forgets an upload that was cut within a piece; others say where it stands."""
    meddler.on("PATCH", BLOB, cut=30_000)
    moved: list[float] = []
    one = parcel(source, "made/here:1", f"{meddler.host}/acme/image", "1")
    blob = source.manifest(one.image.digest).layers[0]
    from wardian.registry.upload import Upload

    upload = Upload(client.registry.exchange, one.target, blob, source.path(blob.digest), moved.append)
    assert upload.send() == "sent"
    assert sum(moved) == blob.size
    go(client, source, meddler)
    assert_whole(client, source, meddler, tmp_path)


def test_an_answer_that_is_lost_is_not_a_piece_that_is_lost(
    client: Client, source: Store, meddler: Meddler, tmp_path: Path
) -> None:
    meddler.on("PATCH", BLOB, cut_answer=0, lie={"Content-Length": "10"})
    go(client, source, meddler)
    assert_whole(client, source, meddler, tmp_path)


def test_an_upload_that_the_registry_forgot_begins_anew(
    client: Client, source: Store, meddler: Meddler, tmp_path: Path
) -> None:
    meddler.on("PATCH", BLOB, status=404, body=b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"unknown"}]}')
    meddler.on("GET", BLOB, status=404)
    go(client, source, meddler)
    assert meddler.count("POST", BLOB) == 3
    assert_whole(client, source, meddler, tmp_path)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b"", "answers 500 for blob sha256:.* of acme/image: the registry is in trouble"),
        (503, b"", "answers 503"),
        (429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}', "too many requests: slow down"),
        (400, b'{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}', "blob upload invalid"),
    ],
)
def test_a_fault_that_lasts_is_named_and_nothing_is_visible(  # noqa: PLR0917 - a table and its fixtures
    client: Client, source: Store, meddler: Meddler, tmp_path: Path, status: int, body: bytes, words: str
) -> None:
    rule = meddler.on("PATCH", BLOB, status=status, body=body, times=1000)
    with pytest.raises(WardianError, match=words):
        go(client, source, meddler)
    assert meddler.count("PATCH") == 5
    assert all(0 < wait <= LONGEST_WAIT for wait in client.slept)
    assert_nothing(client, meddler)
    rule.times = 0
    go(client, source, meddler)
    assert_whole(client, source, meddler, tmp_path)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, b'{"errors":[{"code":"DENIED","message":"read only"}]}', "forbids pushing .*: read only"),
        (405, b'{"errors":[{"code":"UNSUPPORTED","message":"unsupported"}]}', "does not allow pushing"),
        (413, b"", "takes no blob of that size"),
        (507, b"", "has no room left"),
        (500, b'{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"Err":28}}]}', "has no room left"),
        (400, b'{"errors":[{"code":"UNKNOWN","message":"quota exceeded"}]}', "has no room left.*quota exceeded"),
    ],
)
def test_what_trying_again_cannot_help_is_tried_once(  # noqa: PLR0917 - a table and its fixtures
    client: Client, source: Store, meddler: Meddler, status: int, body: bytes, words: str
) -> None:
    meddler.on("PATCH", BLOB, status=status, body=body, times=1000)
    with pytest.raises(WardianError, match=words) as error:
        go(client, source, meddler)
    assert meddler.count("PATCH") == 1
    assert error.value.hint
    assert_nothing(client, meddler)


def test_a_registry_whose_disk_is_full_is_named(client: Client, source: Store, need: Need, tmp_path: Path) -> None:
    need("docker-registry")
    if os.getuid():
        pytest.skip("only root can mount a disk, and fill it, where others see it")
    with disk(tmp_path / "disk", "1m") as small:
        (small.seen / "data").mkdir()
        small.fill(100_000)
        with start_registry(tmp_path / "registry", data=small.seen / "data") as running:
            one = parcel(source, "made/here:1", f"{running.host}/acme/image", "1")
            with pytest.raises(Unavailable, match=r"has no room left: pushing blob .* failed"):
                push(client.registry, source, one)
            small.change("size=8m")
            assert push(client.registry, source, one).sent > 0


@pytest.mark.parametrize(("times", "arrives"), [(4, True), (5, False)])
def test_a_manifest_whose_digest_is_doubted_for_a_moment_is_sent_again(
    *, client: Client, source: Store, meddler: Meddler, tmp_path: Path, times: int, arrives: bool
) -> None:
    """Docker's registry doubts it while another push writes the same links."""
    body = b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match uploaded content"}]}'
    meddler.on("PUT", "/manifests/1", status=400, body=body, times=times)
    if arrives:
        go(client, source, meddler)
        assert_whole(client, source, meddler, tmp_path)
    else:
        with pytest.raises(WardianError, match="answers 400 for acme/image:1: provided digest did not match"):
            go(client, source, meddler)
        assert_nothing(client, meddler)
    assert meddler.count("PUT", "/manifests/1") == 5
    assert len(client.slept) == 4


def test_a_digest_that_is_not_ours_is_refused(client: Client, source: Store, meddler: Meddler) -> None:
    meddler.on("PUT", BLOB, lie={"Docker-Content-Digest": f"sha256:{'1' * 64}"})
    with pytest.raises(DigestMismatch, match="stored sha256:1111"):
        go(client, source, meddler)
    assert_nothing(client, meddler)


def test_a_manifest_stored_under_another_digest_is_refused(client: Client, source: Store, meddler: Meddler) -> None:
    meddler.on("PUT", MANIFEST, lie={"Docker-Content-Digest": f"sha256:{'1' * 64}"})
    with pytest.raises(DigestMismatch, match=r"stored sha256:1111.* as acme/image:1"):
        go(client, source, meddler)


def test_a_blob_of_ours_that_was_touched_is_named(client: Client, source: Store, meddler: Meddler) -> None:
    blob = source.manifest(descriptor(source, "made/here:1").digest).layers[0]
    path = source.root / "blobs" / "sha256" / hexadecimal(blob.digest)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestMismatch, match="was changed") as error:
        go(client, source, meddler)
    assert error.value.hint == "type: wardian store verify --repair"
    assert_nothing(client, meddler)


def test_a_tag_that_somebody_else_moves_meanwhile_is_said(
    client: Client, source: Store, meddler: Meddler, plain: Running
) -> None:
    add_image(source, "made/other:1", [layer({"other": b"other"})])
    other = parcel(source, "made/other:1", f"{plain.host}/acme/image", "1")
    meddler.on("PUT", f"{MANIFEST}1", after=lambda: push(client.registry, source, other))
    with pytest.raises(WardianError, match=f"acme/image:1 was moved to {other.image.digest} by somebody else") as error:
        go(client, source, meddler)
    assert error.value.hint
    assert "push again" in error.value.hint
    done = go(client, source, meddler)
    assert done.tags == {"1": other.image.digest}  # type: ignore[attr-defined]


def test_a_tag_that_moves_between_looking_and_sending_becomes_ours(
    client: Client, source: Store, meddler: Meddler, plain: Running, tmp_path: Path
) -> None:
    add_image(source, "made/other:1", [layer({"other": b"other"})])
    other = parcel(source, "made/other:1", f"{plain.host}/acme/image", "1")
    meddler.on("HEAD", f"{MANIFEST}1", after=lambda: push(client.registry, source, other))
    go(client, source, meddler)
    assert_whole(client, source, meddler, tmp_path)


def test_a_push_that_stopped_goes_on_with_what_is_missing(client: Client, source: Store, meddler: Meddler) -> None:
    rule = meddler.on("PUT", f"{MANIFEST}1", status=500, times=1000)
    with pytest.raises(Unavailable, match="answers 500 for acme/image:1"):
        go(client, source, meddler)
    assert_nothing(client, meddler)
    rule.times = 0
    done = go(client, source, meddler)
    assert done.present == sizes(source, "made/here:1")  # type: ignore[attr-defined]
    assert done.sent == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["", "http://[evil/", "file:///etc/passwd"])
def test_an_upload_that_leads_nowhere_is_named(client: Client, source: Store, meddler: Meddler, place: str) -> None:
    meddler.on("POST", BLOB, lie={"Location": place})
    with pytest.raises(WardianError, match=r"no address|does not say where"):
        go(client, source, meddler)


def test_credentials_do_not_follow_an_upload_elsewhere(
    client: Client, source: Store, meddler: Meddler, tmp_path: Path, plain: Running
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password pw\n")
    (tmp_path / ".netrc").chmod(0o600)
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    meddler.on("HEAD", f"{MANIFEST}1", status=401, headers=challenge)
    with meddling(plain.host) as storage:
        rule = meddler.on("POST", BLOB, times=1)

        def elsewhere() -> None:
            rule.lie = {"Location": f"http://{storage.host}/upload?signature=1"}

        rule.after = elsewhere
        storage.on("PATCH", "/upload", status=403, times=5)
        with pytest.raises(WardianError):
            go(client, source, meddler)
        assert any("authorization" in seen.headers for seen in meddler.seen)
        assert storage.seen
        assert not any("authorization" in seen.headers for seen in storage.seen)


def test_an_unknown_certificate_is_named(client: Client, source: Store, need: Need, tmp_path: Path) -> None:
    need("docker-registry", "openssl")
    with start_registry(tmp_path / "tls", tls=True) as running:
        with pytest.raises(Unavailable, match="no trusted TLS connection") as error:
            push(client.registry, source, parcel(source, "made/here:1", f"{running.host}/acme/image", "1"))
        assert error.value.hint
        assert "SSL_CERT_FILE" in error.value.hint
