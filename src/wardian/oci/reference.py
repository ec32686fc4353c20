"""Image references: ``registry/repository:tag@digest``, read as docker reads them.

Source: https://github.com/distribution/reference (grammar in reference.go, defaults in normalize.go).
"""

import re
from dataclasses import dataclass, replace

from wardian.errors import WardianError
from wardian.oci.digest import is_digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_HUB = "docker.io"


def is_tag(text: str) -> bool:
    """Whether ``text`` may be a tag: a registry's answer is not to be trusted with that."""
    return _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Whether ``text`` may be the name of a repository."""
    return _REPOSITORY.fullmatch(text) is not None and len(text) <= 255


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an image in a registry, with every default filled in; the tag is None only beside a digest."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read a reference. Raises ``WardianError`` that says which part is wrong.

        >>> str(Reference.parse("ubuntu"))
        'docker.io/library/ubuntu:latest'
        """
        name, at, digest = text.partition("@")
        if at and not is_digest(digest):
            raise _wrong(text, f"the digest {digest!r} is not sha256: and 64 hexadecimal digits")
        head, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            head, tag = name, ""
        elif not is_tag(tag):
            raise _wrong(text, f"the tag {tag!r} may hold letters, digits, '_', '.', '-'; at most 128")
        registry, repository = _split(head)
        if not _HOST.fullmatch(registry):
            raise _wrong(text, f"{registry!r} is not the name of a registry")
        if not is_repository(repository):
            raise _wrong(
                text,
                f"the repository {repository!r} may hold a-z, 0-9, and '.', '_', '-', '/' between them",
            )
        return cls(registry, repository, tag or (None if at else "latest"), digest or None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """The shortest form that means the same: ``ubuntu:22.04``."""
        return str(self).removeprefix(f"{_HUB}/").removeprefix("library/")

    def at(self, digest: str) -> "Reference":
        """The same repository at a digest, without a tag."""
        return replace(self, tag=None, digest=digest)


def canonical_name(text: str) -> str:
    """``text`` with every default filled in, or as it is when it is no reference (an image layout allows any name)."""
    try:
        return str(Reference.parse(text))
    except WardianError:
        return text


def _split(name: str) -> tuple[str, str]:
    """Registry and repository. The first component is a host only if it looks like one. Source: splitDockerDomain."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, repository = ("docker.io" if first == "index.docker.io" else first), rest
    else:
        registry, repository = _HUB, name
    return registry, f"library/{repository}" if registry == _HUB and "/" not in repository else repository


def _wrong(text: str, why: str) -> WardianError:
    return WardianError(f"{text[:200]!r} is not an image reference: {why}")
