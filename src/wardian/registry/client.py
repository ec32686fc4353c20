"""The client half of the distribution API that `lock` and `build` need: resolve a reference, pull what it names.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md (Pull, Error Codes).
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wardian.command import Command, Result
from wardian.errors import DigestMismatch, WardianError
from wardian.oci.digest import sha256
from wardian.oci.model import (
    CONFIG,
    DOCKER_SCHEMA_1,
    INDEXES,
    LAYERS,
    MANIFESTS,
    Descriptor,
    Index,
    Manifest,
    diff_ids,
    document,
    media_type_of,
    oci_media_type,
)
from wardian.oci.platform import choose, matches, written
from wardian.oci.reference import Reference
from wardian.registry.auth import Authorizer, limited
from wardian.registry.credentials import Keyring
from wardian.registry.download import download, fetch_all
from wardian.registry.faults import cut, not_a_registry, refused, unreachable
from wardian.registry.transport import ATTEMPTS, Transport, is_loopback
from wardian.store.store import Store

if TYPE_CHECKING:
    import httpx

MANIFEST_LIMIT = 4 << 20  # bytes. Source: distribution-spec, «Pushing Manifests»: registries should take at least 4 MiB
CONFIG_LIMIT = 16 << 20
_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_HUB = "registry-1.docker.io"
BUILT = "dev.wardian.built"


class Task(Protocol):
    """One line of a progress display."""

    def advance(self, amount: float) -> None:
        """Move on by so many bytes."""
        ...


class Progress(Protocol):
    """What `Console.progress` yields."""

    def task(self, title: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Show one piece of work."""
        ...


class Registry:
    """All registries, seen from this machine; a block that closes its connections. Safe for threads.

    Plain HTTP is spoken to this machine itself, and to the hosts in ``plain`` (a substitute written ``http://HOST/…``).
    """

    def __init__(self, transport: Transport, authorizer: Authorizer, *, plain: frozenset[str] = frozenset()) -> None:
        self._transport = transport
        self._authorizer = authorizer
        self._plain = plain
        self._schemes: dict[str, str] = {}

    def with_plain(self, host: str) -> "Registry":
        """The same registries and logins, with plain HTTP allowed for one more host."""
        return Registry(self._transport, self._authorizer, plain=self._plain | {host})

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *failure: object) -> None:
        """Close all connections."""
        self._transport.__exit__(*failure)

    def manifest(self, reference: Reference) -> tuple[Descriptor, bytes]:
        """The manifest or index that a reference names, verified. Raises named errors for all that can go wrong."""
        name = reference.digest or reference.tag or "latest"
        response, body = self._small(reference, f"manifests/{name}", MANIFEST_LIMIT, {"Accept": _ACCEPT})
        said = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if said.startswith("text/") or not body.lstrip().startswith(b"{"):
            raise not_a_registry(reference.registry, said)
        digest = sha256(body)
        announced = reference.digest or response.headers.get("docker-content-digest")
        if announced and announced.startswith("sha256:") and announced != digest:
            raise DigestMismatch(
                f"{reference.registry} sent a manifest of {reference.repository} that is {digest}, not {announced}"
            )
        media_type = media_type_of(document(body, "manifest"))
        if media_type in DOCKER_SCHEMA_1 or said in DOCKER_SCHEMA_1:
            raise WardianError(
                f"{reference} is a docker schema 1 image, a format without digests that was given up in 2017",
                hint="pull and push it once with a docker of today",
            )
        if media_type not in (*MANIFESTS, *INDEXES):
            raise WardianError(f"{reference} is no image but {media_type!r}")
        return Descriptor(media_type, digest, len(body)), body

    def resolve(self, reference: Reference, platform: str) -> Descriptor:
        """The manifest for one platform. Raises ``WardianError`` that lists the platforms when it is not among them."""
        return self._resolve(reference, platform)[0]

    def pull(self, reference: Reference, platform: str, store: Store, progress: Progress | None = None) -> Descriptor:
        """Bring an image into the store: layers first, the manifest, as it was, last. Goes on where it was cut.

        The store gives it the reference's name, unless an image that was built here has that name.
        """
        store.claim()
        descriptor, body = self._resolve(reference, platform)
        image = Manifest.parse(body)
        if strange := [layer.media_type for layer in image.layers if oci_media_type(layer.media_type) not in LAYERS]:
            raise WardianError(f"{reference} is no container image: it holds {strange[0]!r}")
        layers = {layer.digest: layer for layer in image.layers}.values()
        missing = [layer for layer in layers if not store.has(layer.digest, layer.size)]
        total = sum(layer.size for layer in missing)
        shown = progress.task(f"pulling {reference.familiar}", total) if progress and missing else nullcontext()
        with shown as task:
            fetch_all(
                missing,
                lambda layer, advance: self.blob(reference, layer, store, advance),
                task.advance if task else None,
            )
        config = self._config(reference, image.config)
        diff_ids(document(config, "image config"), len(image.layers))
        store.put(config, CONFIG)
        store.put(body, descriptor.media_type)
        named = str(replace(reference, digest=None) if reference.tag else reference)
        held = store.resolve(named)
        if held is None or held.annotations.get(BUILT) != "true":
            store.tag(named, descriptor)
        return descriptor

    def blob(
        self, reference: Reference, wanted: Descriptor, store: Store, advance: Callable[[float], None] | None = None
    ) -> Path:
        """Bring one blob into the store, going on from a partial one. Other bytes: ``DigestMismatch``, none kept."""

        def open_at(offset: int) -> "httpx.Response":
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            response = self._get(reference, f"blobs/{wanted.digest}", {"Accept-Encoding": "identity", **headers})
            if response.status_code not in (200, 206, 416):
                raise self._refused(reference, response, f"blob {wanted.digest[:19]}… of {reference.repository}")
            return response

        return download(wanted, store, open_at, self._transport, host=reference.registry, advance=advance)

    def _resolve(self, reference: Reference, platform: str) -> tuple[Descriptor, bytes]:
        descriptor, body = self.manifest(reference)
        if descriptor.media_type in INDEXES:
            entry = choose(Index.parse(body).manifests, platform, name=reference.familiar)
            descriptor, body = self.manifest(reference.at(entry.digest))
            if descriptor.media_type in INDEXES:
                raise WardianError(f"{reference} is an index of indexes")
            return descriptor, body
        config = self._config(reference, Manifest.parse(body).config)
        offered: dict[str, Any] = document(config, "image config")
        if not matches(offered, platform):
            raise WardianError(
                f"{reference.familiar} is not there for {platform}; it offers {written(offered) or 'no platform'}"
            )
        return descriptor, body

    def _config(self, reference: Reference, config: Descriptor) -> bytes:
        _, body = self._small(reference, f"blobs/{config.digest}", CONFIG_LIMIT, {"Accept-Encoding": "identity"})
        if sha256(body) != config.digest:
            raise DigestMismatch(
                f"{reference.registry} sent a config of {reference.repository} that is not {config.digest}"
            )
        return body

    def _small(
        self, reference: Reference, path: str, limit: int, headers: Mapping[str, str]
    ) -> "tuple[httpx.Response, bytes]":
        """A document, read whole; a cut one is asked for again."""
        for attempt in range(ATTEMPTS):
            response = self._get(reference, path, headers)
            if response.status_code != 200:
                raise self._refused(reference, response, _named(reference, path))
            try:
                return response, limited(response, limit)
            except cut() as error:
                if attempt + 1 == ATTEMPTS:
                    raise unreachable(error, reference.registry) from error
                self._transport.pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _get(self, reference: Reference, path: str, headers: Mapping[str, str]) -> "httpx.Response":
        """Ask, and when asked who we are, answer and ask again. A token that ran out on the way is renewed once."""
        host, repository = reference.registry, reference.repository
        scheme = self._scheme(host)
        url = f"{scheme}://{_HUB if host == 'docker.io' else host}/v2/{repository}/{path}"
        used = self._authorizer.header(host, repository)
        response = self._transport.get(url, _with(headers, used))
        for _ in range(2):
            if response.status_code != 401:
                break
            header = self._authorizer.answer(host, repository, response, used=used, plain=scheme == "http")
            if header is None:
                break
            response.close()
            used = header
            response = self._transport.get(url, _with(headers, used))
        return response

    def _scheme(self, host: str) -> str:
        """HTTPS, save for hosts that were said to be plain; a registry on this machine may be either: it is asked."""
        if host in self._plain or not is_loopback(host):
            return "http" if host in self._plain else "https"
        if host not in self._schemes:
            self._schemes[host] = "http" if self._transport.speaks_http(f"http://{host}/v2/") else "https"
        return self._schemes[host]

    def _refused(self, reference: Reference, response: "httpx.Response", what: str) -> WardianError:
        import httpx

        try:
            body = limited(response, MANIFEST_LIMIT)
        except (httpx.HTTPError, WardianError):
            body = b""
        if response.status_code in (401, 403) and "text/html" in response.headers.get("content-type", ""):
            body = b""
        return refused(response.status_code, body, host=reference.registry, what=what, tried=self._authorizer.tried)


def open_registry(
    environ: Mapping[str, str], run: Callable[[Command], Result], *, ca_bundle: str | None = None
) -> Registry:
    """The registries as this user sees them; ``run`` runs credential helpers (`host.run`)."""
    transport = Transport(environ, ca_bundle=Path(ca_bundle) if ca_bundle else None)
    return Registry(transport, Authorizer(transport, Keyring(environ, run)))


def _with(headers: Mapping[str, str], authorization: str | None) -> dict[str, str]:
    return {**headers, **({"Authorization": authorization} if authorization else {})}


def _named(reference: Reference, path: str) -> str:
    if path.startswith("blobs/"):
        return f"blob {path[6:25]}… of {reference.repository}"
    return str(reference).removeprefix(f"{reference.registry}/")
