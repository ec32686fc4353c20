"""An archive folder: every file that a lock names, so that it can be built when upstream has deleted some of them.

wheels/ sdists/ debs/    files under their own names
images/<digest>/         base images, each an OCI layout
SHA256SUMS               the files of the first three; `sha256sum -c` checks them
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wardian.errors import WardianError
from wardian.lock.model import Base, Lock, LockedImage
from wardian.lock.pylock import read
from wardian.oci.digest import hexadecimal
from wardian.oci.model import Descriptor, Index, Manifest
from wardian.registry.progress import Progress
from wardian.resolvers.fetch import (
    File,
    archive_files,
    archive_path,
    deb_file,
    pinned_file,
    sdist_file,
)
from wardian.resolvers.rebuild import Rebuilding
from wardian.resolvers.sdist import tool_file
from wardian.resolvers.session import Session
from wardian.spec.matrix import Variant
from wardian.store.export import export_layout
from wardian.store.store import Store, Tagged

IMAGES = "images"
SUMS = "SHA256SUMS"


def files_of(lock: Lock, pylocks: Mapping[str, str]) -> list[File]:
    """Every file that a lock names, each once; a wheel that was built comes with its source and its tools."""
    found = (file for image in lock.images.values() for file in _files(image, pylocks))
    return list({file.sha256: file for file in found}.values())


def archived(
    session: Session,
    lock: Lock,
    pylocks: Mapping[str, str],
    variants: Sequence[Variant],
    *,
    folder: Path,
    display: Progress,
) -> tuple[int, int, int]:
    """Bring all that a lock names into an archive: (how many files are new, how many there are, bytes in all)."""
    files = files_of(lock, pylocks)
    with display.task(f"archiving {len(files)} files") as task:
        missing = [file for file in files if archive_path(folder, file) is None]
        built = {one.sha256: one for image in lock.images.values() for one in image.built}
        rebuild = Rebuilding(variants, lock, session.site, session.fetcher, display)
        for file in missing:
            if file.sha256 in built and not session.fetcher.has(file):
                rebuild(built[file.sha256])
        new = archive_files(session.fetcher.fetch_all(missing), missing, folder)
        for base, platform in _bases(lock, variants):
            task.say(f"base {base.reference}")
            found = session.site.sources.base(base, platform)
            new += keep_base(folder, session.site.store, Tagged(base.substitute or base.reference, found))
        write_sums(folder, files)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return new, len(sizes), sum(sizes)


def _bases(lock: Lock, variants: Sequence[Variant]) -> list[tuple[Base, str]]:
    """The base images that a lock names, each once, with their platforms."""
    found = {
        entry.base.digest: (entry.base, variant.image.platform)
        for variant in variants
        if (entry := lock.images[variant.id]).base and entry.base.digest
    }
    return list(found.values())


def write_sums(folder: Path, files: Sequence[File]) -> None:
    """Bring ``SHA256SUMS`` up to date; what an earlier lock put there stays."""
    path = folder / SUMS
    known = dict(line.split("  ", 1)[::-1] for line in path.read_text().splitlines()) if path.exists() else {}
    for file in files:
        place = archive_path(folder, file)
        if place is not None:
            known[str(place.relative_to(folder))] = file.sha256
    temporary = folder / f".{SUMS}.part"
    temporary.write_text("".join(f"{known[name]}  {name}\n" for name in sorted(known)), encoding="utf-8")
    temporary.replace(path)


def keep_base(folder: Path, store: Store, base: Tagged) -> bool:
    """Put a base image into the archive; whether it is new there."""
    target = folder / IMAGES / hexadecimal(base.descriptor.digest)[:16]
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    export_layout(store, base, target)
    return True


def take_base(folder: Path, digest: str, store: Store) -> Descriptor | None:
    """Bring a base image from an archive into the store, every blob verified; None when it is not there."""
    layout = folder / IMAGES / hexadecimal(digest)[:16]
    if not (layout / "index.json").is_file():
        return None
    entry = next(
        (one for one in Index.parse((layout / "index.json").read_bytes()).manifests if one.digest == digest), None
    )
    if entry is None:
        return None
    manifest = Manifest.parse(_blob(layout, entry).read_bytes())
    for blob in (*manifest.layers, manifest.config, entry):
        if not store.has(blob.digest, blob.size):
            store.ingest(_chunks(_blob(layout, blob)), blob.digest, blob.size)
    return Descriptor(entry.media_type, entry.digest, entry.size)


def _files(image: LockedImage, pylocks: Mapping[str, str]) -> Iterator[File]:
    yield from map(deb_file, (*(image.base.debs if image.base else ()), *image.debs))
    for one in read(pylocks[image.pylock], source=image.pylock) if image.pylock else ():
        if f"{one.name}=={one.version}" not in image.inherited:
            yield pinned_file(one)
    yield from map(tool_file, image.build)
    for built in image.built:
        yield sdist_file(built)
        yield File(built.filename, built.sha256, version=built.version)
        yield from map(tool_file, built.build)
        yield from map(deb_file, built.debs)


def _blob(layout: Path, blob: Descriptor) -> Path:
    path = layout / "blobs" / "sha256" / hexadecimal(blob.digest)
    if not path.is_file():
        raise WardianError(
            f"the archive lacks {path}", hint=f"remove {layout} and archive again: wardian lock --archive DIR"
        )
    return path


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
