"""The image store: an OCI image layout on disk that several processes may use at once.

    oci-layout, index.json      the layout; a reference is an annotation in the index
    blobs/sha256/<hex>          manifests, configs, layers; read-only, named by their digest
    layers/<key>.json           which blob a layer's key led to
    listings/<hex>[.sites]      what lies where in a layer or an image, see ``store.listing`` and ``store.sites``
    unpacked/<diff-id hex>/     layers as folders, with a marker ``<diff-id hex>.done`` beside each
    downloads/<sha256>/<name>   wheels, Debian packages, source distributions
    tmp/, locks/                work in progress; lock files

Source of the layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wardian.errors import DigestMismatch, WardianError
from wardian.oci.digest import hexadecimal, is_digest, sha256
from wardian.oci.model import (
    INDEXES,
    MANIFESTS,
    REF_NAME,
    Descriptor,
    Index,
    Manifest,
    diff_ids,
    document,
    media_type_of,
)
from wardian.oci.reference import canonical_name
from wardian.store.files import BlobWriter, explained, sync_folder, temporary_name, write_file
from wardian.store.leases import Leases
from wardian.store.record import LayerRecord

SUBJECT = "dev.wardian.subject"
LIMIT = 64 << 20  # bytes of a document (manifest, config, SBOM) that is read into memory
_FOLDERS = ("blobs/sha256", "layers", "unpacked", "downloads", "tmp", "locks")
_HEAL = "type: wardian store verify --repair, then build or pull again"

__all__ = ["LayerRecord", "Store", "Tagged"]


@dataclass(frozen=True, slots=True)
class Tagged:
    """A reference and what it names."""

    reference: str
    descriptor: Descriptor

    @property
    def annotations(self) -> Mapping[str, str]:
        """What was noted when it was tagged; ``dev.wardian.built`` is "true" for an image built here."""
        return self.descriptor.annotations


class Store:
    """The store at ``root``. Nothing is made on disk before something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.unpacked = root / "unpacked"
        self.downloads = root / "downloads"
        self.records = root / "layers"
        self.scratch = root / "tmp"
        self._use = root / "locks" / "use"  # leased by whoever writes or relies on blobs that no reference names yet
        self._leases = Leases()

    # ── blobs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self.blobs / hexadecimal(digest)

    def has(self, digest: str, size: int | None = None) -> bool:
        """Whether a blob is here, and of the right size if that is known."""
        try:
            found = self.path(digest).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return False
        return size is None or found == size

    def read(self, digest: str, limit: int = LIMIT) -> bytes:
        """The bytes of a blob, verified. Raises when it is absent, larger than ``limit``, or was touched."""
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            raise WardianError(f"{digest} is not in the store at {self.root}", hint=_HEAL) from None
        if len(content) > limit:
            raise WardianError(f"{digest} is larger than {limit} bytes: not a document")
        if sha256(content) != digest:
            raise DigestMismatch(f"{path} was changed: its bytes are {sha256(content)}", hint=_HEAL)
        return content

    def put(self, content: bytes, media_type: str) -> Descriptor:
        """Store a document and describe it."""
        with self.writer() as out:
            out.write(content)
            return Descriptor(media_type, out.commit(), len(content))

    def ingest(
        self,
        chunks: Iterable[bytes],
        expected: str | None = None,
        size: int | None = None,
        media_type: str = "application/octet-stream",
    ) -> Descriptor:
        """Store a stream. Raises ``DigestMismatch``, and keeps nothing, when digest or size are not as expected."""
        with self.writer() as out:
            for chunk in chunks:
                out.write(chunk)
                if size is not None and out.size > size:
                    raise DigestMismatch(f"{expected or 'a blob'} is longer than the {size} bytes that were announced")
            if size is not None and out.size != size:
                raise DigestMismatch(f"{expected or 'a blob'} ends after {out.size} of {size} bytes")
            return Descriptor(media_type, out.commit(expected), out.size)

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """A file object for a new blob; it becomes visible with ``commit``, which returns its digest."""
        self.claim()
        with explained(self.root):
            out = BlobWriter(self.root, self.scratch, self.blobs)
        with out:
            yield out

    @contextmanager
    def growing(self) -> Iterator[Path]:
        """Where a new blob may be written by whoever hashes it, to be adopted; what is not adopted is removed."""
        self.claim()
        path = self.scratch / temporary_name()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def adopt(self, path: Path, digest: str) -> Path:
        """Make a file of the scratch folder the blob with this digest; the caller has hashed it while it grew."""
        with explained(self.root):
            with path.open("rb") as file:
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            path.replace(self.path(digest))
            sync_folder(self.blobs)
        return self.path(digest)

    # ── layers by key ──────────────────────────────────────────────────────────────────────────────────────────────

    def layer(self, key: str) -> LayerRecord | None:
        """What a key led to, if the blob is still here and still as long."""
        record = _recorded(self._record(key))
        if record is None or not self.has(record.digest, record.size):
            return None
        self.claim()
        return record if self.has(record.digest, record.size) else None

    def remember(self, key: str, record: LayerRecord) -> None:
        """Note that ``key`` leads to a blob."""
        self.prepare()
        with explained(self.root):
            write_file(self._record(key), json.dumps(record.to_json(), sort_keys=True).encode(), scratch=self.scratch)

    def remembered(self) -> Iterator[tuple[Path, LayerRecord | None]]:
        """The file of every record and what it says; None when it is damaged."""
        for path in sorted(self.records.glob("*.json")):
            yield path, _recorded(path)

    def _record(self, key: str) -> Path:
        return self.records / f"{hexadecimal(key if key.startswith('sha256:') else f'sha256:{key}')}.json"

    # ── references ─────────────────────────────────────────────────────────────────────────────────────────────────

    def references(self) -> list[Tagged]:
        """Everything that has a name, sorted by it."""
        tagged = [
            Tagged(entry.annotations[REF_NAME], entry)
            for entry in self.index().manifests
            if REF_NAME in entry.annotations
        ]
        return sorted(tagged, key=lambda entry: entry.reference)

    def resolve(self, name: str) -> Descriptor | None:
        """What a reference or a digest (also one after ``@``) names here; None when it is not here."""
        digest = name.rpartition("@")[2]
        if is_digest(digest):
            return self._describe(digest)
        wanted = canonical_name(name)
        for entry in self.references():
            if entry.reference == name or canonical_name(entry.reference) == wanted:
                return entry.descriptor
        return None

    def tag(self, reference: str, descriptor: Descriptor, annotations: Mapping[str, str] | None = None) -> None:
        """Give a manifest a name; what had the name before loses it."""
        noted = {**(annotations or {}), REF_NAME: reference}
        with self.changing() as index:
            index[:] = [entry for entry in index if entry.annotations.get(REF_NAME) != reference]
            index.append(replace(descriptor, annotations=noted))

    def untag(self, reference: str) -> bool:
        """Take a name away; whether there was one. The blobs stay until ``wardian store prune``."""
        with self.changing() as index:
            before = len(index)
            index[:] = [entry for entry in index if entry.annotations.get(REF_NAME) != reference]
            return len(index) < before

    def attach(self, subject: str, descriptor: Descriptor) -> None:
        """Keep a manifest (an SBOM, say) as long as the image ``subject`` that it speaks of."""
        with self.changing() as index:
            index[:] = [
                entry
                for entry in index
                if (entry.digest, entry.annotations.get(SUBJECT)) != (descriptor.digest, subject)
            ]
            index.append(replace(descriptor, annotations={**descriptor.annotations, SUBJECT: subject}))

    def referrers(self, subject: str) -> list[Descriptor]:
        """The manifests attached to an image."""
        return [entry for entry in self.index().manifests if entry.annotations.get(SUBJECT) == subject]

    def index(self) -> Index:
        """The layout's index as it is on disk."""
        try:
            return Index.parse((self.root / "index.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Index()
        except WardianError as error:
            raise WardianError(f"{self.root / 'index.json'} is damaged: {error.message}", hint=_HEAL) from error

    @contextmanager
    def changing(self) -> Iterator[list[Descriptor]]:
        """The entries of the index, to be changed in place; read and written under the lock."""
        with self.lock("index"):
            index = self.index()
            entries = list(index.manifests)
            yield entries
            if tuple(entries) != index.manifests:
                with explained(self.root):
                    write_file(
                        self.root / "index.json",
                        replace(index, manifests=tuple(entries)).to_bytes(),
                        scratch=self.scratch,
                    )

    def _describe(self, digest: str) -> Descriptor | None:
        """A manifest or index that is here, tagged or not."""
        if not self.has(digest):
            return None
        for entry in self.index().manifests:
            if entry.digest == digest:
                return entry
        content = self.read(digest)
        return Descriptor(media_type_of(document(content, "manifest")), digest, len(content))

    # ── documents ──────────────────────────────────────────────────────────────────────────────────────────────────

    def manifest(self, digest: str) -> Manifest:
        """The image manifest with this digest."""
        return Manifest.parse(self.read(digest))

    def config(self, digest: str) -> dict[str, Any]:
        """An image's config, by its own digest or by its manifest's."""
        data = document(self.read(digest), "image config")
        if media_type_of(data) in MANIFESTS and isinstance(data.get("config"), dict) and "digest" in data["config"]:
            return document(self.read(Descriptor.from_json(data["config"]).digest), "image config")
        if media_type_of(data) in INDEXES:
            raise WardianError(f"{digest} is an index of several platforms, not one image")
        return data

    def diff_ids(self, digest: str) -> tuple[str, ...]:
        """The digests of the uncompressed layers of the image with this manifest, from the bottom up."""
        return diff_ids(self.config(digest), len(self.manifest(digest).layers))

    # ── places ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the store-wide lock ``name``, over threads and processes; a process that dies lets go of it."""
        self.prepare()
        readable = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)[:40]
        path = self.root / "locks" / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
        with explained(self.root):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Have the store alone, to remove from it. Raises ``WardianError`` while another process writes blobs."""
        self.prepare()
        self._leases.give_back(self._use)
        with explained(self.root), self._use.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WardianError(
                    f"another wardian is building or pulling into the store at {self.root}",
                    hint="wait for it to end, then type this again",
                ) from None
            yield

    def claim(self) -> None:
        """Say, until this process ends, that it relies on files that no reference names yet: nobody prunes."""
        self.prepare()
        with explained(self.root):
            self.lease(self._use)

    def lease(self, path: Path) -> None:
        """Say, until this process ends, that ``path`` is in use. Raises ``FileNotFoundError`` when it is not there."""
        self._leases.take(path)

    def temporary(self, mark: str = "") -> Path:
        """A new empty folder on the store's file system, ``mark`` ending its name; whoever asked removes it."""
        self.prepare()
        folder = self.scratch / f"{temporary_name()}{mark}"
        with explained(self.root):
            folder.mkdir(mode=0o700)
        return folder

    def download_path(self, sha256: str, filename: str) -> Path:
        """Where a downloaded file with this hash is, or would be; its folder exists."""
        if "/" in filename or filename in ("", ".", "..") or "\0" in filename:
            raise WardianError(f"not a file name: {filename!r}")
        self.claim()
        folder = self.downloads / hexadecimal(f"sha256:{sha256.removeprefix('sha256:')}")
        with explained(self.root):
            folder.mkdir(exist_ok=True)
        return folder / filename

    def prepare(self) -> None:
        """Make the empty layout where there is none."""
        marker = self.root / "oci-layout"
        if marker.exists() and self._use.exists() and all((self.root / name).is_dir() for name in _FOLDERS):
            return
        with explained(self.root):
            for name in _FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            for private in (self.unpacked, self.scratch):
                private.chmod(0o700)  # files of images may be setuid, and nobody else's business
            if not (self.root / "index.json").exists():
                self._create("index.json", Index().to_bytes())
            self._use.touch()
            self._create("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            sync_folder(self.root)

    def _create(self, name: str, content: bytes) -> None:
        """Write a first version of a file; whoever comes second leaves what is there."""
        temporary = self.scratch / temporary_name()
        temporary.write_bytes(content)
        try:
            os.link(temporary, self.root / name)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            temporary.replace(self.root / name)
        finally:
            temporary.unlink(missing_ok=True)


def _recorded(path: Path) -> LayerRecord | None:
    try:
        return LayerRecord.from_json(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
