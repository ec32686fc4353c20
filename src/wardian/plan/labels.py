"""What an image says of itself: OCI's pre-defined annotation keys and Wardian's own, as labels and as annotations.

Source: https://github.com/opencontainers/image-spec/blob/main/annotations.md

The revision stands only in images that hold files of the project (``copy``, ``project``): the others are decided by the
lock alone, and must get the same digest from any commit.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

from wardian.lock.model import LockedImage

OCI = "org.opencontainers.image."
OURS = "dev.wardian."
EDITABLE = f"{OURS}editable"  # the folder that an editable link leads to: where the project must be bound


def labels(
    *,
    title: str,
    version: str | None,
    epoch: int,
    revision: str | None,
    base: str,
    base_digest: str | None,
    locked: LockedImage,
    python: str | None,
    interpreter: str | None,
    editable: str | None,
    own: Mapping[str, str],
) -> dict[str, str]:
    """All labels of an image, sorted; the user's own win."""
    made = {
        f"{OCI}title": title,
        f"{OCI}version": version,
        f"{OCI}created": timestamp(epoch),
        f"{OCI}revision": revision,
        f"{OCI}base.name": base if base_digest else None,  # a bootstrap stands on no image
        f"{OCI}base.digest": base_digest,
        f"{OURS}base": None if base_digest else base,
        f"{OURS}image": title,
        f"{OURS}lock": lock_digest(locked),
        f"{OURS}python": python,
        f"{OURS}interpreter": interpreter,
        EDITABLE: editable,
    }
    return dict(sorted(({name: value for name, value in made.items() if value} | dict(own)).items()))


def lock_digest(locked: LockedImage) -> str:
    """The digest of one image's entry in the lock: two images with the same one hold the same packages."""
    text = json.dumps(locked.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return "sha256:" + sha256(text.encode()).hexdigest()


def timestamp(epoch: int) -> str:
    """Seconds since 1970 as RFC 3339.

    >>> timestamp(1577836800)
    '2020-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def annotations(said: Mapping[str, str]) -> dict[str, str]:
    """The labels that go on the manifest too, where a registry shows them without the config."""
    return {name: value for name, value in said.items() if name.startswith((OCI, OURS))}
