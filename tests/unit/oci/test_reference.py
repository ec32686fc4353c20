"""References, read as docker reads them (cases from distribution/reference's own tests)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.oci.reference import Reference, canonical_name

ZERO = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("ubuntu:22.04", "docker.io", "library/ubuntu", "22.04", None),
        ("nvidia/cuda:12.4.1-runtime-ubuntu22.04", "docker.io", "nvidia/cuda", "12.4.1-runtime-ubuntu22.04", None),
        ("index.docker.io/library/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("ghcr.io/acme/empo/train:py3.11", "ghcr.io", "acme/empo/train", "py3.11", None),
        ("localhost/x", "localhost", "x", "latest", None),
        ("localhost:5000/x/y:z", "localhost:5000", "x/y", "z", None),
        ("127.0.0.1:5000/x", "127.0.0.1:5000", "x", "latest", None),
        ("[::1]:5000/x", "[::1]:5000", "x", "latest", None),
        ("Registry/x", "Registry", "x", "latest", None),
        (f"ubuntu@{ZERO}", "docker.io", "library/ubuntu", None, ZERO),
        (f"ghcr.io/a/b:t@{ZERO}", "ghcr.io", "a/b", "t", ZERO),
        ("a/b__c/d--e/f.g_h", "docker.io", "a/b__c/d--e/f.g_h", "latest", None),
    ],
)
def test_parts(text: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, digest)
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "repository"),
        (":tag", "repository"),
        ("Ubuntu", "a-z"),
        ("a//b", "repository"),
        ("a/b/", "repository"),
        ("-a/b", "repository"),
        ("a..b", "repository"),
        ("a:b c", "tag"),
        ("a:-b", "tag"),
        ("a:" + "x" * 129, "tag"),
        ("a@sha256:abc", "digest"),
        ("a@", "digest"),
        ("a.b:port/c", "registry"),
        ("a/../b", "repository"),
        ("bootstrap:debian:bookworm", "repository"),
        ("x" * 300, "repository"),
        ("a\n", "repository"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(WardianError, match="not an image reference") as caught:
        Reference.parse(text)
    assert said in caught.value.message


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_an_error(text: str) -> None:
    try:
        found = Reference.parse(text)
    except WardianError:
        assert canonical_name(text) == text
    else:
        assert Reference.parse(str(found)) == found


def test_the_shortest_form() -> None:
    assert Reference.parse("docker.io/library/ubuntu:22.04").familiar == "ubuntu:22.04"
    assert Reference.parse("nvidia/cuda").familiar == "nvidia/cuda:latest"
    assert Reference.parse("ghcr.io/a/b").familiar == "ghcr.io/a/b:latest"


def test_another_digest_of_the_same_repository() -> None:
    assert str(Reference.parse("ghcr.io/a/b:t").at(ZERO)) == f"ghcr.io/a/b@{ZERO}"
