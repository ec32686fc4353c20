"""What the references of a store need: the blobs and the unpacked layers that must stay, and what is missing."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from wardian.errors import WardianError
from wardian.oci.model import INDEXES, MANIFESTS, REF_NAME, Descriptor, Index, Manifest, diff_ids, document
from wardian.store.store import SUBJECT, Store


@dataclass(frozen=True, slots=True)
class Broken:
    """An entry of the index that cannot be used, and why."""

    entry: Descriptor
    name: str
    why: str


@dataclass
class Reach:
    """Digests that must stay: blobs, and DiffIDs of their layers. What is ``damaged`` counts as absent."""

    damaged: frozenset[str] = frozenset()
    blobs: dict[str, int] = field(default_factory=dict)  # digest → size
    diff_ids: set[str] = field(default_factory=set)
    broken: list[Broken] = field(default_factory=list)

    def add(self, store: Store, entry: Descriptor) -> None:
        """Everything that one entry of the index needs."""
        try:
            self._follow(store, entry)
        except WardianError as error:
            self.broken.append(Broken(entry, entry.annotations.get(REF_NAME, entry.digest), error.message))

    def _follow(self, store: Store, entry: Descriptor) -> None:
        self.blobs[entry.digest] = entry.size
        if not self._has(store, entry):
            raise WardianError(f"its manifest {entry.digest} is not here, or not whole")
        if entry.media_type in INDEXES:
            for child in Index.parse(store.read(entry.digest)).manifests:
                if self._has(store, child):  # usually one platform of several was pulled
                    self._follow(store, child)
        elif entry.media_type in MANIFESTS:
            self._follow_manifest(store, store.manifest(entry.digest))

    def _follow_manifest(self, store: Store, manifest: Manifest) -> None:
        needed = (manifest.config, *manifest.layers)
        self.blobs |= {blob.digest: blob.size for blob in needed}
        absent = [blob.digest for blob in needed if not self._has(store, blob)]
        if absent:
            raise WardianError(f"{len(absent)} of its {len(needed)} blobs are not here, or not whole: {absent[0]}")
        if not manifest.artifact_type and not manifest.subject:
            config = document(store.read(manifest.config.digest), "image config")
            self.diff_ids |= set(diff_ids(config, len(manifest.layers)))

    def _has(self, store: Store, blob: Descriptor) -> bool:
        return blob.digest not in self.damaged and store.has(blob.digest, blob.size)


def reach(store: Store, damaged: frozenset[str] = frozenset()) -> Reach:
    """What the whole index needs; what speaks of an image that is gone (its SBOM) is not needed."""
    found = Reach(damaged)
    for entry in living(store):
        found.add(store, entry)
    return found


def living(store: Store) -> Iterator[Descriptor]:
    """The entries of the index, without those whose subject is gone."""
    manifests = store.index().manifests
    subjects = {entry.digest for entry in manifests if SUBJECT not in entry.annotations}
    for entry in manifests:
        if entry.annotations.get(SUBJECT, entry.digest) in subjects or SUBJECT not in entry.annotations:
            yield entry
