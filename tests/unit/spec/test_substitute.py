"""What a machine uses instead of a reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.substitute import qualified, substitute


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("nvidia/cuda:12.4.1", "docker.io/nvidia/cuda:12.4.1"),
        ("index.docker.io/nvidia/cuda:1", "docker.io/nvidia/cuda:1"),
        ("docker.io/library/python:3", "docker.io/library/python:3"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
        ("localhost/a:1", "localhost/a:1"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("a/b@sha256:" + "0" * 64, "docker.io/a/b@sha256:" + "0" * 64),
        ("bootstrap:debian:bookworm", "bootstrap:debian:bookworm"),
        ("https://pypi.org/simple", "https://pypi.org/simple"),
    ],
)
def test_qualified(reference: str, full: str) -> None:
    assert qualified(reference) == full
    assert qualified(full) == full


@pytest.mark.parametrize(
    ("table", "reference", "instead"),
    [
        ({}, "python:3", None),
        ({"docker.io/nvidia/cuda:*": "bootstrap:debian:bookworm"}, "nvidia/cuda:12.4.1", "bootstrap:debian:bookworm"),
        ({"docker.io/nvidia/cuda:*": "bootstrap:debian:bookworm"}, "nvidia/cudax:1", None),
        ({"nvidia/cuda:*": "x"}, "docker.io/nvidia/cuda:1", "x"),
        ({"docker.io/*": "mirror.lab/hub/*"}, "python:3", "mirror.lab/hub/library/python:3"),
        ({"*": "lab/*"}, "ghcr.io/a/b:1", "lab/ghcr.io/a/b:1"),
        ({"ghcr.io/*": "lab:5000/*"}, "ghcr.io/a/b:1", "lab:5000/a/b:1"),
        ({"python": "lab/python:3.11"}, "python:latest", "lab/python:3.11"),
        ({"python": "lab/python:3.11"}, "python:3.11", None),
        ({"docker.io/*": "all", "docker.io/nvidia/*": "nvidia"}, "nvidia/cuda", "nvidia"),
        ({"docker.io/nvidia/cuda:12*": "twelve", "docker.io/nvidia/cuda:*": "any"}, "nvidia/cuda:11", "any"),
        ({"bootstrap:debian:bookworm": "lab/debian:12"}, "bootstrap:debian:bookworm", "lab/debian:12"),
        ({"https://pypi.org/simple": "https://m/pypi"}, "https://pypi.org/simple", "https://m/pypi"),
        ({"https://pypi.org/simple/": "https://m/pypi/"}, "https://pypi.org/simple/torch/", "https://m/pypi/torch/"),
        ({"https://pypi.org/simple": "https://m/pypi"}, "https://pypi.org/simpler", None),
        ({"http://deb.debian.org/debian": "http://m/d"}, "http://deb.debian.org/debian-security/x", None),
        (
            {"http://deb.debian.org/debian*": "http://m/debian*"},
            "http://deb.debian.org/debian-security/x",
            "http://m/debian-security/x",
        ),
        ({"http://deb.debian.org/*": "http://m/"}, "http://deb.debian.org/x", "http://m/"),
    ],
)
def test_substitute(table: dict[str, str], reference: str, instead: str | None) -> None:
    assert substitute(table, reference) == instead


@given(st.text("abc./:*@", max_size=12), st.dictionaries(st.text("abc./:*@", max_size=8), st.just("x"), max_size=4))
def test_any_text_has_an_answer(reference: str, table: dict[str, str]) -> None:
    assert substitute(table, reference) in {None, "x"} or any(key.count("://") for key in table)
