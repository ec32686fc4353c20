"""Images out of the store: as an OCI layout, as an archive for `docker load`, as a folder of files.

Everything is written beside its place and renamed when it is whole. The same image gives the same bytes.
"""

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from wardian.errors import DigestMismatch, WardianError
from wardian.oci.digest import Hasher, hexadecimal
from wardian.oci.model import REF_NAME, Descriptor, Index, canonical
from wardian.oci.reference import Reference
from wardian.store.files import remove_tree, sync_folder, temporary_name
from wardian.store.store import Store, Tagged

EPOCH = 1577836800  # 2020-01-01, as in the layers
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 1 << 20


def export_layout(store: Store, image: Tagged, target: Path, *, force: bool = False) -> None:
    """Write an OCI image layout that holds one image: a tar file if ``target`` ends in .tar, else a folder.

    Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
    """
    documents = {"index.json": _index(image), "oci-layout": _LAYOUT}
    if target.suffix == ".tar":
        with replacing_file(target, force=force) as out:
            _archive(store, blobs(store, image.descriptor), documents, out)
        return
    with replacing_folder(target, marker="oci-layout", force=force) as folder:
        (folder / "blobs" / "sha256").mkdir(parents=True)
        for blob in blobs(store, image.descriptor):
            with (folder / "blobs" / "sha256" / hexadecimal(blob.digest)).open("xb") as copy:
                with verified(store, blob) as source:
                    while chunk := source.read(_CHUNK):
                        copy.write(chunk)
                os.fsync(copy.fileno())
        for name, content in documents.items():
            (folder / name).write_bytes(content)


def export_docker(store: Store, image: Tagged, target: Path, *, force: bool = False) -> None:
    """Write an archive that `docker load`, `podman load` and skopeo's docker-archive read; it is an OCI layout too.

    Source: https://github.com/moby/docker-image-spec (v1.2, "Combined Image JSON + Filesystem Changeset Format").
    """
    with replacing_file(target, force=force) as out:
        stream_docker(store, image, out)


def stream_docker(store: Store, image: Tagged, out: IO[bytes], sent: Callable[[int], None] = lambda _: None) -> None:
    """Write that archive to a stream; ``sent`` hears of each blob's bytes."""
    manifest = store.manifest(image.descriptor.digest)
    listed = [
        {
            "Config": f"blobs/sha256/{hexadecimal(manifest.config.digest)}",
            "RepoTags": [_name(image).familiar],
            "Layers": [f"blobs/sha256/{hexadecimal(layer.digest)}" for layer in manifest.layers],
        }
    ]
    documents = {"index.json": _index(image), "manifest.json": canonical(listed), "oci-layout": _LAYOUT}
    _archive(store, blobs(store, image.descriptor), documents, out, sent)


def blobs(store: Store, image: Descriptor) -> list[Descriptor]:
    """The manifest, the config and the layers of an image, each once, sorted by digest."""
    manifest = store.manifest(image.digest)
    found = {blob.digest: blob for blob in (image, manifest.config, *manifest.layers)}
    return [found[digest] for digest in sorted(found)]


class Verified:
    """A blob's file that compares its digest when its last byte is read."""

    def __init__(self, file: IO[bytes], blob: Descriptor) -> None:
        self._file = file
        self._blob = blob
        self._hasher = Hasher()

    def read(self, count: int = -1) -> bytes:
        """Some bytes; raises ``DigestMismatch`` at the end of ones that were touched."""
        chunk = self._file.read(count)
        self._hasher.write(chunk)
        at_end = not chunk or self._hasher.size >= self._blob.size
        if at_end and self._hasher.digest != self._blob.digest:
            raise DigestMismatch(
                f"{self._file.name} was changed: it is not {self._blob.digest}",
                hint="type: wardian store verify --repair",
            )
        return chunk


@contextmanager
def verified(store: Store, blob: Descriptor) -> Iterator[Verified]:
    """A blob's content, verified while it is read."""
    if not store.has(blob.digest):
        raise WardianError(f"{blob.digest} is not in the store", hint="build or pull the image again")
    with store.path(blob.digest).open("rb") as file:
        yield Verified(file, blob)


@contextmanager
def replacing_file(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A file that appears at ``target`` when the block ends well. One that is there is replaced only by force."""
    target = target.resolve()
    if target.is_dir():
        raise WardianError(f"{target} is a folder", hint="name a file")
    if target.exists() and target.stat().st_size and not force:
        raise WardianError(f"{target} is there already", hint="name another, or add --force")
    temporary = _beside(target)
    try:
        with temporary.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path, *, marker: str | None = None, force: bool = False) -> Iterator[Path]:
    """A folder that appears at ``target`` when the block ends well.

    An empty one is replaced; a full one only by force, and if a file named ``marker`` shows that it is what we write.
    """
    target = target.resolve()
    if target.exists() and not target.is_dir():
        raise WardianError(f"{target} is a file", hint="name a folder")
    full = target.is_dir() and any(target.iterdir())
    ours = marker is not None and (target / marker).is_file()
    if full and not (ours and force):
        hint = "name another folder, or add --force" if ours else "name another folder, or remove this one yourself"
        raise WardianError(f"{target} is not empty", hint=hint)
    temporary = _beside(target)
    try:
        temporary.mkdir(mode=0o755)
        yield temporary
        if full:
            old = _beside(target)
            target.rename(old)
            temporary.rename(target)
            remove_tree(old)
        else:
            temporary.rename(target)
        sync_folder(target.parent)
    finally:
        if temporary.exists():
            remove_tree(temporary)


def _beside(target: Path) -> Path:
    if not target.parent.is_dir():
        raise WardianError(f"there is no folder {target.parent}")
    return target.parent / f".wardian-{temporary_name()}"


def _index(image: Tagged) -> bytes:
    """An index of one image: its tag is what skopeo and umoci call it, its full name is containerd's."""
    name, found = _name(image), image.descriptor
    named = {REF_NAME: name.tag or "latest", "io.containerd.image.name": str(name)}
    return Index((Descriptor(found.media_type, found.digest, found.size, named),)).to_bytes()


def _name(image: Tagged) -> Reference:
    """The image's name as docker takes it, always with a tag; made of the digest where the store's name is none."""
    try:
        named = Reference.parse(image.reference)
    except WardianError:
        named = Reference("docker.io", "library/wardian", image.descriptor.digest[7:19])
    return Reference(named.registry, named.repository, named.tag or "latest")


def _archive(
    store: Store,
    content: list[Descriptor],
    documents: dict[str, bytes],
    out: IO[bytes],
    sent: Callable[[int], None] = lambda _: None,
) -> None:
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for folder in ("blobs", "blobs/sha256"):
            entry = _entry(folder, 0)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for blob in content:
            with verified(store, blob) as file:
                tar.addfile(_entry(f"blobs/sha256/{hexadecimal(blob.digest)}", blob.size), file)
            sent(blob.size)
        for name, document in sorted(documents.items()):
            tar.addfile(_entry(name, len(document)), BytesIO(document))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, EPOCH, 0o644
    return entry
