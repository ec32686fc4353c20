"""Requests to registries: addresses, credentials, refusals. What pulling, pushing and cleaning share.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from wardian.errors import WardianError
from wardian.oci.digest import is_digest
from wardian.oci.reference import Reference
from wardian.registry.auth import Access, Authorizer, challenges, limited
from wardian.registry.faults import cut, refused, unreachable
from wardian.registry.transport import ATTEMPTS, Body, Transport, is_loopback

if TYPE_CHECKING:
    import httpx

SMALL = 4 << 20  # bytes. Source: distribution-spec, «Pushing Manifests»: registries should take at least 4 MiB
READ, WRITE = "pull", "pull,push"
_HUB = "registry-1.docker.io"
_READING = frozenset({"GET", "HEAD"})


class Exchange:
    """Talks to registries with this user's credentials. Safe for threads.

    Plain HTTP is spoken to this machine itself, and to the hosts in ``plain``. ``note`` hears of each request; neither
    headers nor queries are in what it hears.
    """

    def __init__(
        self,
        transport: Transport,
        authorizer: Authorizer,
        plain: frozenset[str] = frozenset(),
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.transport = transport
        self._authorizer = authorizer
        self._plain = plain
        self._note = note
        self._schemes: dict[str, str] = {}

    def with_plain(self, host: str) -> "Exchange":
        """The same registries and logins, with plain HTTP allowed for one more host."""
        return Exchange(self.transport, self._authorizer, self._plain | {host}, self._note)

    def url(self, reference: Reference, path: str) -> str:
        """The address of something of a repository."""
        return f"{self.root(reference.registry)}{reference.repository}/{path}"

    def root(self, host: str) -> str:
        """The address under which a registry answers."""
        return f"{self._scheme(host)}://{_HUB if host == 'docker.io' else host}/v2/"

    def get(self, reference: Reference, path: str, headers: Mapping[str, str]) -> "httpx.Response":
        """Read something of a repository; the body is still to be read."""
        return self.send("GET", reference, self.url(reference, path), headers)

    def send(
        self,
        method: str,
        reference: Reference,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        access: Access | None = None,
        attempts: int | None = None,
    ) -> "httpx.Response":
        """Ask, and when asked who we are, answer and ask again. A token that ran out on the way is renewed.

        ``access`` is reading the repository unless it is said. Credentials go to the registry's own host alone.
        """
        wanted = access or Access(reference.registry, reference.repository, READ)
        ours = urlsplit(url).netloc == urlsplit(self.root(reference.registry)).netloc
        used = self._authorizer.header(wanted) if ours else None
        response = self._once(method, url, _with(headers, used), body, attempts)
        for _ in range(2):
            if response.status_code != 401 or not ours:
                break
            plain = self._scheme(reference.registry) == "http"
            header = self._authorizer.answer(wanted, response, used=used, plain=plain)
            if header is None:
                break
            response.close()
            used = header
            response = self._once(method, url, _with(headers, used), body, attempts)
        return response

    def small(
        self, reference: Reference, path: str, limit: int, headers: Mapping[str, str], what: str
    ) -> "tuple[httpx.Response, bytes]":
        """A document, read whole; a cut one is asked for again. ``what`` names it in refusals."""
        return self.document(reference, self.url(reference, path), limit, headers, what)

    def document(
        self, reference: Reference, url: str, limit: int, headers: Mapping[str, str], what: str
    ) -> "tuple[httpx.Response, bytes]":
        """The same, by its address."""
        for attempt in range(ATTEMPTS):
            response = self.send("GET", reference, url, headers)
            if response.status_code != 200:
                raise self.refused(reference, response, what)
            try:
                return response, limited(response, limit)
            except cut() as error:
                if attempt + 1 == ATTEMPTS:
                    raise unreachable(error, reference.registry) from error
                self.transport.pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def place(self, reference: Reference, response: "httpx.Response") -> str:
        """Where an upload goes on. A registry behind a proxy may write ``http://`` and mean itself.

        Raises ``WardianError`` for a place that is not safe.
        """
        here = urlsplit(self.root(reference.registry))
        said = str(response.headers.get("location", ""))
        try:
            found = urlsplit(urljoin(str(response.url), said))
        except ValueError as error:
            raise WardianError(
                f"{reference.registry} sends an upload to {said[:200]!r}, which is no address"
            ) from error
        if not said or found.scheme not in ("http", "https"):
            raise WardianError(f"{reference.registry} does not say where an upload goes on")
        if found.netloc == here.netloc:
            return found._replace(scheme=here.scheme).geturl()
        if found.scheme == "http" and here.scheme == "https":
            raise WardianError(f"{reference.registry} sends an upload to http://{found.netloc}, which is not safe")
        return found.geturl()

    def refused(
        self, reference: Reference, response: "httpx.Response", what: str, doing: str = "reading"
    ) -> WardianError:
        """The error for an answer that is not the wanted one; ends the response."""
        return self.explained(reference, response, answer(response), what, doing)

    def explained(
        self, reference: Reference, response: "httpx.Response", body: bytes, what: str, doing: str = "reading"
    ) -> WardianError:
        """The same, of an answer whose body was read."""
        status = response.status_code
        if status in (401, 403) and "text/html" in response.headers.get("content-type", ""):
            body = b""
        offers = challenges(response.headers.get_list("www-authenticate"))
        if status == 401 and any(offer.parameters.get("error") == "insufficient_scope" for offer in offers):
            status = 403  # who we are is known and not enough. Source: RFC 6750, 3.1
        return refused(status, body, host=reference.registry, what=what, tried=self._authorizer.tried, doing=doing)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None, attempts: int | None
    ) -> "httpx.Response":
        if method in _READING:
            response = self.transport.get(url, headers, method)
        else:
            response = self.transport.send(method, url, headers, body, attempts=attempts)
        if self._note:
            self._note(f"{method} {urlsplit(url)._replace(query='').geturl()} → {response.status_code}")
        return response

    def _scheme(self, host: str) -> str:
        """HTTPS, save for hosts that were said to be plain; a registry on this machine may be either: it is asked."""
        if host in self._plain or not is_loopback(host):
            return "http" if host in self._plain else "https"
        if host not in self._schemes:
            self._schemes[host] = "http" if self.transport.speaks_http(f"http://{host}/v2/") else "https"
        return self._schemes[host]


def answer(response: "httpx.Response") -> bytes:
    """What a refusal says, as far as it can be read; ends the response."""
    import httpx

    try:
        return limited(response, SMALL)
    except (httpx.HTTPError, WardianError):
        return b""


def named_digest(response: "httpx.Response") -> str | None:
    """The digest that an answer says to be of, if it is one that we can check."""
    said = str(response.headers.get("docker-content-digest", ""))
    return said if is_digest(said) else None


def _with(headers: Mapping[str, str], authorization: str | None) -> dict[str, str]:
    return {**headers, **({"Authorization": authorization} if authorization else {})}
