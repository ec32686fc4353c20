"""Distributions, suites, architectures."""

import pytest

from wardian.errors import SpecError, WardianError
from wardian.resolvers.suites import Archive, Suite, architecture_of, suite_of, suite_of_release


def test_debian_has_updates_and_security() -> None:
    found = suite_of("bootstrap:debian:bookworm", "linux/amd64")
    assert found == Suite("debian", "bookworm", "amd64")
    assert found.archives == (
        Archive("http://deb.debian.org/debian", "bookworm", ("main",)),
        Archive("http://deb.debian.org/debian", "bookworm-updates", ("main",)),
        Archive("http://deb.debian.org/debian-security", "bookworm-security", ("main",)),
    )
    assert found.keyring_package == "debian-archive-keyring"


def test_unstable_has_one_archive() -> None:
    assert [one.suite for one in suite_of("bootstrap:debian:sid", "linux/arm64").archives] == ["sid"]


def test_ubuntu_has_ports_for_other_processors() -> None:
    assert suite_of("bootstrap:ubuntu:jammy", "linux/amd64").archives[0].url == "http://archive.ubuntu.com/ubuntu"
    assert suite_of("bootstrap:ubuntu:jammy", "linux/arm64").archives[2] == Archive(
        "http://ports.ubuntu.com/ubuntu-ports", "jammy-security", ("main", "universe")
    )


@pytest.mark.parametrize(
    ("reference", "said", "hint"),
    [
        ("bootstrap:debian", "is not a bootstrap", "write bootstrap:debian:bookworm"),
        ("bootstrap:debian:bookworm:x", "is not a bootstrap", "write bootstrap:debian:bookworm"),
        ("bootstrap:fedora:40", "no distribution 'fedora'", None),
        ("bootstrap:debian:bokworm", "no suite 'bokworm'", "did you mean bootstrap:debian:bookworm?"),
        ("bootstrap:debian:xyz", "no suite 'xyz'; there are bullseye, bookworm", None),
    ],
)
def test_unknown_ones_are_named(reference: str, said: str, hint: str | None) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        suite_of(reference, "linux/amd64")
    assert caught.value.hint == hint


def test_the_suite_of_a_foreign_base() -> None:
    text = 'PRETTY_NAME="Ubuntu 22.04.4 LTS"\nID=ubuntu\nVERSION_CODENAME=jammy\nID_LIKE=debian\n'
    assert suite_of_release(text, "linux/amd64") == Suite("ubuntu", "jammy", "amd64")
    assert suite_of_release('ID="debian"\nVERSION_CODENAME="trixie"\n', "linux/amd64").name == "trixie"


@pytest.mark.parametrize(
    ("text", "name"), [('ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n', "Alpine Linux v3.20"), ("", "unknown")]
)
def test_a_base_of_another_kind(text: str, name: str) -> None:
    with pytest.raises(WardianError, match=f"this base is {name}"):
        suite_of_release(text, "linux/amd64")


@pytest.mark.parametrize(
    ("platform", "architecture"),
    [
        ("linux/amd64", "amd64"),
        ("linux/arm64", "arm64"),
        ("linux/arm64/v8", "arm64"),
        ("linux/arm/v7", "armhf"),
        ("linux/386", "i386"),
        ("linux/ppc64le", "ppc64el"),
        ("linux/s390x", "s390x"),
    ],
)
def test_architectures(platform: str, architecture: str) -> None:
    assert architecture_of(platform) == architecture


def test_an_unknown_architecture() -> None:
    with pytest.raises(SpecError, match="Debian has no such architecture"):
        architecture_of("linux/z80")
