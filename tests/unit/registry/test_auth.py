"""WWW-Authenticate as servers write it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.registry.auth import Access, Challenge, challenges


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (['Basic realm="registry"'], [("basic", {"realm": "registry"})]),
        (["basic realm=plain"], [("basic", {"realm": "plain"})]),
        (
            [
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'
            ],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (['BEARER Realm = "r" , Service = s'], [("bearer", {"realm": "r", "service": "s"})]),
        (['Bearer realm="a", Basic realm="b"'], [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        (['Negotiate, Basic realm="b"'], [("negotiate", {}), ("basic", {"realm": "b"})]),
        (["Negotiate"], [("negotiate", {})]),
        (['Bearer realm="a"', 'Basic realm="b"'], [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        ([r'Basic realm="a \"quoted\" one"'], [("basic", {"realm": 'a "quoted" one'})]),
        (['Bearer realm="",error="invalid_token"'], [("bearer", {"realm": "", "error": "invalid_token"})]),
        ([""], []),
        ([], []),
        (['realm="without a scheme"'], []),
    ],
)
def test_challenges_are_read(headers: list[str], found: list[tuple[str, dict[str, str]]]) -> None:
    assert challenges(headers) == [Challenge(*one) for one in found]


@given(st.text(max_size=200))
def test_no_header_breaks_it(header: str) -> None:
    for found in challenges([header]):
        assert found.scheme == found.scheme.lower()


@pytest.mark.parametrize("header", ["a-" * 50_000 + "=", "a " * 50_000, 'a="' + "\\a" * 50_000, "a" * 100_000])
def test_no_header_takes_long(header: str) -> None:
    start = time.process_time()
    challenges([header])
    assert time.process_time() - start < 5


token = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)


@given(st.lists(st.tuples(token, st.dictionaries(token, st.text(max_size=20), min_size=1)), min_size=1, max_size=3))
def test_what_is_written_is_read(wanted: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ",".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in wanted
    )
    assert challenges([header]) == [Challenge(*one) for one in wanted]


@pytest.mark.parametrize(
    ("access", "challenged", "asked"),
    [
        (Access("r", "a/b"), "", ("repository:a/b:pull",)),
        (Access("r", "a/b", "pull,push"), "", ("repository:a/b:pull,push",)),
        (Access("r", "a/b", "pull,push"), "repository:a/b:pull", ("repository:a/b:pull,push",)),
        (Access("r", "a/b", "pull,push"), "repository:prefix/a/b:pull", ("repository:prefix/a/b:pull",)),
        (Access("r", "a"), "registry:catalog:*", ("registry:catalog:*",)),
        (Access("r", ""), "", ()),
        (
            Access("r", "a", "pull,push", ("base",)),
            "repository:base:pull repository:a:push,pull",
            ("repository:base:pull", "repository:a:pull,push"),
        ),
        (Access("r", "a", "pull,push", ("base",)), "", ("repository:a:pull,push", "repository:base:pull")),
    ],
)
def test_what_a_token_is_asked_for(access: Access, challenged: str, asked: tuple[str, ...]) -> None:
    assert access.scopes(challenged) == asked
