"""How an engine's containers are named, so that a run is found again by its id alone."""

import re

LABEL = "dev.wardian.run"
PREFIX = "wardian-"


def container_name(run: str) -> str:
    """What the container of a run is called.

    >>> container_name("20261121-015432-123a1b")
    'wardian-20261121-015432-123a1b'
    """
    return PREFIX + re.sub(r"[^A-Za-z0-9_.-]", "-", run)
