"""What an image is made of, as an SPDX 2.3 document: the lock's pins, written so that scanners understand them.

The same pins give the same bytes. Sources: https://spdx.github.io/spdx-spec/v2.3/ and
https://github.com/package-url/purl-spec (types pypi and deb).
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from wardian.oci.model import canonical
from wardian.oci.tar import MTIME

_UNKNOWN = "NOASSERTION"


@dataclass(frozen=True, slots=True)
class Package:
    """One pinned package: ``kind`` is "pypi" or "deb"; ``qualifiers`` are those of purl; ``layer`` is a digest."""

    kind: str
    name: str
    version: str
    sha256: str | None = None
    url: str | None = None
    namespace: str | None = None  # "debian", "ubuntu"
    qualifiers: tuple[tuple[str, str], ...] = ()
    layer: str | None = None

    @property
    def purl(self) -> str:
        """The package URL.

        >>> Package("deb", "g++", "4:12.2.0-3", namespace="debian", qualifiers=(("arch", "amd64"),)).purl
        'pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64'
        """
        place = f"{self.namespace}/" if self.namespace else ""
        query = "&".join(f"{key}={quote(value, safe=':')}" for key, value in sorted(self.qualifiers))
        name, version = quote(self.name, safe=""), quote(self.version, safe=":")
        return f"pkg:{self.kind}/{place}{name}@{version}{'?' if query else ''}{query}"


def document(image: str, packages: Iterable[Package], *, base: str | None = None, created: int = MTIME) -> bytes:
    """The SPDX document of ``image`` (a name, "train"); ``base`` is a reference with digest that it stands on."""
    listed = sorted(set(packages), key=lambda package: (package.kind, package.name, package.version, package.purl))
    whole = {
        "SPDXID": "SPDXRef-Image",
        "name": image,
        "primaryPackagePurpose": "CONTAINER",
        **_silent(),
        **({"comment": f"stands on {base}"} if base else {}),
    }
    ids = _ids(listed)
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")]
    relations += [_relation("SPDXRef-Image", "CONTAINS", ids[package]) for package in listed]
    body = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image,
        "creationInfo": {"created": _time(created), "creators": ["Tool: wardian"]},
        "packages": [whole, *(_package(package, ids[package]) for package in listed)],
        "relationships": relations,
    }
    identity = hashlib.sha256(canonical(body)).hexdigest()
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", image).strip("-")
    return canonical({**body, "documentNamespace": f"https://spdx.org/spdxdocs/wardian-{name}-{identity}"})


def _package(package: Package, identity: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": identity,
        "name": package.name,
        "versionInfo": package.version,
        **_silent(),
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
        ],
    }
    if package.url and _is_public(package.url):
        found["downloadLocation"] = package.url
    if package.sha256:
        found["checksums"] = [{"algorithm": "SHA256", "checksumValue": package.sha256.removeprefix("sha256:")}]
    if package.layer:
        found["comment"] = f"in layer {package.layer}"
    return found


def _is_public(url: str) -> bool:
    """Whether an address says something to others: no path of this machine, nothing with a password in it."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and "@" not in parts.netloc


def _silent() -> dict[str, Any]:
    """What SPDX wants said of every package, and the lock does not know."""
    unknown = ("downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText")
    return {**dict.fromkeys(unknown, _UNKNOWN), "filesAnalyzed": False}


def _ids(packages: list[Package]) -> dict[Package, str]:
    """An identifier for each package; those that would be the same are numbered."""
    found: dict[Package, str] = {}
    taken: dict[str, int] = {}
    for package in packages:
        plain = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{package.kind}-{package.name}-{package.version}")
        taken[plain] = taken.get(plain, 0) + 1
        found[package] = f"SPDXRef-{plain}" + (f"-{taken[plain]}" if taken[plain] > 1 else "")
    return found


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
