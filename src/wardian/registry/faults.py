"""What a registry's refusal, or its silence, becomes: one line that says who refused what, and what to type next."""

import re
import socket
import ssl
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from wardian.errors import Unavailable, WardianError
from wardian.oci.model import document

if TYPE_CHECKING:
    import httpx


_NO_ROOM = re.compile(rb'no space left|disk quota|quota exceeded|insufficient storage|"Err":28\b', re.IGNORECASE)


class NotThere(WardianError):
    """A registry does not have what was asked for."""


@cache
def cut() -> "tuple[type[httpx.HTTPError], ...]":
    """What is raised when a connection ends too soon. httpx is loaded by the first request, not by each ``lock``."""
    import httpx

    return httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout, httpx.WriteError, httpx.DecodingError


def refused(
    status: int, body: bytes, *, host: str, what: str, tried: Sequence[str], doing: str = "reading"
) -> WardianError:
    """The error for an answer that is not the wanted one. ``what`` names the object: ``acme/image:tag``."""
    said = _said(body)
    if doing != "reading" and (found := _not_writable(status, body, said, host=host, what=what, doing=doing)):
        return found
    if status == 401:
        where = f"looked in {', '.join(tried)}" if tried else "there are none on this machine"
        return WardianError(
            f"{host} wants other credentials for {what} ({where}){said}", hint=f"type: docker login {host}"
        )
    if status == 403:
        return WardianError(f"{host} forbids reading {what}{said}", hint=f"ask its owner, or type: docker login {host}")
    if status == 404:
        return NotThere(f"{host} has no {what}{said}", hint="look at the spelling of the repository and the tag")
    if status == 429:
        return Unavailable(
            f"{host} answers 429 for {what}: too many requests{said}",
            hint=f"wait, or raise the limit with: docker login {host}",
        )
    if status >= 500:
        return Unavailable(
            f"{host} answers {status} for {what}: the registry is in trouble{said}", hint="try again later"
        )
    return WardianError(f"{host} answers {status} for {what}{said}")


def full(status: int, body: bytes) -> bool:
    """Whether a refusal says that there is no room: by its status, or as docker's registry writes ENOSPC."""
    return status in (413, 507) or (status >= 400 and _NO_ROOM.search(body) is not None)


def _not_writable(status: int, body: bytes, said: str, *, host: str, what: str, doing: str) -> WardianError | None:
    """What only a writer is told: no right to write, no room, no deletion. None for what readers are told too."""
    if status == 403:
        return WardianError(
            f"{host} forbids {doing} {what}{said}",
            hint=f"ask its owner for the right to, or log in as somebody who has it: docker login {host}",
        )
    if status == 405:
        return WardianError(
            f"{host} does not allow {doing} {what}{said}",
            hint="ask who runs it whether it is read-only, or has deletion disabled",
        )
    if full(status, body):
        why = "takes no blob of that size" if status == 413 else "has no room left"
        return Unavailable(
            f"{host} {why}: {doing} {what} failed{said}", hint="tell who runs it; what arrived is not sent again"
        )
    return None


def unreachable(error: "httpx.HTTPError", host: str) -> Unavailable:
    """The error for a server that did not answer."""
    import httpx

    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "getaddrinfo" in str(error):
        return Unavailable(f"the name {host} cannot be resolved", hint="look at the name, the network, and HTTPS_PROXY")
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None or "CERTIFICATE" in str(error) or "SSL" in str(error):
        return Unavailable(
            f"no trusted TLS connection to {host}: {_tls_reason(tls, error)}",
            hint=f"set SSL_CERT_FILE to a bundle that has its CA, or put the CA into /etc/docker/certs.d/{host}/ca.crt",
        )
    if isinstance(error, httpx.TimeoutException):
        return Unavailable(f"{host} did not answer in time", hint="look at the network and HTTPS_PROXY")
    if isinstance(error, httpx.ProxyError):
        return Unavailable(f"the proxy refused the way to {host}: {error}", hint="look at HTTPS_PROXY and NO_PROXY")
    if isinstance(error, cut()):
        return Unavailable(f"{host} cut the connection: {error}", hint="try again; what was fetched is kept")
    return Unavailable(f"{host} cannot be reached: {error}", hint="look at the network, the port and HTTPS_PROXY")


def not_a_registry(host: str, media_type: str) -> WardianError:
    """The error for a server that answers web pages."""
    return WardianError(
        f"{host} is not an image registry: it answers {media_type or 'something'} where a manifest was asked for",
        hint="look at the host's name, and whether a proxy or a login page stands before it",
    )


def _said(body: bytes) -> str:
    """The registry's own words, shortened to one line. Source: distribution-spec, «Error Codes»."""
    try:
        first = document(body, "refusal")["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
    except (WardianError, LookupError, TypeError, AttributeError):
        return ""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)  # nothing that steers a terminal
    return f": {' '.join(shown.split())[:200]}" if text else ""


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__ or link.__context__
    return found


def _tls_reason(tls: BaseException | None, error: BaseException) -> str:
    if isinstance(tls, ssl.SSLCertVerificationError):
        return tls.verify_message
    return str(tls or error).partition("(_ssl")[0].strip()
