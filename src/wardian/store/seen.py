"""Reads what the looking verbs show from the store."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from wardian.errors import WardianError
from wardian.oci.model import MANIFESTS, Descriptor, Manifest, document
from wardian.oci.platform import written
from wardian.plan.looking import ImageSeen, LayerSeen
from wardian.store.contents import contents, read
from wardian.store.record import LayerRecord
from wardian.store.store import Store, Tagged

_PURL = re.compile(r"pkg:(pypi|deb)/(?:[^/@]+/)?([^/@?]+)@([^?#]+)")
_DIST_INFO = re.compile(r"(?:.*/)?([^/]+)-([^/-]+)\.dist-info/METADATA")


def records(store: Store) -> dict[str, LayerRecord]:
    """Layer digest → what is remembered of it."""
    return {record.digest: record for _, record in store.remembered() if record}


def seen(store: Store, tagged: Tagged, known: Mapping[str, LayerRecord], *, packages: bool = False) -> ImageSeen:
    """One image. ``packages`` also collects all that is installed: from its SBOM, else from its files."""
    digest = tagged.descriptor.digest
    image, config = store.manifest(digest), store.config(digest)
    titles = _titles(config, len(image.layers))
    layers = tuple(_layer(blob, titles[at], known.get(blob.digest)) for at, blob in enumerate(image.layers))
    return ImageSeen(
        reference=tagged.reference,
        digest=digest,
        platform=written(config),
        built=tagged.annotations.get("dev.wardian.built") == "true",
        made=store.path(digest).stat().st_mtime,
        layers=layers,
        config=config.get("config") or {},
        packages=(from_sbom(store, digest) or from_files(store, digest)) if packages else (),
    )


def all_seen(store: Store) -> Iterator[ImageSeen | WardianError]:
    """Every image that has a name; an error in the place of one that is damaged."""
    known = records(store)
    for tagged in store.references():
        if tagged.descriptor.media_type in MANIFESTS:
            try:
                yield seen(store, tagged, known)
            except WardianError as error:
                yield WardianError(f"{tagged.reference}: {error.message}", hint=error.hint)


def from_sbom(store: Store, digest: str) -> tuple[str, ...]:
    """The pins in the SPDX document attached to an image; empty when there is none."""
    for referrer in store.referrers(digest):
        artifact = Manifest.parse(store.read(referrer.digest))
        for blob in artifact.layers:
            if "spdx" in blob.media_type:
                return pins(document(store.read(blob.digest), "SBOM"))
    return ()


def pins(sbom: Mapping[str, Any]) -> tuple[str, ...]:
    """The packages of an SPDX document as pins, sorted. Source: SPDX 2.3, 7.21 (external references), purl."""
    found: set[str] = set()
    for package in sbom.get("packages") or ():
        for reference in package.get("externalRefs") or ():
            if match := _PURL.match(str(reference.get("referenceLocator", ""))):
                kind, name, version = match.groups()
                found.add(f"{unquote(name)}{'==' if kind == 'pypi' else '='}{unquote(version)}")
    return tuple(sorted(found))


def from_files(store: Store, digest: str) -> tuple[str, ...]:
    """The pins that an image's own files tell: every dist-info folder, and dpkg's list. Reads all its layers."""
    whole = contents(store, digest)
    found = {f"{match[1]}=={match[2]}" for path in whole.entries if (match := _DIST_INFO.fullmatch(path))}
    status = read(store, digest, whole, "var/lib/dpkg/status") or b""
    for stanza in status.decode("utf-8", "replace").split("\n\n"):
        lines = dict(line.partition(": ")[::2] for line in stanza.splitlines() if not line.startswith(" "))
        if lines.get("Status", "").endswith(" installed") and "Package" in lines:
            found.add(f"{lines['Package']}={lines.get('Version', '')}")
    return tuple(sorted(found))


def _layer(blob: Descriptor, title: str, record: LayerRecord | None) -> LayerSeen:
    if record is None:
        return LayerSeen(blob.digest, blob.size, title or "layer")
    return LayerSeen(blob.digest, blob.size, record.title, record.unpacked_size, record.packages)


def _titles(config: Mapping[str, Any], count: int) -> list[str]:
    """What the config's history says of each layer; it may say nothing. Source: image-spec, config.md, "history"."""
    said = [
        str(entry.get("created_by") or entry.get("comment") or "")
        for entry in config.get("history") or ()
        if isinstance(entry, dict) and not entry.get("empty_layer")
    ]
    shortened = [" ".join(line.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").split())[:70] for line in said]
    return shortened if len(shortened) == count else [""] * count
