"""Layers → an image: config, manifest, SBOM and lock beside it, names. Same inputs, same digest, everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardian.builders.base import Site
from wardian.oci.model import CONFIG, EMPTY, MANIFEST, SPDX, Descriptor, Manifest, canonical, oci_media_type
from wardian.plan.images import ImagePlan
from wardian.plan.labels import OCI, annotations, timestamp
from wardian.plan.layers import BaseLayers, title
from wardian.store.store import LayerRecord, Store

BUILT = "dev.wardian.built"
KEY = "dev.wardian.key"
PYLOCK = "application/vnd.wardian.pylock+toml"  # artifact type and media type of a lock beside an image
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Made:
    """An image in the store."""

    digest: str
    size: int  # bytes of all its layers, compressed
    layers: int


def finished(site: Site, plan: ImagePlan) -> Made | None:
    """The image of a plan that was built before and is whole; its names are set again should they have moved."""
    store = site.store
    tagged = store.references()
    found = next((entry for entry in tagged if entry.annotations.get(KEY) == plan.key), None)
    if found is None or not whole(store, found.descriptor.digest):
        return None
    image = store.manifest(found.descriptor.digest)
    named = {entry.reference: entry for entry in tagged}
    for reference in plan.references:
        there = named.get(reference)
        if (
            there is None
            or there.descriptor.digest != found.descriptor.digest
            or there.annotations.get(KEY) != plan.key
        ):
            _tag(store, reference, found.descriptor, plan)
    return Made(found.descriptor.digest, sum(layer.size for layer in image.layers), len(image.layers))


def whole(store: Store, digest: str) -> bool:
    """Whether an image's manifest, config and layers are all in the store."""
    if not digest or not store.has(digest):
        return False
    image = store.manifest(digest)
    return all(store.has(blob.digest, blob.size) for blob in (image.config, *image.layers))


def write(site: Site, plan: ImagePlan, records: Sequence[LayerRecord]) -> Made:
    """Write config, manifest and what goes beside them; give the image its names last."""
    store = site.store
    base = base_manifest(store, plan)
    config = store.put(canonical(config_of(plan, base_config(store, plan), base_history(store, plan), records)), CONFIG)
    blobs = [
        Descriptor(oci_media_type(base.layers[at].media_type), record.digest, record.size)
        if base and at < len(base.layers)
        else record.descriptor
        for at, record in enumerate(records)
    ]
    image = store.put(Manifest(config, tuple(blobs), annotations(plan.labels)).to_bytes(), MANIFEST)
    for artifact in _beside(store, plan, records, image):
        store.attach(image.digest, artifact)
    for reference in plan.references:
        _tag(store, reference, image, plan)
    return Made(image.digest, sum(record.size for record in records), len(records))


def _tag(store: Store, reference: str, image: Descriptor, plan: ImagePlan) -> None:
    platform = _platform(plan)
    described = Descriptor(image.media_type, image.digest, image.size, platform=platform)
    store.tag(reference, described, {BUILT: "true", KEY: plan.key})


def base_manifest(store: Store, plan: ImagePlan) -> Manifest | None:
    """The manifest that the image stands on; None over a bootstrap."""
    bottom = plan.layers[0]
    return store.manifest(bottom.base.digest) if isinstance(bottom, BaseLayers) and bottom.base.digest else None


def _base_document(store: Store, plan: ImagePlan) -> dict[str, Any]:
    bottom = plan.layers[0]
    return store.config(bottom.base.digest) if isinstance(bottom, BaseLayers) and bottom.base.digest else {}


def base_config(store: Store, plan: ImagePlan) -> dict[str, Any]:
    """What the base's config says of execution; empty over a bootstrap."""
    found = _base_document(store, plan).get("config")
    return dict(found) if isinstance(found, dict) else {}


def base_history(store: Store, plan: ImagePlan) -> list[dict[str, Any]]:
    """The base's history, if it has one entry for each of its layers as it should; else one made for each."""
    document = _base_document(store, plan)
    history = document.get("history") or []
    layers = len((document.get("rootfs") or {}).get("diff_ids") or [])
    if sum(not entry.get("empty_layer") for entry in history) == layers:
        return list(history)
    return [{"created_by": "layer of the base"} for _ in range(layers)]


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a config, by name."""
    return dict(entry.partition("=")[::2] for entry in config.get("Env") or ())


def config_of(
    plan: ImagePlan, base: Mapping[str, Any], history: list[dict[str, Any]], records: Sequence[LayerRecord]
) -> dict[str, Any]:
    """The image config.

    Source: https://github.com/opencontainers/image-spec/blob/main/config.md
    """
    created = timestamp(plan.epoch)
    bottom = isinstance(plan.layers[0], BaseLayers)
    ours = [
        {"created": created, "created_by": f"wardian: {title(layer)}", "comment": "wardian"}
        for layer in plan.layers[1 if bottom else 0 :]
    ]
    return {
        **_platform(plan),
        "created": created,
        "config": _execution(plan, base),
        "rootfs": {"type": "layers", "diff_ids": [record.diff_id for record in records]},
        "history": [*history, *ours],
    }


def _platform(plan: ImagePlan) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), plan.platform.split("/"), strict=False))


def _execution(plan: ImagePlan, base: Mapping[str, Any]) -> dict[str, Any]:
    """The base's settings with the plan's on top; OCI's labels of the base speak of the base, and are left out."""
    config = plan.config
    env = {"PATH": PATH, **environment_of(base)}
    env |= dict(config.env)
    folders = env["PATH"].split(":")
    env["PATH"] = ":".join([*(folder for folder in config.path if folder not in folders), *folders])
    labels = {
        name: value for name, value in (base.get("Labels") or {}).items() if not name.startswith((OCI, "dev.wardian."))
    }
    made = {
        name: value for name, value in base.items() if name not in {"Env", "Labels", "OnBuild", "Hostname", "Image"}
    }
    made |= {"Env": [f"{name}={env[name]}" for name in sorted(env)], "Labels": labels | dict(plan.labels)}
    if config.workdir:
        made["WorkingDir"] = config.workdir
    if config.entrypoint is not None:
        made["Entrypoint"] = list(config.entrypoint)
    if config.command is not None:
        made["Cmd"] = list(config.command)
    return {name: value for name, value in made.items() if value not in (None, [], {}, "")}


def _beside(store: Store, plan: ImagePlan, records: Sequence[LayerRecord], image: Descriptor) -> list[Descriptor]:
    """The SBOM and the lock, each an artifact whose subject is the image.

    The store's index finds them by the annotation ``dev.wardian.subject``. A registry without the referrers API shall
    get them under the tag ``sha256-<hex of the image>``. Source: OCI 1.1, manifest.md "subject"; distribution-spec,
    "Referrers Tag Schema".
    """
    made = [_artifact(store, image, SPDX, _bill(plan, records))]
    if plan.pylock:
        made.append(_artifact(store, image, PYLOCK, plan.pylock.encode()))
    return made


def _bill(plan: ImagePlan, records: Sequence[LayerRecord]) -> bytes:
    from wardian.oci import sbom

    where = {package: record.digest for record in records for package in record.packages}
    packages = [
        sbom.Package("pypi", one.name, one.version, one.sha256, one.url, layer=where.get(f"{one.name}=={one.version}"))
        for one in plan.wheels
    ]
    packages += [
        sbom.Package(
            "deb",
            one.name,
            one.version,
            one.sha256,
            one.url,
            namespace="ubuntu" if "ubuntu" in one.url else "debian",
            qualifiers=(("arch", one.architecture),),
            layer=where.get(f"{one.name}={one.version}"),
        )
        for one in plan.debs
    ]
    base = plan.labels.get(f"{OCI}base.name")
    stands = f"{base}@{plan.labels.get(f'{OCI}base.digest')}" if base else None
    return sbom.document(plan.name, packages, base=stands, created=plan.epoch)


def _artifact(store: Store, image: Descriptor, kind: str, content: bytes) -> Descriptor:
    blob = store.put(content, kind)
    empty = store.put(b"{}", EMPTY)
    subject = Descriptor(image.media_type, image.digest, image.size)
    manifest = Manifest(empty, (blob,), subject=subject, artifact_type=kind).to_bytes()
    stored = store.put(manifest, MANIFEST)
    return Descriptor(stored.media_type, stored.digest, stored.size, artifact_type=kind)
