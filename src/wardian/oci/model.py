"""Descriptors, manifests and indexes: reading with validation, writing as canonical JSON.

Source: https://github.com/opencontainers/image-spec (descriptor.md, manifest.md, image-index.md).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wardian.errors import WardianError
from wardian.oci.digest import is_digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
EMPTY = "application/vnd.oci.empty.v1+json"
SPDX = "application/spdx+json"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA_1 = frozenset(f"application/vnd.docker.distribution.manifest.v1+{kind}" for kind in ("json", "prettyjws"))
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_LIST)

_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_AS_OCI = {
    DOCKER_MANIFEST: MANIFEST,
    DOCKER_LIST: INDEX,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": _FOREIGN + "+gzip",
}
LAYERS = frozenset(form + kind for form in (LAYER, _FOREIGN) for kind in ("", "+gzip", "+zstd"))
REF_NAME = "org.opencontainers.image.ref.name"


def oci_media_type(media_type: str) -> str:
    """The OCI name of a docker media type; any other as it is."""
    return _AS_OCI.get(media_type, media_type)


def canonical(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a blob is, its digest and its size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, Any] | None = None
    artifact_type: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The descriptor as it stands in a manifest."""
        optional = {
            "annotations": dict(self.annotations),
            "platform": self.platform and dict(self.platform),
            "artifactType": self.artifact_type,
        }
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size} | {
            name: value for name, value in optional.items() if value
        }

    @classmethod
    def from_json(cls, value: object, place: str = "descriptor") -> "Descriptor":
        """Read a descriptor; ``place`` names it in errors."""
        data = _mapping(value, place)
        digest, size = _text(data, "digest", place), data.get("size")
        if not is_digest(digest):
            raise WardianError(f"{place} has a digest that is not sha256: {digest[:100]!r}")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise WardianError(f"{place} has no valid size")
        platform = data.get("platform")
        return cls(
            _text(data, "mediaType", place),
            digest,
            size,
            _strings(data.get("annotations"), f"annotations of {place}"),
            _mapping(platform, f"platform of {place}") if platform is not None else None,
            _text(data, "artifactType", place) if data.get("artifactType") else None,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image (or artifact) manifest: a config and layers from the bottom up."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Descriptor | None = None
    artifact_type: str | None = None
    media_type: str = MANIFEST

    def to_bytes(self) -> bytes:
        """The manifest's canonical JSON; its digest is the image's identity."""
        data: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        if self.subject:
            data["subject"] = self.subject.to_json()
        if self.artifact_type:
            data["artifactType"] = self.artifact_type
        return canonical(data)

    @classmethod
    def parse(cls, content: bytes) -> "Manifest":
        """Read a manifest of OCI or docker (schema 2). Raises ``WardianError`` when it is anything else."""
        data = document(content, "manifest")
        media_type = media_type_of(data)
        if media_type not in MANIFESTS:
            raise WardianError(f"not an image manifest but {media_type!r}")
        layers = data.get("layers")
        if not isinstance(layers, list):
            raise WardianError("a manifest has no list of layers")
        return cls(
            Descriptor.from_json(data.get("config"), "the config of a manifest"),
            tuple(Descriptor.from_json(layer, f"layer {at + 1} of a manifest") for at, layer in enumerate(layers)),
            _strings(data.get("annotations"), "annotations of a manifest"),
            Descriptor.from_json(data["subject"], "the subject of a manifest") if data.get("subject") else None,
            _text(data, "artifactType", "a manifest") if data.get("artifactType") else None,
            media_type,
        )


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests: one image for several platforms, or the images of a layout."""

    manifests: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = INDEX

    def to_bytes(self) -> bytes:
        """The index's canonical JSON."""
        data: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [entry.to_json() for entry in self.manifests],
        }
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        return canonical(data)

    @classmethod
    def parse(cls, content: bytes) -> "Index":
        """Read an index of OCI or a manifest list of docker. Raises ``WardianError`` when it is anything else."""
        data = document(content, "index")
        media_type = media_type_of(data)
        if media_type not in INDEXES:
            raise WardianError(f"not an image index but {media_type!r}")
        manifests = data.get("manifests")
        if not isinstance(manifests, list):
            raise WardianError("an index has no list of manifests")
        entries = tuple(
            Descriptor.from_json(entry, f"entry {at + 1} of an index") for at, entry in enumerate(manifests)
        )
        return cls(entries, _strings(data.get("annotations"), "annotations of an index"), media_type)


def media_type_of(data: Mapping[str, Any]) -> str:
    """The media type of a parsed manifest or index; told by its shape where the field is absent, as OCI 1.0 allows."""
    said = data.get("mediaType")
    if isinstance(said, str) and said:
        return said
    if data.get("schemaVersion") == 1 or "fsLayers" in data:
        return "application/vnd.docker.distribution.manifest.v1+prettyjws"
    return INDEX if "manifests" in data else MANIFEST


def diff_ids(config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """The digests of an image's ``count`` uncompressed layers, from its config. Raises when they do not match."""
    listed = _mapping(config.get("rootfs"), "rootfs of an image config").get("diff_ids")
    if not isinstance(listed, list) or not all(isinstance(entry, str) and is_digest(entry) for entry in listed):
        raise WardianError("an image config has no list of diff_ids")
    if len(listed) != count:
        raise WardianError(f"an image has {count} layers and {len(listed)} diff_ids")
    return tuple(listed)


def document(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object, or ``WardianError`` that names what it should have been."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WardianError(f"a damaged {what}: it is not JSON") from error
    return dict(_mapping(data, what))


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise WardianError(f"{place} is not a JSON object")
    return value


def _text(data: Mapping[str, Any], name: str, place: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise WardianError(f"{place} has no {name}")
    return value


def _strings(value: object, place: str) -> dict[str, str]:
    if value is None:
        return {}
    data = _mapping(value, place)
    if not all(isinstance(entry, str) for entry in data.values()):
        raise WardianError(f"{place} hold something that is not text")
    return dict(data)
