"""Pulling from real registries: plain, TLS, basic and bearer authentication; what a refusal says."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.images import add_image, layer
from tests.integration.registry import PASSWORD, USER, Auth, Running, start_registry
from wardian.errors import Unavailable, WardianError
from wardian.hosts.local import LocalHost
from wardian.oci.model import INDEX, Descriptor, Index
from wardian.oci.reference import Reference
from wardian.registry.client import Registry, open_registry
from wardian.store.store import Store

pytestmark = pytest.mark.engine
AMD64 = "linux/amd64"
Need = Callable[..., None]


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = Store(tmp_path / "source")
    layers = [layer({"usr/": None, "usr/bin/": None, "usr/bin/tool": b"x" * 70_000}), layer({"etc/name": b"two\n"})]
    add_image(store, "made/here:1", layers, config={"Env": ["A=b"]})
    add_image(store, "made/here:arm", layers[:1], architecture="arm64")
    return store


Client = Callable[..., Registry]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Registries as a user with some environment sees them; connections are closed when the test ends."""
    with ExitStack() as stack:

        def opened(running: Running | None = None, **environ: str) -> Registry:
            trusted = {"SSL_CERT_FILE": str(running.ca)} if running and running.ca else {}
            return stack.enter_context(open_registry({"HOME": str(tmp_path), **trusted, **environ}, LocalHost().run))

        yield opened


def named(store: Store, name: str) -> Descriptor:
    found = store.resolve(name)
    assert found, name
    return found


def assert_same(ours: Store, theirs: Store, digest: str) -> None:
    image = ours.manifest(digest)
    assert ours.read(digest) == theirs.read(digest)
    for blob in (image.config, *image.layers):
        assert ours.read(blob.digest) == theirs.read(blob.digest)


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_image_comes_back_as_it_went(  # noqa: PLR0917 - fixtures
    tmp_path: Path, source: Store, need: Need, client: Client, scheme: str, auth: Auth
) -> None:
    need("docker-registry", "skopeo", "openssl", "htpasswd")
    with start_registry(tmp_path / "registry", tls=scheme == "https", auth=auth) as running:
        reference = Reference.parse(running.push(f"oci:{source.root}:made/here:1", "acme/image:1"))
        running.tokens.clear()
        environ = {} if auth == "none" else {"DOCKER_CONFIG": str(running.docker_config(tmp_path / "docker"))}
        registry, store = client(running, **environ), Store(tmp_path / "store")
        found = registry.pull(reference, AMD64, store)
        assert found.digest == named(source, "made/here:1").digest
        assert_same(store, source, found.digest)
        assert named(store, str(reference)).digest == found.digest
        assert list(store.scratch.iterdir()) == []
        assert running.tokens == (["repository:acme/image:pull"] if auth == "bearer" else [])
        subprocess.run(["skopeo", "inspect", f"oci:{store.root}:{reference}"], check=True, capture_output=True)


def test_skopeo_carries_a_layout_of_ours_to_a_registry_and_back(
    tmp_path: Path, source: Store, need: Need, client: Client
) -> None:
    need("docker-registry", "skopeo")
    with start_registry(tmp_path / "registry") as running:
        reference = running.push(f"oci:{source.root}:made/here:1", "acme/image:1")
        back = tmp_path / "back"
        subprocess.run(
            [
                "skopeo",
                "copy",
                "--quiet",
                "--preserve-digests",
                "--src-tls-verify=false",
                f"docker://{reference}",
                f"oci:{back}:x",
            ],
            check=True,
        )
    digest = Store(back).references()[0].descriptor.digest
    assert digest == named(source, "made/here:1").digest
    assert_same(Store(back), source, digest)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_wrong_and_absent_credentials_say_where_was_looked(
    tmp_path: Path, source: Store, need: Need, client: Client, auth: Auth
) -> None:
    need("docker-registry", "skopeo", "openssl", "htpasswd")
    with start_registry(tmp_path / "registry", auth=auth) as running:
        reference = Reference.parse(running.push(f"oci:{source.root}:made/here:1", "acme/image:1"))
        with pytest.raises(WardianError, match="there are none on this machine") as none:
            client(running).resolve(reference, AMD64)
        assert none.value.hint == f"type: docker login {running.host}"
        folder = running.docker_config(tmp_path / "docker", password="wrong")
        with pytest.raises(WardianError, match=f"wants other credentials for .*{folder}/config.json"):
            client(running, DOCKER_CONFIG=str(folder)).resolve(reference, AMD64)


def test_a_credential_helper_is_asked(
    tmp_path: Path, source: Store, need: Need, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("docker-registry", "skopeo", "htpasswd")
    helper = tmp_path / "bin" / "docker-credential-vault"
    helper.parent.mkdir()
    helper.write_text(f'#!/bin/sh\ncat >{tmp_path}/asked\necho \'{{"Username":"{USER}","Secret":"{PASSWORD}"}}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text('{"credsStore": "vault"}')
    with start_registry(tmp_path / "registry", auth="basic") as running:
        reference = Reference.parse(running.push(f"oci:{source.root}:made/here:1", "acme/image:1"))
        client(running).resolve(reference, AMD64)
        assert (tmp_path / "asked").read_text() == running.host


def test_a_token_that_runs_out_is_renewed(tmp_path: Path, source: Store, need: Need, client: Client) -> None:
    need("docker-registry", "skopeo", "openssl")
    with start_registry(tmp_path / "registry", auth="bearer") as running:
        reference = Reference.parse(running.push(f"oci:{source.root}:made/here:1", "acme/image:1"))
        folder = running.docker_config(tmp_path / "docker")
        running.tokens.clear()
        running.life = -120  # past the registry's tolerance
        registry = client(running, DOCKER_CONFIG=str(folder))
        with pytest.raises(WardianError, match="wants other credentials"):
            registry.resolve(reference, AMD64)
        running.life = 300
        registry.resolve(reference, AMD64)
        assert len(running.tokens) >= 2


def test_untrusted_tls_says_how_to_trust(tmp_path: Path, source: Store, need: Need, client: Client) -> None:
    need("docker-registry", "skopeo", "openssl")
    with start_registry(tmp_path / "registry", tls=True) as running:
        reference = Reference.parse(running.push(f"oci:{source.root}:made/here:1", "acme/image:1"))
        with pytest.raises(Unavailable, match="no trusted TLS connection") as error:
            client().resolve(reference, AMD64)
        assert "SSL_CERT_FILE" in str(error.value.hint)
        folder = tmp_path / ".config" / "containers" / "certs.d" / running.host
        folder.mkdir(parents=True)
        assert running.ca
        (folder / "ca.crt").write_bytes(running.ca.read_bytes())
        client().resolve(reference, AMD64)


def test_an_index_is_read_for_the_platform(tmp_path: Path, source: Store, need: Need, client: Client) -> None:
    need("docker-registry", "skopeo")
    entries = []
    for name, architecture, variant in (("made/here:1", "amd64", None), ("made/here:arm", "arm64", "v8")):
        found = named(source, name)
        offered = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        entries.append(Descriptor(found.media_type, found.digest, found.size, platform=offered))
    source.tag("made/both:1", source.put(Index(tuple(entries)).to_bytes(), INDEX))
    with start_registry(tmp_path / "registry") as running:
        name = f"{running.host}/acme/both:1"
        argv = ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false"]
        subprocess.run([*argv, f"oci:{source.root}:made/both:1", f"docker://{name}"], check=True)
        registry, reference = client(running), Reference.parse(name)
        for platform, entry in (
            ("linux/amd64", entries[0]),
            ("linux/arm64", entries[1]),
            ("linux/arm64/v8", entries[1]),
        ):
            assert registry.resolve(reference, platform).digest == entry.digest
        with pytest.raises(WardianError, match="not there for linux/ppc64le; it offers linux/amd64, linux/arm64/v8"):
            registry.resolve(reference, "linux/ppc64le")
        single = reference.at(entries[1].digest)
        with pytest.raises(WardianError, match="not there for linux/amd64; it offers linux/arm64"):
            registry.resolve(single, AMD64)


def test_what_is_not_there_is_named(tmp_path: Path, source: Store, need: Need, client: Client) -> None:
    need("docker-registry", "skopeo")
    with start_registry(tmp_path / "registry") as running:
        running.push(f"oci:{source.root}:made/here:1", "acme/image:1")
        registry = client(running)
        with pytest.raises(WardianError, match=r"has no acme/image:2: manifest unknown"):
            registry.resolve(Reference.parse(f"{running.host}/acme/image:2"), AMD64)
        with pytest.raises(WardianError, match=r"has no acme/other:1"):
            registry.resolve(Reference.parse(f"{running.host}/acme/other:1"), AMD64)
    with pytest.raises(Unavailable, match="cannot be reached"):
        registry.resolve(Reference.parse(f"{running.host}/acme/image:1"), AMD64)


def test_a_host_without_a_name_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    registry = client()
    with pytest.raises(Unavailable, match=r"the name nowhere\.example cannot be resolved"):
        registry.resolve(Reference.parse("nowhere.example/a/b:1"), AMD64)
