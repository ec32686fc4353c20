"""Answers to WWW-Authenticate: basic credentials, and bearer tokens kept per scope until they expire.

Sources: RFC 9110 (11.6.1), https://distribution.github.io/distribution/spec/auth/token/ and …/auth/oauth/.
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from wardian.errors import WardianError
from wardian.oci.model import document
from wardian.registry.credentials import Credential, Keyring
from wardian.registry.faults import cut, refused, unreachable
from wardian.registry.transport import Transport, is_loopback

if TYPE_CHECKING:
    import httpx

_PARAMETER = re.compile(
    r"""(?:(?P<scheme>[A-Za-z][\w-]*)[ ]+)?(?P<name>[\w-]+)\s*=\s*"""
    r"""(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))"""
    r"""|(?P<bare>[A-Za-z][\w-]*)(?=\s*(?:,|$))"""
)
_LONGEST = 4096  # letters of a header: the pattern's time grows with their square
_DEFAULT_LIFE = 60.0  # seconds. Source: the token specification, "expires_in"
_MARGIN = 5.0  # seconds before its end at which a token is not used any more
_LIMIT = 1 << 20  # bytes of a token answer


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way a server offers to log in: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of the WWW-Authenticate headers; one header may hold several.

    >>> challenges(['Bearer realm="https://a/token",service="r"'])
    [Challenge(scheme='bearer', parameters={'realm': 'https://a/token', 'service': 'r'})]
    """
    found: list[Challenge] = []
    for header in headers:
        for match in _PARAMETER.finditer(header[:_LONGEST]):
            scheme = match["scheme"] or match["bare"]
            if scheme:
                found.append(Challenge(scheme.lower(), {}))
            if match["name"] and found:
                value = match["plain"] if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"])
                found[-1].parameters[match["name"].lower()] = value
    return found


@dataclass(frozen=True, slots=True)
class Access:
    """What a token is wanted for: a repository, what is done with it, and others of the same registry to mount from."""

    host: str
    repository: str
    actions: str = "pull"
    mounted: tuple[str, ...] = ()

    def scopes(self, challenged: str = "") -> tuple[str, ...]:
        """The scopes to ask for: what the server named, with our actions added for the repositories that it named.

        >>> Access("r", "a", "pull,push").scopes("repository:a:pull registry:catalog:*")
        ('repository:a:pull,push', 'registry:catalog:*')
        """
        ours = {f"repository:{self.repository}": self.actions} if self.repository else {}
        ours |= {f"repository:{name}": "pull" for name in self.mounted}
        if not challenged:
            return tuple(f"{name}:{actions}" for name, actions in ours.items())
        theirs: dict[str, str] = {}
        for scope in challenged.split():
            name, _, actions = scope.rpartition(":")
            wanted = [*actions.split(","), *ours.get(name, "").split(","), *theirs.get(name, "").split(",")]
            theirs[name] = ",".join(sorted(set(filter(None, wanted))))
        return tuple(f"{name}:{actions}" for name, actions in theirs.items())


@dataclass(frozen=True, slots=True)
class _Held:
    header: str
    until: float  # on the monotonic clock


class Authorizer:
    """Keeps, for each access, the header that works. Safe for threads."""

    def __init__(self, transport: Transport, keyring: Keyring, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._keyring = keyring
        self._clock = clock
        self._held: dict[Access, _Held] = {}
        self._guard = threading.RLock()
        self.tried: tuple[str, ...] = ()

    def header(self, access: Access) -> str | None:
        """The Authorization header that worked last and has not expired; None before the first challenge."""
        with self._guard:
            held = self._held.get(access)
            return held.header if held and held.until > self._clock() else None

    def answer(self, access: Access, response: "httpx.Response", *, used: str | None, plain: bool) -> str | None:
        """A new header after a 401 to a request with ``used``, or None when there is nothing left to try."""
        with self._guard:
            current = self.header(access)
            if current is not None and current != used:
                return current  # another thread has renewed it meanwhile
            credential = self._keyring.find(access.host, access.repository)
            self.tried = tuple(self._keyring.tried)
            held = self._respond(access, response, credential, plain=plain)
            if held is None or held.header == used:
                return None
            self._held[access] = held
            return held.header

    def _respond(
        self, access: Access, response: "httpx.Response", credential: Credential | None, *, plain: bool
    ) -> _Held | None:
        forever = float("inf")
        if credential and credential.registry_token:
            return _Held(f"Bearer {credential.registry_token}", forever)
        offers = {offer.scheme: offer for offer in reversed(challenges(response.headers.get_list("www-authenticate")))}
        if "bearer" in offers:
            return self._token(access, offers["bearer"].parameters, credential, plain=plain)
        if "basic" in offers and credential and credential.password:
            return _Held(credential.basic, forever)
        return None

    def _token(
        self, access: Access, parameters: dict[str, str], credential: Credential | None, *, plain: bool
    ) -> _Held:
        realm = parameters.get("realm", "")
        try:
            target = urlsplit(realm)
        except ValueError:
            target = urlsplit("")
        if target.scheme != "https" and not (target.scheme == "http" and (plain or is_loopback(target.netloc))):
            raise WardianError(f"{access.host} sends us to {realm[:200]!r} for a token, which is not a safe address")
        service = {"service": parameters["service"]} if parameters.get("service") else {}
        scopes = access.scopes(parameters.get("scope", ""))
        if credential and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "client_id": "wardian",
                "refresh_token": credential.identity_token,
                **service,
                "scope": " ".join(scopes),
            }
            response = self._transport.post(realm, form)
        else:
            mark = "&" if target.query else "?"
            headers = {"Authorization": credential.basic} if credential and credential.password else {}
            ask = urlencode([*service.items(), *(("scope", scope) for scope in scopes)])
            response = self._transport.get(f"{realm}{mark}{ask}", headers)
        try:
            body = limited(response, _LIMIT)
        except cut() as error:
            raise unreachable(error, target.netloc) from error
        if response.status_code != 200:
            raise refused(response.status_code, body, host=access.host, what=access.repository, tried=self.tried)
        return self._read(body, target.netloc)

    def _read(self, body: bytes, server: str) -> _Held:
        try:
            said = document(body, "token")
            token = said.get("token") or said.get("access_token")
            life = float(said.get("expires_in") or _DEFAULT_LIFE)
        except (WardianError, ValueError, TypeError) as error:
            raise WardianError(f"{server} answered something that is no token") from error
        if not isinstance(token, str) or not token.isprintable():
            raise WardianError(f"{server} answered without a token")
        return _Held(f"Bearer {token}", self._clock() + max(life, _DEFAULT_LIFE) - _MARGIN)


def limited(response: "httpx.Response", limit: int) -> bytes:
    """The body, read to its end and closed. Raises ``WardianError`` beyond ``limit`` bytes, httpx's errors on a cut."""
    parts: list[bytes] = []
    size = 0
    try:
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise WardianError(
                    f"{response.url.netloc.decode()} sends more than {limit} bytes where a small document belongs"
                )
    finally:
        response.close()
    return b"".join(parts)
