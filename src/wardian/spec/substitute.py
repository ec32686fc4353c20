"""``[substitutes]``: what a machine uses instead of an image reference or an index."""

from collections.abc import Mapping


def substitute(table: Mapping[str, str], reference: str) -> str | None:
    """What to use instead of ``reference``, or None.

    A key that ends in ``*`` matches by prefix; if the value ends in ``*`` too, the rest is carried over. A key that is
    a URL replaces that prefix at a path boundary. Otherwise the whole reference must match. The longest key wins.
    Docker's short names are understood: ``nvidia/cuda:1`` is ``docker.io/nvidia/cuda:1``.

    >>> substitute({"docker.io/nvidia/cuda:*": "bootstrap:debian:bookworm"}, "nvidia/cuda:12.4.1-base")
    'bootstrap:debian:bookworm'
    >>> substitute({"https://pypi.org/simple": "https://mirror.lab/pypi"}, "https://pypi.org/simple/torch/")
    'https://mirror.lab/pypi/torch/'
    """
    wanted = qualified(reference)
    for key in sorted(table, key=len, reverse=True):
        value = table[key]
        if key.endswith("*"):
            prefix = key[:-1] if "://" in key else _prefix(key[:-1])
            if wanted.startswith(prefix):
                return value[:-1] + wanted[len(prefix) :] if value.endswith("*") else value
        elif "://" in key:
            prefix = key.rstrip("/")
            if wanted == prefix or wanted.startswith(prefix + "/"):
                return value.rstrip("/") + wanted[len(prefix) :]
        elif qualified(key) == wanted:
            return value
    return None


def qualified(reference: str) -> str:
    """A reference with registry and tag (``:latest``) or digest. URLs, ``@name`` and ``bootstrap:`` stay.

    >>> qualified("python")
    'docker.io/library/python:latest'
    """
    if "://" in reference or reference.startswith(("@", "bootstrap:")):
        return reference
    full = _prefix(reference)
    return full if "@" in full or ":" in full.rsplit("/", 1)[-1] else f"{full}:latest"


def _prefix(reference: str) -> str:
    """Put ``docker.io/`` (and ``library/``) before a short name. Source: distribution/reference."""
    if not reference or reference.startswith(("bootstrap:", "@")):
        return reference
    first, slash, rest = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return f"docker.io/{rest}" if first == "index.docker.io" else reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"
