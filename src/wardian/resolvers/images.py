"""Base images: a reference becomes a digest, a digest becomes layers in the store; what Python lies in them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from wardian.errors import Unavailable, WardianError
from wardian.lock.model import Base
from wardian.oci.model import INDEXES, Descriptor, Index
from wardian.oci.platform import choose
from wardian.oci.reference import Reference
from wardian.registry.client import BUILT, Registry
from wardian.registry.progress import Progress
from wardian.registry.source import Source
from wardian.spec.substitute import substitute
from wardian.store.contents import Contents, contents
from wardian.store.store import Store

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = re.compile(r"python(3\.[0-9]+)")


def resolve(reference: str, platform: str, *, substitutes: Mapping[str, str], store: Store, registry: Registry) -> Base:
    """Pin a base: its digest in the store, else an image built here under that tag, else the registry's answer.

    A machine's substitute goes first; the base then records both names. The digest is that of the platform's manifest.
    """
    instead = substitute(substitutes, reference)
    source = Source.parse(instead or reference)
    held = _held(source.reference, platform, store)
    try:
        found = held or source.of(registry).resolve(source.reference, platform)
    except Unavailable as error:
        hint = f"{error.hint}; or let [substitutes] in wardian.local.toml name another base for this machine"
        raise Unavailable(f"base {instead or reference}: {error.message}", hint=hint) from error
    return Base(reference=reference, substitute=instead, digest=found.digest)


def ensure(
    base: Base, platform: str, *, store: Store, registry: Registry, progress: Progress | None = None
) -> Descriptor:
    """The manifest of a pinned base, whose layers are all in the store afterwards."""
    if base.digest is None:
        raise WardianError(f"{base.reference} has no digest in the lock", hint="type: wardian lock")
    held = store.resolve(base.digest)
    if held is not None and complete(store, base.digest):
        return held
    source = Source.parse(base.substitute or base.reference)
    pinned = Reference(source.reference.registry, source.reference.repository, source.reference.tag, base.digest)
    return source.of(registry).pull(pinned, platform, store, progress)


def complete(store: Store, digest: str) -> bool:
    """Whether a manifest, its config and all its layers are in the store."""
    if not store.has(digest):
        return False
    image = store.manifest(digest)
    return all(store.has(blob.digest, blob.size) for blob in (image.config, *image.layers))


def python_of(store: Store, manifest: str, whole: Callable[[], Contents] | None = None) -> tuple[str, str] | None:
    """The version and the path of the Python in an image: from its labels, or the first one on its PATH."""
    config: dict[str, Any] = store.config(manifest).get("config") or {}
    labels = config.get("Labels") or {}
    if (version := labels.get("dev.wardian.python")) and (path := labels.get("dev.wardian.interpreter")):
        return str(version), str(path)
    return find_python(whole() if whole else contents(store, manifest), search_path(config))


def search_path(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The folders of PATH in an image's config."""
    environment = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    return tuple(folder for folder in (environment.get("PATH") or _PATH).split(":") if folder.startswith("/"))


def find_python(whole: Contents, folders: tuple[str, ...]) -> tuple[str, str] | None:
    """The Python that ``python3`` means in the first folder that has one: (``"3.11"``, ``"/usr/bin/python3.11"``)."""
    for folder in folders:
        versions = [match[1] for name in whole.names(folder) if (match := _PYTHON.fullmatch(name))]
        versions = [version for version in versions if whole.resolve(f"{folder}/python{version}") is not None]
        if versions:
            linked = _PYTHON.fullmatch((whole.resolve(f"{folder}/python3") or "").rpartition("/")[2])
            newest = max(versions, key=lambda version: int(version.partition(".")[2]))
            version = linked[1] if linked and linked[1] in versions else newest
            return version, f"{folder}/python{version}"
    return None


def _held(reference: Reference, platform: str, store: Store) -> Descriptor | None:
    """What is here already and certainly meant: a digest, or a tag that was built here; a pulled tag may be old."""
    found = store.resolve(reference.digest or str(reference))
    if found is None or (reference.digest is None and found.annotations.get(BUILT) != "true"):
        return None
    if found.media_type in INDEXES:
        found = choose(Index.parse(store.read(found.digest)).manifests, platform, name=reference.familiar)
    return found if complete(store, found.digest) else None
