"""Images into registries: blobs first, what speaks of the image next, its names last.

Nobody sees a part: a manifest is sent when the registry has all that it names, and a tag when the rest is there. What
the registry has is not sent; a tag that names the image already costs one request, and so does what speaks of it.
Source: distribution-spec, «Pushing manifests», «Pushing manifests with subject», «Referrers tag schema».
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.oci.digest import sha256
from wardian.oci.model import EMPTY, INDEX, Descriptor, Index, Manifest
from wardian.oci.reference import Reference
from wardian.registry.auth import Access, limited
from wardian.registry.client import ACCEPT, Registry
from wardian.registry.exchange import SMALL, WRITE, answer, named_digest
from wardian.registry.faults import cut, unreachable
from wardian.registry.parallel import each_blob
from wardian.registry.progress import Advance, Progress, metered
from wardian.registry.transport import ATTEMPTS
from wardian.registry.upload import Upload
from wardian.store.store import SUBJECT, Store

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Parcel:
    """An image of the store, the repository it goes to, and the tags it gets there: all of them name one digest."""

    image: Descriptor
    target: Reference
    tags: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Its first name in the registry."""
        if not self.tags:
            return str(self.target.at(self.image.digest))
        return str(replace(self.target, tag=self.tags[0], digest=None))


@dataclass(slots=True)
class Delivery:
    """What became of a parcel: bytes that were sent, mounted from another repository, or there already."""

    reference: str
    digest: str
    sent: int = 0
    mounted: int = 0
    present: int = 0
    tags: dict[str, str] = field(default_factory=dict)  # tag → "new", "present", or the digest that it named before


class Pusher:
    """Pushes images, one after another; what one of them brought, the next ones mount."""

    def __init__(
        self, registry: Registry, store: Store, progress: Progress | None = None, *, dry: bool = False
    ) -> None:
        self._registry = registry
        self._exchange = registry.exchange
        self._store = store
        self._progress = progress
        self._dry = dry
        self._brought: dict[tuple[str, str], str] = {}  # registry and digest → the repository that certainly has it

    def push(self, parcel: Parcel) -> Delivery:
        """Push one image under all its tags. Raises named errors; what arrived by then is not sent again."""
        image = self._store.manifest(parcel.image.digest)
        referrers = self._store.referrers(parcel.image.digest)
        delivery = Delivery(parcel.reference, parcel.image.digest)
        delivery.tags = {tag: self._standing(parcel, tag) for tag in parcel.tags}
        blobs = _unique((*image.layers, image.config))
        there = "present" in delivery.tags.values()
        if there:  # what speaks of the image may have been made since
            referrers = [entry for entry in referrers if self._digest_of(parcel.target, entry.digest) is None]
        if referrers or not there:
            beside = [Manifest.parse(self._store.read(entry.digest)) for entry in referrers]
            more = [blob for artifact in beside for blob in (*artifact.layers, artifact.config)]
            self._blobs(parcel.target, _unique((*(() if there else blobs), *more)), image.config.digest, delivery)
            if not self._dry:
                self._referrers(parcel, referrers)
        if there:
            delivery.present += sum(blob.size for blob in blobs)
        if not self._dry:
            self._brought |= {(parcel.target.registry, blob.digest): parcel.target.repository for blob in blobs}
            self._name(parcel, self._store.read(parcel.image.digest), delivery)
        return delivery

    def push_index(self, target: Reference, entries: Sequence[Descriptor]) -> Delivery:
        """Give one name to images of several platforms that were pushed to the same repository."""
        content = Index(tuple(entries)).to_bytes()
        index = Descriptor(INDEX, sha256(content), len(content))
        parcel = Parcel(index, target, (target.tag,) if target.tag else ())
        delivery = Delivery(parcel.reference, index.digest)
        delivery.tags = {tag: self._standing(parcel, tag) for tag in parcel.tags}
        if not self._dry:
            self._name(parcel, content, delivery)
        return delivery

    # ── blobs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _blobs(self, target: Reference, blobs: Sequence[Descriptor], config: str, delivery: Delivery) -> None:
        """Bring the missing ones, the config after all others."""
        for blob in blobs:
            if not self._store.has(blob.digest, blob.size):
                raise WardianError(f"{blob.digest} is not in the store", hint="build or pull the image again")
        missing: list[Descriptor] = []

        def look(blob: Descriptor, _: Advance) -> None:
            if not self._upload(target, blob).is_there():
                missing.append(blob)

        each_blob(blobs, look, None)
        delivery.present = sum(blob.size for blob in blobs) - sum(blob.size for blob in missing)
        sources = self._sources(target)
        if self._dry:
            mountable = sum(blob.size for blob in missing if blob.digest in sources)
            delivery.mounted, delivery.sent = mountable, sum(blob.size for blob in missing) - mountable
            return
        mounted: list[int] = []

        def send(blob: Descriptor, advance: Advance) -> None:
            if self._upload(target, blob, advance).send(sources.get(blob.digest)) == "mounted":
                mounted.append(blob.size)

        total = sum(blob.size for blob in missing)
        title = f"pushing {Reference.parse(delivery.reference).familiar}"
        with metered(self._progress if missing else None, title, total) as advance:
            each_blob([blob for blob in missing if blob.digest != config], send, advance)
            each_blob([blob for blob in missing if blob.digest == config], send, advance)
        delivery.mounted, delivery.sent = sum(mounted), total - sum(mounted)

    def _upload(self, target: Reference, blob: Descriptor, advance: Advance | None = None) -> Upload:
        return Upload(self._exchange, target, blob, self._store.path(blob.digest), advance)

    def _sources(self, target: Reference) -> dict[str, str]:
        """Blob → another repository of the registry that may have it: pushed to before, or pulled from, or built for.

        What was pushed just now goes first: it is certainly there. A wrong guess costs nothing.
        """
        found: dict[str, str] = {}
        for entry in self._store.references():
            with suppress(WardianError):  # a name that is no reference, a manifest that is damaged
                reference = Reference.parse(entry.reference)
                if reference.registry == target.registry and reference.repository != target.repository:
                    image = self._store.manifest(entry.descriptor.digest)
                    found |= {blob.digest: reference.repository for blob in (*image.layers, image.config)}
        for (host, digest), repository in self._brought.items():
            if host == target.registry and repository != target.repository:
                found[digest] = repository
        return found

    # ── manifests ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _standing(self, parcel: Parcel, tag: str) -> str:
        """What a tag names now: "new" for nothing, "present" for this image, else the other digest."""
        found = self._digest_of(parcel.target, tag)
        return "new" if found is None else "present" if found == parcel.image.digest else found

    def _digest_of(self, target: Reference, name: str) -> str | None:
        """What a tag or a digest names, by one HEAD; None when the registry does not have it."""
        response = self._send("HEAD", target, f"manifests/{name}", {"Accept": ACCEPT})
        if response.status_code == 404:
            response.close()
            return None
        if response.status_code != 200:
            raise self._exchange.refused(target, response, f"{target.repository}:{name}", "pushing")
        response.close()
        return named_digest(response) or self._registry.manifest(replace(target, tag=name, digest=None))[0].digest

    def _name(self, parcel: Parcel, content: bytes, delivery: Delivery) -> None:
        """Send the manifest under each tag that does not name it, and see that it stayed so."""
        changed = [tag for tag, stood in delivery.tags.items() if stood != "present"]
        for name in changed or ([] if parcel.tags else [parcel.image.digest]):
            self._put(parcel.target, name, content, parcel.image.media_type)
        for tag in changed:
            if (now := self._digest_of(parcel.target, tag)) != parcel.image.digest:
                raise WardianError(
                    f"{replace(parcel.target, tag=tag)} was moved to {now} by somebody else while it was pushed",
                    hint="both images are there by digest; push again to have the tag name yours",
                )

    def _put(self, target: Reference, name: str, content: bytes, media_type: str) -> "httpx.Response":
        headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
        what = f"{target.repository}:{name}"
        for attempt in range(ATTEMPTS):
            response = self._send("PUT", target, f"manifests/{name}", headers, content)
            if response.is_success:
                break
            body = answer(response)
            # docker's registry writes its links in place: one that another push begins to write anew has no digest yet
            if response.status_code != 400 or b"DIGEST_INVALID" not in body or attempt == ATTEMPTS - 1:
                raise self._exchange.explained(target, response, body, what, "pushing")
            self._exchange.transport.pause(attempt, response)
        response.close()
        said, digest = response.headers.get("docker-content-digest"), sha256(content)
        if said and said.startswith("sha256:") and said != digest:
            raise DigestMismatch(f"{target.registry} stored {said} as {what}, sent was {digest}")
        return response

    def _send(
        self, method: str, target: Reference, path: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> "httpx.Response":
        access = Access(target.registry, target.repository, WRITE)
        body = None if content is None else (lambda: (content,))
        return self._exchange.send(method, target, self._exchange.url(target, path), headers, body, access=access)

    # ── referrers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _referrers(self, parcel: Parcel, referrers: Sequence[Descriptor]) -> None:
        """Push what speaks of the image; a registry that does not list it by itself gets the list under a tag."""
        unlisted: list[Descriptor] = []
        for entry in referrers:
            content = self._store.read(entry.digest)
            response = self._put(parcel.target, entry.digest, content, entry.media_type)
            if "oci-subject" not in response.headers:
                unlisted.append(_listed(entry, Manifest.parse(content)))
        if unlisted:
            self._list(parcel.target, parcel.image.digest, unlisted)

    def _list(self, target: Reference, subject: str, wanted: Sequence[Descriptor]) -> None:
        """Add to the list under the fallback tag, and look whether another push has written over it meanwhile."""
        name = subject.replace(":", "-")
        for attempt in range(ATTEMPTS):
            there = self._index(target, name)
            known = {entry.digest for entry in there.manifests}
            fresh = [entry for entry in wanted if entry.digest not in known]
            if not fresh:
                return
            self._put(target, name, replace(there, manifests=(*there.manifests, *fresh)).to_bytes(), INDEX)
            if attempt:
                self._exchange.transport.pause(attempt - 1)
        raise Unavailable(
            f"{target.repository}:{name} is written by others all the time", hint="push again when they have ended"
        )

    def _index(self, target: Reference, name: str) -> Index:
        response = self._send("GET", target, f"manifests/{name}", {"Accept": INDEX})
        if response.status_code == 404:
            response.close()
            return Index()
        if response.status_code != 200:
            raise self._exchange.refused(target, response, f"{target.repository}:{name}", "pushing")
        try:
            return Index.parse(limited(response, SMALL))
        except cut() as error:
            raise unreachable(error, target.registry) from error


def _listed(entry: Descriptor, artifact: Manifest) -> Descriptor:
    """A referrer as it stands in a list of them. Source: distribution-spec, «Listing Referrers»."""
    kind = artifact.artifact_type or (artifact.config.media_type if artifact.config.media_type != EMPTY else None)
    noted = {**artifact.annotations, **entry.annotations}
    noted.pop(SUBJECT, None)
    return Descriptor(entry.media_type, entry.digest, entry.size, noted, artifact_type=kind)


def _unique(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    return list({blob.digest: blob for blob in blobs}.values())
