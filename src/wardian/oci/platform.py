"""Which entry of an index is meant by ``linux/arm64``.

Source: https://github.com/opencontainers/image-spec/blob/main/image-index.md and containerd's platforms package
(defaults of variants: arm64 means v8, arm means v7, amd64 means v1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from wardian.errors import WardianError
from wardian.oci.model import Descriptor

_DEFAULTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_ALIASES = {"x86_64": "amd64", "aarch64": "arm64"}


def written(platform: Mapping[str, Any]) -> str:
    """A platform object as text: ``linux/arm64/v8``."""
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(str(part) for part in parts if part)


def matches(offered: Mapping[str, Any], wanted: str) -> bool:
    """Whether a platform object is the one that was asked for; an absent variant is the architecture's default.

    >>> matches({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64")
    True
    """
    return _full(written(offered)) == _full(wanted)


def choose(entries: Sequence[Descriptor], wanted: str, *, name: str) -> Descriptor:
    """The entry of an index for one platform. Raises ``WardianError`` that lists what there is."""
    offered = [entry for entry in entries if entry.platform and _is_image(entry)]
    for entry in offered:
        if entry.platform and matches(entry.platform, wanted):
            return entry
    there = ", ".join(dict.fromkeys(written(entry.platform or {}) for entry in offered)) or "no platform at all"
    raise WardianError(f"{name} is not there for {wanted}; it offers {there}")


def _is_image(entry: Descriptor) -> bool:
    """Not an attestation, which buildx lists as ``unknown/unknown``."""
    return written(entry.platform or {}) not in {"", "unknown/unknown"}


def _full(platform: str) -> tuple[str, str, str]:
    system, architecture, variant, *_ = [*platform.split("/"), "", "", ""]
    architecture = _ALIASES.get(architecture, architecture)
    return system, architecture, variant or _DEFAULTS.get(architecture, "")
