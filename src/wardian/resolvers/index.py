"""Python package indexes, as far as finding a file again needs them: pages of links, and who may read them.

Sources: the simple repository API (PEP 503, PEP 691), pip's ``--find-links`` pages.
"""

import base64
import json
import netrc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

from wardian.errors import WardianError
from wardian.hosts.machine import Machine, bare, local_path, userinfo
from wardian.lock.pylock import filename_of

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


@dataclass(frozen=True, slots=True)
class Link:
    """A file that a page names; ``sha256`` when the page tells it."""

    filename: str
    url: str
    sha256: str | None


def links(page: str, read: Callable[[str], bytes]) -> Iterator[Link]:
    """The files that an index page names; none when it cannot be read. ``read`` gets a page over HTTP."""
    folder = local_path(page)
    try:
        if folder is None:
            content, base = read(page), page
        else:
            content, base = (folder / "index.html").read_bytes(), folder.absolute().as_uri() + "/"
    except (WardianError, OSError):
        return
    if content.lstrip().startswith(b"{"):
        yield from _json_links(content, base)
    else:
        yield from _html_links(content, base)


def authorization(machine: Machine, url: str) -> dict[str, str]:
    """The header for a URL whose host this machine has credentials for: in the URL, in an index's URL, in netrc."""
    pair = userinfo(url) or of_index(machine, url) or _of_netrc(machine, url)
    if pair is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(pair).encode()).decode()}


def _json_links(content: bytes, base: str) -> Iterator[Link]:
    try:
        files = json.loads(content)["files"]
        for file in files:
            yield Link(file["filename"], urljoin(base, file["url"]), file.get("hashes", {}).get("sha256"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return


def _html_links(content: bytes, base: str) -> Iterator[Link]:
    parser = _Anchors()
    parser.feed(content.decode("utf-8", errors="replace"))
    for target in parser.targets:
        url, fragment = urldefrag(urljoin(base, target))
        told = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        yield Link(filename_of(url), url, told)


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def of_index(machine: Machine, url: str) -> tuple[str, str] | None:
    """User and password that an index of the machine has for a URL's host."""
    host = urlsplit(bare(url)).netloc
    for place in (*machine.indexes, *machine.find_links):
        if urlsplit(bare(place)).netloc == host and (pair := userinfo(place)):
            return pair
    return next(
        ((user, word) for place, user, word in machine.credentials if urlsplit(bare(place)).netloc == host), None
    )


def _of_netrc(machine: Machine, url: str) -> tuple[str, str] | None:
    host = urlsplit(url).hostname
    if not machine.netrc or not host:
        return None
    try:
        entry = netrc.netrc(machine.netrc).hosts.get(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (entry[0], entry[2]) if entry else None
