"""Small images for tests, made in a store by hand."""

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from wardian.oci.digest import sha256
from wardian.oci.model import CONFIG, LAYER, LAYER_GZIP, MANIFEST, Descriptor, Manifest, canonical
from wardian.store.store import Store

FOLDER, WHITEOUT = None, b""
Content = bytes | str | None  # a file's bytes, a symbolic link's target, a folder


def layer(files: Mapping[str, Content], *, links: Mapping[str, str] = {}, modes: Mapping[str, int] = {}) -> bytes:
    """An uncompressed layer: paths and what they hold; ``links`` are hard links (path → target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            found = tarfile.TarInfo(path)
            found.mtime = 1577836800
            found.mode = modes.get(path, 0o755 if content is None else 0o644)
            if content is None:
                found.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                found.type, found.linkname = tarfile.SYMTYPE, content
            else:
                found.size = len(content)
            tar.addfile(found, io.BytesIO(content) if isinstance(content, bytes) else None)
        for path, target in links.items():
            found = tarfile.TarInfo(path)
            found.type, found.linkname, found.mtime = tarfile.LNKTYPE, target, 1577836800
            tar.addfile(found)
    return out.getvalue()


def add_image(
    store: Store,
    reference: str,
    layers: Sequence[bytes],
    *,
    config: Mapping[str, Any] = {},
    architecture: str = "amd64",
    built: bool = True,
    history: Sequence[str] = (),
) -> Descriptor:
    """Put an image into a store and tag it; the descriptor of its manifest."""
    blobs = [(tar, gzip.compress(tar, mtime=0)) for tar in layers]
    described = [store.put(packed, LAYER_GZIP) for _, packed in blobs]
    written = store.put(
        canonical(
            {
                "os": "linux",
                "architecture": architecture,
                "created": "2020-01-01T00:00:00Z",
                "config": dict(config),
                "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar, _ in blobs]},
                "history": [{"created_by": line} for line in history],
            }
        ),
        CONFIG,
    )
    manifest = store.put(Manifest(written, tuple(described)).to_bytes(), MANIFEST)
    store.tag(reference, manifest, {"dev.wardian.built": "true"} if built else {})
    return manifest


def add_over(store: Store, beneath: str, reference: str, *layers: bytes, config: Mapping[str, Any] = {}) -> Descriptor:
    """Tag an image that has further layers over those of another; ``config`` over what that one has."""
    digest = next(one.descriptor.digest for one in store.references() if one.reference.endswith(beneath))
    written = dict(store.config(digest))
    written["config"] = {**written["config"], **config}
    written["rootfs"] = {"type": "layers", "diff_ids": [*written["rootfs"]["diff_ids"], *map(sha256, layers)]}
    blobs = [Descriptor(LAYER, store.put(one, LAYER).digest, len(one)) for one in layers]
    described = store.put(canonical(written), CONFIG)
    manifest = store.put(Manifest(described, (*store.manifest(digest).layers, *blobs)).to_bytes(), MANIFEST)
    store.tag(reference, manifest)
    return manifest
