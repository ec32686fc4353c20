"""The SBOM: the same pins give the same bytes, in the words of SPDX 2.3."""

import itertools
import json
import re

import pytest

from wardian.oci.sbom import Package, document

TORCH = Package("pypi", "torch", "2.13.0+cpu", "a" * 64, "https://download.example.org/torch.whl")
GPP = Package(
    "deb",
    "g++",
    "4:12.2.0-3",
    "b" * 64,
    "http://debian.example.org/g.deb",
    "debian",
    (("arch", "amd64"), ("distro", "bookworm")),
)
NUMPY = Package("pypi", "numpy", "2.1.0", layer="sha256:" + "c" * 64)


def test_the_order_of_pins_does_not_matter() -> None:
    made = {document("train", order) for order in itertools.permutations([TORCH, GPP, NUMPY])}
    assert len(made) == 1
    assert document("train", [TORCH, TORCH]) == document("train", [TORCH])


def test_it_says_what_spdx_requires() -> None:
    data = json.loads(document("train[python=3.11]", [TORCH, GPP, NUMPY], base="docker.io/x@sha256:1"))
    assert (data["spdxVersion"], data["dataLicense"], data["SPDXID"]) == ("SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT")
    assert data["creationInfo"] == {"created": "2020-01-01T00:00:00Z", "creators": ["Tool: wardian"]}
    assert re.fullmatch(
        r"https://spdx\.org/spdxdocs/wardian-train-python-3\.11-[0-9a-f]{64}", data["documentNamespace"]
    )
    ids = [package["SPDXID"] for package in data["packages"]]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", identity) for identity in ids)
    contained = {
        relation["relatedSpdxElement"]
        for relation in data["relationships"]
        if relation["relationshipType"] == "CONTAINS"
    }
    assert contained == set(ids) - {"SPDXRef-Image"}


def test_each_package_has_its_url_hash_and_purl() -> None:
    packages = {package["name"]: package for package in json.loads(document("train", [TORCH, GPP, NUMPY]))["packages"]}
    assert packages["torch"]["downloadLocation"] == TORCH.url
    assert packages["torch"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": "a" * 64}]
    assert packages["numpy"]["downloadLocation"] == "NOASSERTION"
    assert packages["numpy"]["comment"] == f"in layer {NUMPY.layer}"
    assert {
        package["externalRefs"][0]["referenceLocator"] for package in packages.values() if "externalRefs" in package
    } == {
        "pkg:pypi/torch@2.13.0%2Bcpu",
        "pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64&distro=bookworm",
        "pkg:pypi/numpy@2.1.0",
    }


@pytest.mark.parametrize("url", ["file:///home/someone/wheels/x.whl", "https://me:secret@index.example.org/x.whl"])
def test_paths_and_passwords_of_this_machine_stay_out(url: str) -> None:
    said = document("train", [Package("pypi", "x", "1", url=url)])
    assert b"someone" not in said
    assert b"secret" not in said
    assert said == document("train", [Package("pypi", "x", "1")])


def test_names_that_look_alike_get_different_identifiers() -> None:
    data = json.loads(document("x", [Package("pypi", "a", "1+b"), Package("pypi", "a", "1_b")]))
    assert len({package["SPDXID"] for package in data["packages"]}) == 3
