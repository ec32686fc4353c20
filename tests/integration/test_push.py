"""Pushing to real registries: only what is missing, from where it is already, nothing half, under every login."""

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.images import add_image, layer
from tests.integration.meddler import Meddler, meddling
from tests.integration.registry import SERVICE, Auth, Running, start_registry
from wardian.errors import WardianError
from wardian.hosts.local import LocalHost
from wardian.oci.model import EMPTY, MANIFEST, SPDX, Descriptor, Index, Manifest
from wardian.oci.reference import Reference
from wardian.registry.client import Registry, open_registry
from wardian.registry.push import Delivery, Parcel, Pusher
from wardian.store.store import Store

pytestmark = pytest.mark.engine
AMD64 = "linux/amd64"
Need = Callable[..., None]
Client = Callable[..., Registry]


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A store with an image and one that stands on it."""
    store = Store(tmp_path / "source")
    layers = [layer({"usr/": None, "usr/tool": b"x" * 70_000}), layer({"etc/name": b"two\n"})]
    add_image(store, "made/here:1", layers, config={"Env": ["A=b"]})
    add_image(store, "made/child:1", [*layers, layer({"etc/more": b"three\n"})])
    return store


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with ExitStack() as stack:

        def opened(running: Running | None = None, **environ: str) -> Registry:
            trusted = {"SSL_CERT_FILE": str(running.ca)} if running and running.ca else {}
            return stack.enter_context(open_registry({"HOME": str(tmp_path), **trusted, **environ}, LocalHost().run))

        yield opened


@pytest.fixture
def plain(tmp_path: Path, need: Need) -> Iterator[Running]:
    need("docker-registry")
    with start_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def watched(plain: Running) -> Iterator[Meddler]:
    """A registry whose requests are counted."""
    with meddling(plain.host) as meddler:
        yield meddler


def descriptor(store: Store, name: str) -> Descriptor:
    found = store.resolve(name)
    assert found, name
    return found


def parcel(store: Store, name: str, target: str, *tags: str) -> Parcel:
    return Parcel(descriptor(store, name), Reference.parse(target), tags)


def push(registry: Registry, store: Store, one: Parcel) -> Delivery:
    return Pusher(registry, store, None).push(one)


def sizes(store: Store, name: str) -> int:
    image = store.manifest(descriptor(store, name).digest)
    return sum(blob.size for blob in (*image.layers, image.config))


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_was_pushed_is_pulled_by_us_and_by_skopeo(  # noqa: PLR0917 - fixtures
    tmp_path: Path, source: Store, need: Need, client: Client, scheme: str, auth: Auth
) -> None:
    need("docker-registry", "skopeo", "openssl", "htpasswd")
    with start_registry(tmp_path / "registry", tls=scheme == "https", auth=auth) as running:
        environ = {} if auth == "none" else {"DOCKER_CONFIG": str(running.docker_config(tmp_path / "docker"))}
        registry = client(running, **environ)
        done = push(registry, source, parcel(source, "made/here:1", f"{running.host}/acme/image", "1", "latest"))
        assert (done.sent, done.mounted, done.present) == (sizes(source, "made/here:1"), 0, 0)
        assert done.tags == {"1": "new", "latest": "new"}
        if auth == "bearer":
            assert running.tokens == ["repository:acme/image:pull,push"]
        back = Store(tmp_path / "back")
        for tag in ("1", "latest"):
            found = registry.pull(Reference.parse(f"{running.host}/acme/image:{tag}"), AMD64, back)
            assert found.digest == done.digest
        login = ["--src-creds", "ada:s3cret"] if auth != "none" else []
        copied = tmp_path / "skopeo"
        subprocess.run(
            [
                *("skopeo", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", *login),
                *(f"docker://{running.host}/acme/image:1", f"oci:{copied}:x"),
            ],
            check=True,
        )
        assert Store(copied).references()[0].descriptor.digest == done.digest


def test_a_second_push_costs_one_request_for_each_tag(source: Store, watched: Meddler, client: Client) -> None:
    one = parcel(source, "made/here:1", f"{watched.host}/acme/image", "1", "latest")
    push(client(), source, one)
    watched.seen.clear()
    done = push(client(), source, one)
    assert [seen.method for seen in watched.seen if seen.path != "/v2/"] == ["HEAD", "HEAD"]
    assert (done.sent, done.mounted, done.present) == (0, 0, sizes(source, "made/here:1"))
    assert done.tags == {"1": "present", "latest": "present"}


def test_another_tag_of_a_pushed_image_costs_no_blob(source: Store, watched: Meddler, client: Client) -> None:
    push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/image", "1"))
    watched.seen.clear()
    done = push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/image", "1", "stable"))
    assert watched.count("HEAD", "/blobs/") == watched.count("POST") == 0
    assert watched.count("PUT") == 1
    assert done.tags == {"1": "present", "stable": "new"}


def test_only_what_is_missing_is_sent_and_the_rest_is_mounted(source: Store, watched: Meddler, client: Client) -> None:
    pusher = Pusher(client(), source, None)
    pusher.push(parcel(source, "made/here:1", f"{watched.host}/acme/base", "1"))
    watched.seen.clear()
    done = pusher.push(parcel(source, "made/child:1", f"{watched.host}/acme/child", "1"))
    child = source.manifest(descriptor(source, "made/child:1").digest)
    assert done.mounted == sum(blob.size for blob in child.layers[:2])
    assert done.sent == child.layers[2].size + child.config.size
    assert watched.count("PUT", "/blobs/") == 2
    mounts = [seen.query for seen in watched.seen if "mount=" in seen.query]
    assert sorted(mounts) == sorted(f"mount={blob.digest}&from=acme/base" for blob in child.layers[:2])


def test_layers_of_a_base_that_was_pulled_are_mounted_from_its_repository(
    source: Store, watched: Meddler, client: Client
) -> None:
    push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/base", "1"))
    client().pull(Reference.parse(f"{watched.host}/acme/base:1"), AMD64, source)
    done = push(client(), source, parcel(source, "made/child:1", f"{watched.host}/acme/child", "1"))
    base = source.manifest(descriptor(source, "made/here:1").digest)
    assert done.mounted == sum(blob.size for blob in base.layers)


def test_a_wrong_guess_of_where_a_blob_is_sends_it(source: Store, watched: Meddler, client: Client) -> None:
    source.tag(f"{watched.host}/acme/never:1", descriptor(source, "made/here:1"))
    done = push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/image", "1"))
    assert done.mounted == 0
    assert done.sent == sizes(source, "made/here:1")
    assert watched.count("POST", "/blobs/uploads/") == 3


def test_the_manifest_comes_after_all_that_it_names(source: Store, watched: Meddler, client: Client) -> None:
    add_sbom(source, descriptor(source, "made/here:1"))
    push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/image", "1", "2"))
    puts = [seen.path.removeprefix("/v2/acme/image/") for seen in watched.seen if seen.method == "PUT"]
    kinds = ["blob" if path.startswith("blobs") else path.removeprefix("manifests/") for path in puts]
    config = source.manifest(descriptor(source, "made/here:1").digest).config
    assert kinds[-2:] == ["1", "2"]
    assert kinds[: kinds.index("1")].count("blob") == len([kind for kind in kinds if kind == "blob"])
    blobs = [seen.query.partition("digest=")[2] for seen in watched.seen if "digest=" in seen.query]
    assert blobs[-1] == config.digest


def add_sbom(store: Store, image: Descriptor) -> Descriptor:
    """Attach an artifact as a build does."""
    empty, bill = store.put(b"{}", EMPTY), store.put(b'{"spdxVersion":"SPDX-2.3"}', SPDX)
    plain = Descriptor(image.media_type, image.digest, image.size)
    body = Manifest(empty, (bill,), subject=plain, artifact_type=SPDX).to_bytes()
    found = replace(store.put(body, MANIFEST), artifact_type=SPDX)
    store.attach(image.digest, found)
    return found


def test_what_speaks_of_an_image_is_listed_where_the_registry_lists_nothing(
    source: Store, watched: Meddler, client: Client
) -> None:
    image = descriptor(source, "made/here:1")
    bill = add_sbom(source, image)
    for tag in ("1", "again"):
        push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/image", tag))
        listed = Reference.parse(f"{watched.host}/acme/image:{image.digest.replace(':', '-')}")
        entries = Index.parse(client().manifest(listed)[1]).manifests
        assert [(one.digest, one.artifact_type, dict(one.annotations)) for one in entries] == [(bill.digest, SPDX, {})]
    where = Reference.parse(f"{watched.host}/acme/image").at(bill.digest)
    artifact = Manifest.parse(client().manifest(where)[1])
    assert artifact.subject
    assert artifact.subject.digest == image.digest


def test_a_list_of_referrers_keeps_what_another_push_wrote_meanwhile(
    source: Store, watched: Meddler, client: Client, tmp_path: Path
) -> None:
    image = descriptor(source, "made/here:1")
    bill, theirs = add_sbom(source, image), Store(tmp_path / "theirs")
    tag = image.digest.replace(":", "-")
    listed = Reference.parse(f"{watched.host}/acme/image:{tag}")
    push(client(), source, parcel(source, "made/child:1", f"{watched.host}/acme/image", "0"))
    artifact = theirs.put(
        Manifest(theirs.put(b"{}", EMPTY), (), subject=image, artifact_type="x/y").to_bytes(), MANIFEST
    )

    def write_over() -> None:
        other = Pusher(client(), theirs, None)
        content = Index((replace(artifact, artifact_type="x/y"),)).to_bytes()
        other._upload(listed, theirs.manifest(artifact.digest).config).send()
        other._put(listed, artifact.digest, theirs.read(artifact.digest), MANIFEST)
        other._put(listed, tag, content, Index().media_type)

    watched.on("PUT", f"/manifests/{tag}", after=write_over)
    push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/image", "1"))
    found = {entry.digest for entry in Index.parse(client().manifest(listed)[1]).manifests}
    assert found == {bill.digest, artifact.digest}


def test_a_registry_that_lists_referrers_gets_no_list(source: Store, watched: Meddler, client: Client) -> None:
    image = descriptor(source, "made/here:1")
    bill = add_sbom(source, image)
    watched.on("PUT", f"/manifests/{bill.digest}", lie={"OCI-Subject": image.digest})
    push(client(), source, parcel(source, "made/here:1", f"{watched.host}/acme/image", "1"))
    assert watched.count("PUT", "/manifests/sha256-") == 0


def test_what_speaks_of_an_image_that_is_there_already_is_brought(
    source: Store, watched: Meddler, client: Client
) -> None:
    one = parcel(source, "made/here:1", f"{watched.host}/acme/image", "1")
    push(client(), source, one)
    bill = add_sbom(source, one.image)
    size = sum(blob.size for blob in source.manifest(bill.digest).layers)
    for sent in (size, 0):
        watched.seen.clear()
        done = push(client(), source, one)
        assert (done.present >= sizes(source, "made/here:1"), done.sent - sent in {0, 2}) == (True, True), done
        listed = Reference.parse(f"{watched.host}/acme/image:{one.image.digest.replace(':', '-')}")
        found = Index.parse(client().manifest(listed)[1]).manifests
        assert [entry.digest for entry in found] == [bill.digest]
    assert [seen.method for seen in watched.seen if seen.path != "/v2/"][:2] == ["HEAD", "HEAD"]


def test_two_pushes_at_once_do_each_other_no_harm(
    source: Store, plain: Running, client: Client, tmp_path: Path
) -> None:
    failures: list[BaseException] = []

    def one() -> None:
        try:
            push(client(), source, parcel(source, "made/child:1", f"{plain.host}/acme/image", "1", "latest"))
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    back = Store(tmp_path / "back")
    for tag in ("1", "latest"):
        found = client().pull(Reference.parse(f"{plain.host}/acme/image:{tag}"), AMD64, back)
        assert found.digest == descriptor(source, "made/child:1").digest


def test_an_index_names_an_image_for_each_platform(
    source: Store, plain: Running, client: Client, tmp_path: Path
) -> None:
    add_image(source, "made/arm:1", [layer({"arm": b"arm"})], architecture="arm64")
    pusher = Pusher(client(), source, None)
    entries = []
    for name, architecture in (("made/here:1", "amd64"), ("made/arm:1", "arm64")):
        found = replace(
            descriptor(source, name), annotations={}, platform={"os": "linux", "architecture": architecture}
        )
        pusher.push(Parcel(found, Reference.parse(f"{plain.host}/acme/both")))
        entries.append(found)
    whole = pusher.push_index(Reference.parse(f"{plain.host}/acme/both:1"), entries)
    assert whole.tags == {"1": "new"}
    back = Store(tmp_path / "back")
    for entry, wanted in zip(entries, (AMD64, "linux/arm64"), strict=True):
        assert client().pull(Reference.parse(f"{plain.host}/acme/both:1"), wanted, back).digest == entry.digest
    assert pusher.push_index(Reference.parse(f"{plain.host}/acme/both:1"), entries).tags == {"1": "present"}


def test_a_token_that_ends_between_two_pieces_is_renewed(
    tmp_path: Path, source: Store, need: Need, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("docker-registry", "openssl")
    monkeypatch.setattr("wardian.registry.upload.CHUNK", 100_000)
    noise = random.Random(1).randbytes(350_000)
    add_image(source, "made/noise:1", [layer({"noise": noise})])
    with start_registry(tmp_path / "registry", auth="bearer") as running, meddling(running.host) as meddler:
        folder = running.docker_config(tmp_path / "docker", host=meddler.host)
        realm = (running.folder / "config.yml").read_text().partition('"realm": "')[2].partition('"')[0]
        scope = "repository:acme/image:pull,push"
        challenge = f'Bearer realm="{realm}",service="{SERVICE}",scope="{scope}",error="invalid_token"'
        refused = meddler.on("PATCH", "/blobs/uploads/", status=401, headers={"WWW-Authenticate": challenge})
        done = push(
            client(DOCKER_CONFIG=str(folder)), source, parcel(source, "made/noise:1", f"{meddler.host}/acme/image", "1")
        )
        assert refused.times == 0
        assert running.tokens == [scope, scope]
        assert meddler.count("PATCH") == 5
        assert done.sent == sizes(source, "made/noise:1")


def test_a_mount_asks_for_reading_the_other_repository(
    tmp_path: Path, source: Store, need: Need, client: Client
) -> None:
    need("docker-registry", "openssl")
    with start_registry(tmp_path / "registry", auth="bearer") as running:
        registry = client(DOCKER_CONFIG=str(running.docker_config(tmp_path / "docker")))
        pusher = Pusher(registry, source, None)
        pusher.push(parcel(source, "made/here:1", f"{running.host}/acme/base", "1"))
        done = pusher.push(parcel(source, "made/child:1", f"{running.host}/acme/child", "1"))
        assert done.mounted > 0
        both = {"repository:acme/child:pull,push", "repository:acme/base:pull"}
        assert any(set(scopes.split()) == both for scopes in running.tokens)


def test_an_account_that_may_only_read_is_told_so(tmp_path: Path, source: Store, need: Need, client: Client) -> None:
    need("docker-registry", "openssl")
    with start_registry(tmp_path / "registry", auth="bearer") as running:
        running.read_only = True
        registry = client(DOCKER_CONFIG=str(running.docker_config(tmp_path / "docker")))
        with pytest.raises(WardianError, match=r"forbids pushing .*acme/image") as error:
            push(registry, source, parcel(source, "made/here:1", f"{running.host}/acme/image", "1"))
        assert error.value.hint
        assert "ask its owner for the right to" in error.value.hint
