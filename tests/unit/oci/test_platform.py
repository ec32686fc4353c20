"""Platforms: which entry of an index is meant."""

from collections.abc import Mapping

import pytest

from wardian.errors import WardianError
from wardian.oci.model import MANIFEST, Descriptor
from wardian.oci.platform import choose, matches, written


def entry(number: int, system: str, architecture: str, variant: str = "") -> Descriptor:
    platform: Mapping[str, str] = {
        "os": system,
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
    }
    return Descriptor(MANIFEST, f"sha256:{number:064x}", 1, platform=platform)


@pytest.mark.parametrize(
    ("offered", "wanted", "good"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64", True),
        ({"os": "linux", "architecture": "amd64", "variant": "v1"}, "linux/amd64", True),
        ({"os": "linux", "architecture": "amd64", "variant": "v3"}, "linux/amd64", False),
        ({"os": "linux", "architecture": "amd64", "variant": "v3"}, "linux/amd64/v3", True),
        ({"os": "linux", "architecture": "arm64"}, "linux/arm64/v8", True),
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64", True),
        ({"os": "linux", "architecture": "aarch64"}, "linux/arm64", True),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm", True),
        ({"os": "linux", "architecture": "arm", "variant": "v6"}, "linux/arm", False),
        ({"os": "windows", "architecture": "amd64"}, "linux/amd64", False),
        ({}, "linux/amd64", False),
    ],
)
def test_variants_have_defaults(offered: Mapping[str, str], wanted: str, good: bool) -> None:
    assert matches(offered, wanted) is good


def test_the_entry_of_the_platform_is_chosen() -> None:
    entries = [entry(1, "linux", "amd64"), entry(2, "linux", "arm64", "v8"), entry(3, "unknown", "unknown")]
    assert choose(entries, "linux/arm64", name="x").digest == entries[1].digest


def test_what_is_offered_is_listed_once_and_attestations_are_not() -> None:
    entries = [entry(1, "linux", "arm", "v6"), entry(2, "linux", "arm", "v6"), entry(3, "unknown", "unknown")]
    with pytest.raises(WardianError, match=r"^x is not there for linux/amd64; it offers linux/arm/v6$"):
        choose(entries, "linux/amd64", name="x")
    with pytest.raises(WardianError, match="it offers no platform at all"):
        choose([Descriptor(MANIFEST, f"sha256:{0:064x}", 1)], "linux/amd64", name="x")


def test_a_platform_is_written_as_it_is_typed() -> None:
    assert written({"os": "linux", "architecture": "arm64", "variant": "v8"}) == "linux/arm64/v8"
    assert written({"os": "linux"}) == "linux"
