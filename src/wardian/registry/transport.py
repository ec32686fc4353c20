"""HTTP with patience: retries, redirects that drop credentials, certificates by host, proxies from the environment."""

import email.utils
import ipaddress
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from wardian.errors import Unavailable, WardianError
from wardian.registry.faults import unreachable

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 5
LONGEST_WAIT = 60.0  # seconds, whatever Retry-After asks for
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_REDIRECTS = 5
_COMMIT = 600.0  # seconds for which a registry may think about an upload: some copy it to another storage then
_RECEIVE = 1 << 20  # bytes of one read: with httpcore's own 64 KiB a third of a pull's processor time is Python's
Body = Callable[[], Iterable[bytes]]


class Transport:
    """Sends requests to any host, each with its own certificates; what can be repeated is. Safe for threads."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        ca_bundle: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.attempts = attempts
        self._environ = environ
        self._ca_bundle = ca_bundle
        self._sleep = sleep
        self._clients: dict[tuple[str, str], httpx.Client] = {}  # scheme and host
        self._guard = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str], method: str = "GET") -> "httpx.Response":
        """The answer with its body still to be read, after retries and redirects; close it. ``method`` may be HEAD.

        Statuses that stay bad are returned, servers that stay silent raise ``Unavailable``.
        """
        origin, headers = urlsplit(url), dict(headers)
        for _ in range(_REDIRECTS):
            response = self.send(method, url, headers)
            if response.status_code not in _MOVED or "location" not in response.headers:
                return response
            response.close()
            try:
                url = urljoin(url, response.headers["location"])
                target = urlsplit(url)
            except ValueError as error:
                raise _no_address(origin.netloc, response.headers["location"]) from error
            if origin.scheme == "https" and target.scheme != "https":
                raise WardianError(f"{origin.netloc} redirects to {target.scheme}://{target.netloc}, which is not safe")
            if target.netloc != origin.netloc:
                headers.pop("Authorization", None)
        raise WardianError(f"{origin.netloc} redirects in circles")

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        attempts: int | None = None,
    ) -> "httpx.Response":
        """The answer to one request, repeated while that may help; its body is still to be read. No redirects.

        ``body`` is called anew for each attempt; the headers say how long it is.
        """
        import httpx

        host = urlsplit(url).netloc
        client = self._client(url)
        most = attempts or self.attempts
        timeout = httpx.Timeout(_COMMIT, connect=15.0) if body else client.timeout
        for attempt in range(most):
            last = attempt + 1 == most
            try:
                content = body() if body else None
                request = client.build_request(method, url, headers=headers, content=content, timeout=timeout)
                response = client.send(request, stream=True)
            except httpx.HTTPError as error:
                if last or not _transient(error):
                    raise unreachable(error, host) from error
                self.pause(attempt)
                continue
            except (httpx.InvalidURL, ValueError) as error:
                raise _no_address(host, url) from error
            if response.status_code not in _AGAIN or last:
                return response
            response.close()
            self.pause(attempt, response)
        raise AssertionError("the last attempt returns or raises")

    def post(self, url: str, form: Mapping[str, str]) -> "httpx.Response":
        """The answer to a form, sent once, with its body still to be read; close it."""
        import httpx

        client = self._client(url)
        try:
            return client.send(client.build_request("POST", url, data=dict(form)), stream=True)
        except httpx.HTTPError as error:
            raise unreachable(error, urlsplit(url).netloc) from error

    def speaks_http(self, url: str) -> bool:
        """Whether a plain request gets an answer: a TLS server hangs up, or says 400 (as Go and nginx do)."""
        import httpx

        try:
            return self._client(url).get(url).status_code != 400
        except httpx.RemoteProtocolError:
            return False
        except httpx.HTTPError as error:
            raise unreachable(error, urlsplit(url).netloc) from error

    def pause(self, attempt: int, response: "httpx.Response | None" = None) -> None:
        """Wait before the next attempt (counted from 0): what Retry-After says, or longer each time with jitter."""
        asked = retry_after(response.headers.get("retry-after"), time.time()) if response is not None else None
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, protects nothing
        self._sleep(min(LONGEST_WAIT, asked if asked is not None else 0.5 * 2**attempt * jitter))

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *failure: object) -> None:
        """Close all connections."""
        with self._guard:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, url: str) -> "httpx.Client":
        """The connections to one host. Plain HTTP needs no certificates, which take long to read."""
        import httpcore
        import httpx

        scheme, host, *_ = urlsplit(url)
        with self._guard:
            if (scheme, host) not in self._clients:
                httpcore.HTTP11Connection.READ_NUM_BYTES = _RECEIVE
                proxy = proxy_for(scheme, host, self._environ) if scheme in ("http", "https") else None
                bare = scheme == "http" and not proxy
                certificates = _nobody() if bare else trust(host, self._environ, self._ca_bundle)
                self._clients[scheme, host] = httpx.Client(
                    verify=certificates,
                    trust_env=False,
                    mounts={f"{scheme}://": _through(proxy, certificates)} if proxy else {},
                    timeout=httpx.Timeout(60.0, connect=15.0),
                    headers={"User-Agent": "wardian"},
                )
            return self._clients[scheme, host]


def _no_address(host: str, said: str) -> Unavailable:
    return Unavailable(f"{host} sent an address that cannot be used: {said[:200]!r}")


def _nobody() -> ssl.SSLContext:
    """Trust in nobody: for connections without TLS."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` names this machine, by its name alone (no look-up: an answer could lie)."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def proxy_for(scheme: str, host: str, environ: Mapping[str, str]) -> str | None:
    """The proxy on the way to ``host[:port]``; None to go straight. Source: curl(1), "ENVIRONMENT"; networks as in Go.

    >>> proxy_for("https", "ghcr.io", {"https_proxy": "proxy:3128", "no_proxy": "10.0.0.0/8,.corp.example"})
    'http://proxy:3128'
    """
    proxy = _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy")
    if not proxy or is_loopback(host):  # as in Go: no proxy stands between a machine and itself
        return None
    where = urlsplit(f"//{host.lower()}")
    name, port = where.hostname or "", where.port or {"http": 80, "https": 443}[scheme]
    if any(_is_named(name, port, word) for word in re.split(r"[\s,]+", _variable(environ, "no_proxy").lower()) if word):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _is_named(name: str, port: int, word: str) -> bool:
    """Whether a word of NO_PROXY means a host: its name, its domain, its network, with or without its port."""
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(word.strip("[]"), strict=False)
    except ValueError:
        wanted, _, at = word.partition(":")
        return word == "*" or (at in ("", str(port)) and f".{name}".endswith(f".{wanted.lstrip('*.')}"))


def _through(proxy: str, certificates: ssl.SSLContext) -> "httpx.HTTPTransport":
    import httpx

    try:
        return httpx.HTTPTransport(verify=certificates, proxy=proxy)
    except (ValueError, ImportError, httpx.InvalidURL) as error:  # ImportError: for SOCKS, which needs another library
        raise Unavailable(
            f"the proxy {proxy.rpartition('@')[2]} cannot be used: only http:// and https:// are known",
            hint="set HTTPS_PROXY to one of these, or NO_PROXY to what is reached without",
        ) from error


def trust(host: str, environ: Mapping[str, str], ca_bundle: Path | None) -> ssl.SSLContext:
    """The certificates to trust for one host: the system's (SSL_CERT_FILE), the machine's bundle, ``certs.d/HOST``."""
    context = ssl.create_default_context()
    bundle = ca_bundle or (Path(environ["SSL_CERT_FILE"]) if environ.get("SSL_CERT_FILE") else None)
    try:
        if bundle is not None:
            context.load_verify_locations(cafile=str(bundle))
        for folder in _certificate_folders(host, environ):
            for authority in sorted(folder.glob("*.crt")):
                context.load_verify_locations(cafile=str(authority))
            for certificate in sorted(folder.glob("*.cert")):
                context.load_cert_chain(str(certificate), str(certificate.with_suffix(".key")))
    except (OSError, ssl.SSLError) as error:
        raise WardianError(
            f"the certificates for {host} cannot be read: {error}", hint="look at SSL_CERT_FILE and certs.d"
        ) from error
    return context


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for; it holds seconds or a date. Source: RFC 9110, 10.2.3.

    >>> retry_after("Thu, 01 Jan 1970 00:00:30 GMT", 10.0)
    20.0
    """
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _transient(error: "httpx.HTTPError") -> bool:
    """Whether the next attempt may succeed: connections cut or timed out, not refused, unknown or untrusted ones."""
    import httpx

    return isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError | httpx.TimeoutException)


def _certificate_folders(host: str, environ: Mapping[str, str]) -> list[Path]:
    """Where docker and podman keep a registry's own certificates. Sources: docker docs, containers-certs.d(5)."""
    home = environ.get("HOME")
    roots = [Path("/etc/docker"), Path("/etc/containers")]
    roots += [Path(home) / ".config" / "containers", Path(home) / ".docker"] if home else []
    return [folder for root in roots if (folder := root / "certs.d" / host).is_dir()]
