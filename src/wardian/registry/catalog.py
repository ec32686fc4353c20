"""What a registry holds: repositories, tags, and what lies behind them; removing manifests.

Source: distribution-spec, «Content Discovery», «Deleting manifests»; the catalog is docker's own addition.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from wardian.errors import WardianError
from wardian.oci.model import CONFIG, INDEXES, Descriptor, Index, Manifest, document, oci_media_type
from wardian.oci.platform import written
from wardian.oci.reference import Reference, is_repository, is_tag
from wardian.plan.prune import Stored
from wardian.registry.auth import Access
from wardian.registry.client import ACCEPT, Registry
from wardian.registry.exchange import SMALL, named_digest
from wardian.registry.faults import NotThere
from wardian.registry.parallel import WORKERS

_PAGE = 1000
_LONGEST = 10_000  # pages: a registry that never ends its list is not followed for ever
In = TypeVar("In")
Out = TypeVar("Out")


class Catalog:
    """One registry's contents, as far as this user may see them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._exchange = registry.exchange
        self._lists_referrers = True

    def repositories(self, host: str) -> list[str]:
        """The names of all repositories."""
        where = Reference(host, "")
        url = f"{self._exchange.root(host)}_catalog?n={_PAGE}"
        return sorted(set(self._pages(where, url, "repositories", "the list of repositories", is_repository)))

    def tags(self, where: Reference) -> list[str]:
        """The tags of a repository, sorted."""
        url = self._exchange.url(where, f"tags/list?n={_PAGE}")
        return sorted(set(self._pages(where, url, "tags", f"repository {where.repository}", is_tag)))

    def named(self, where: Reference) -> dict[str, str]:
        """Tag → the digest that it names now."""
        tags = self.tags(where)
        return dict(zip(tags, _each(lambda tag: self.digest(where, tag), tags), strict=True))

    def digest(self, where: Reference, name: str) -> str:
        """What a tag or digest names, by one HEAD where the registry says it there. Raises when there is nothing."""
        url = self._exchange.url(where, f"manifests/{name}")
        response = self._exchange.send("HEAD", where, url, {"Accept": ACCEPT})
        if response.status_code != 200:
            raise self._exchange.refused(where, response, f"{where.repository}:{name}")
        response.close()
        return named_digest(response) or self._registry.manifest(replace(where, tag=name, digest=None))[0].digest

    def survey(self, where: Reference, *, beside: bool = False) -> list[Stored]:
        """Every manifest that a tag leads to, each once; with ``beside``, also what speaks of them."""
        named = self.named(where)
        digests = sorted(set(named.values()))
        found = {one.digest: one for part in _each(lambda digest: self._look(where, digest), digests) for one in part}
        fresh = sorted(found) if beside else []
        while fresh:  # what speaks of an SBOM is its signature, and so on
            parts = _each(lambda digest: self._speaking(where, digest), fresh)
            new = {one.digest: one for part in parts for one in part if one.digest not in found}
            found |= new
            fresh = sorted(new)
        tags: dict[str, list[str]] = {}
        for tag, digest in named.items():
            tags.setdefault(digest, []).append(tag)
        return [replace(one, tags=tuple(tags.get(one.digest, ()))) for one in found.values()]

    def delete(self, where: Reference, digest: str) -> bool:
        """Remove a manifest, and with it its tags; whether it was there."""
        access = Access(where.registry, where.repository, "delete,pull")
        url = self._exchange.url(where, f"manifests/{digest}")
        response = self._exchange.send("DELETE", where, url, {}, access=access)
        if not response.is_success and response.status_code != 404:
            raise self._exchange.refused(where, response, f"{where.repository}@{digest[:19]}…", "deleting")
        response.close()
        return response.is_success

    # ── parts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pages(self, where: Reference, url: str, name: str, what: str, good: Callable[[str], bool]) -> Iterator[str]:
        """A list that may come in pages. Source: distribution-spec, «Listing Tags» (Link, RFC 5988).

        What it lists becomes addresses, and lines on a terminal: nothing but names is taken.
        """
        for _ in range(_LONGEST):
            response, body = self._exchange.document(where, url, SMALL, {}, what)
            listed = document(body, what).get(name) or []
            if not isinstance(listed, list) or not all(isinstance(entry, str) and good(entry) for entry in listed):
                raise WardianError(f"{where.registry} answers something else for {what}")
            yield from listed
            follow = response.links.get("next", {}).get("url")
            if not follow:
                return
            target = urlsplit(urljoin(url, follow))
            here = urlsplit(url)
            if target.netloc != here.netloc:
                raise WardianError(f"{where.registry} continues {what} at {target.netloc}, another host")
            url = target._replace(scheme=here.scheme).geturl()
        raise WardianError(f"{where.registry} never ends {what}")

    def _look(self, where: Reference, digest: str) -> list[Stored]:
        """A manifest; of an index, its children too."""
        described, body = self._registry.manifest(where.at(digest))
        if described.media_type not in INDEXES:
            return [self._image(where, digest, Manifest.parse(body))]
        entries = Index.parse(body).manifests
        there = [child for entry in entries for child in self._child(where, entry)]
        whole = Stored(
            digest,
            (),
            max((child.created for child in there if child.created), default=None),
            sum(child.size for child in there),
            tuple(dict.fromkeys(platform for child in there for platform in child.platforms)),
            tuple(entry.digest for entry in entries),
        )
        return [whole, *there]

    def _child(self, where: Reference, entry: Descriptor) -> list[Stored]:
        """What an index lists, with all below it; nothing where the registry has lost it."""
        try:
            found = self._look(where, entry.digest)
        except NotThere:
            return []
        platform = written(entry.platform or {})
        return [replace(found[0], platforms=(platform,)), *found[1:]] if platform else found

    def _image(self, where: Reference, digest: str, image: Manifest) -> Stored:
        created, platforms = None, tuple[str, ...]()
        if oci_media_type(image.config.media_type) == CONFIG and image.artifact_type is None:
            config: dict[str, Any] = self._registry.config(where, image.config)
            created = config["created"] if isinstance(config.get("created"), str) else None
            platforms = tuple(filter(None, [written(config)]))
        size = sum(blob.size for blob in {blob.digest: blob for blob in (*image.layers, image.config)}.values())
        return Stored(digest, (), created, size, platforms, (), image.subject.digest if image.subject else None)

    def _speaking(self, where: Reference, digest: str) -> list[Stored]:
        """What speaks of a manifest, where the registry lists it. Source: distribution-spec, «Listing Referrers»."""
        if not self._lists_referrers:
            return []
        response = self._exchange.get(where, f"referrers/{digest}", {})
        response.close()
        if response.status_code != 200:
            self._lists_referrers = False
            return []
        _, body = self._exchange.small(where, f"referrers/{digest}", SMALL, {}, f"what speaks of {digest[:19]}…")
        entries = Index.parse(body).manifests
        return [Stored(entry.digest, (), None, entry.size, (), (), digest) for entry in entries]


def _each(work: Callable[[In], Out], things: Iterable[In]) -> list[Out]:
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="look") as pool:
        return list(pool.map(work, things))
