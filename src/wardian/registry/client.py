"""The client half of the distribution API that `lock` and `build` need: resolve a reference, pull what it names.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md (Pull, Error Codes).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from wardian.registry.auth import Authorizer
from wardian.registry.credentials import Keyring
from wardian.registry.download import download
from wardian.registry.exchange import SMALL, Exchange
from wardian.registry.faults import not_a_registry
from wardian.registry.parallel import each_blob
from wardian.registry.progress import Progress, metered
from wardian.registry.transport import Transport
from wardian.store.store import Store

if TYPE_CHECKING:
    import httpx

CONFIG_LIMIT = 16 << 20
ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
BUILT = "dev.wardian.built"


class Registry:
    """All registries, seen from this machine; a block that closes its connections. Safe for threads.

    Plain HTTP is spoken to this machine itself, and to the hosts in ``plain`` (a substitute written ``http://HOST/…``).
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def with_plain(self, host: str) -> "Registry":
        """The same registries and logins, with plain HTTP allowed for one more host."""
        return Registry(self.exchange.with_plain(host))

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *failure: object) -> None:
        """Close all connections."""
        self.exchange.transport.__exit__(*failure)

    def manifest(self, reference: Reference) -> tuple[Descriptor, bytes]:
        """The manifest or index that a reference names, verified. Raises named errors for all that can go wrong."""
        name = reference.digest or reference.tag or "latest"
        what = str(reference).removeprefix(f"{reference.registry}/")
        response, body = self.exchange.small(reference, f"manifests/{name}", SMALL, {"Accept": ACCEPT}, what)
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
        with metered(progress if missing else None, f"pulling {reference.familiar}", total) as advance:
            each_blob(missing, lambda layer, step: self.blob(reference, layer, store, step), advance)
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
            response = self.exchange.get(
                reference, f"blobs/{wanted.digest}", {"Accept-Encoding": "identity", **headers}
            )
            if response.status_code not in (200, 206, 416):
                raise self.exchange.refused(reference, response, _blob(reference, wanted))
            return response

        return download(wanted, store, open_at, self.exchange.transport, host=reference.registry, advance=advance)

    def config(self, reference: Reference, wanted: Descriptor) -> dict[str, Any]:
        """The config of an image, verified and parsed."""
        return document(self._config(reference, wanted), "image config")

    def _resolve(self, reference: Reference, platform: str) -> tuple[Descriptor, bytes]:
        descriptor, body = self.manifest(reference)
        if descriptor.media_type in INDEXES:
            entry = choose(Index.parse(body).manifests, platform, name=reference.familiar)
            descriptor, body = self.manifest(reference.at(entry.digest))
            if descriptor.media_type in INDEXES:
                raise WardianError(f"{reference} is an index of indexes")
            return descriptor, body
        offered = self.config(reference, Manifest.parse(body).config)
        if not matches(offered, platform):
            raise WardianError(
                f"{reference.familiar} is not there for {platform}; it offers {written(offered) or 'no platform'}"
            )
        return descriptor, body

    def _config(self, reference: Reference, config: Descriptor) -> bytes:
        _, body = self.exchange.small(
            reference,
            f"blobs/{config.digest}",
            CONFIG_LIMIT,
            {"Accept-Encoding": "identity"},
            _blob(reference, config),
        )
        if sha256(body) != config.digest:
            raise DigestMismatch(
                f"{reference.registry} sent a config of {reference.repository} that is not {config.digest}"
            )
        return body


def open_registry(
    environ: Mapping[str, str],
    run: Callable[[Command], Result],
    *,
    ca_bundle: str | None = None,
    note: Callable[[str], None] | None = None,
) -> Registry:
    """The registries as this user sees them; ``run`` runs credential helpers, ``note`` hears of each request."""
    transport = Transport(environ, ca_bundle=Path(ca_bundle) if ca_bundle else None)
    return Registry(Exchange(transport, Authorizer(transport, Keyring(environ, run)), note=note))


def _blob(reference: Reference, blob: Descriptor) -> str:
    return f"blob {blob.digest[:19]}… of {reference.repository}"
