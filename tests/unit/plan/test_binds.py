"""Binds as words of engines; the CSV is read back by a parser that is not ours."""

import csv
import io
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.plan.binds import apptainer_bind, docker_mount
from wardian.plan.containers import Bind

PATHS = st.text(st.characters(exclude_characters="\r\0", codec="utf-8"), min_size=1).map(lambda text: f"/{text}")
STRANGE = ['/a b/c"d', "/a,b", "/a:b", "/new\nline", "/é/日本", "/$HOME/`x`/'", "/a=b,readonly", "/ends in blank "]


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        (Bind("/a", "/b"), "type=bind,source=/a,target=/b"),
        (Bind("/a", "/b", read_only=True), "type=bind,source=/a,target=/b,readonly"),
        (Bind("/a b", "/b:c"), "type=bind,source=/a b,target=/b:c"),
        (Bind("/a,b", '/"b"'), 'type=bind,"source=/a,b","target=/""b"""'),
        (Bind("/a\nb", "/b"), 'type=bind,"source=/a\nb",target=/b'),
    ],
)
def test_docker_words(bind: Bind, expected: str) -> None:
    assert docker_mount(bind) == expected


@given(PATHS, PATHS, st.booleans())
def test_what_docker_reads_is_what_was_meant(source: str, target: str, read_only: bool) -> None:
    word = docker_mount(Bind(source, target, read_only))
    (fields,) = csv.reader(io.StringIO(word, newline=""), strict=True)
    assert fields == ["type=bind", f"source={source}", f"target={target}", *["readonly"] * read_only]


@pytest.mark.parametrize("source", STRANGE)
def test_dockers_own_client_takes_the_word(source: str, need: Callable[..., None]) -> None:
    """It reads the word before it looks for its daemon, which is not there."""
    need("docker")
    word = docker_mount(Bind(source, source))
    words = ["docker", "--host", "unix:///no/such.sock", "create", "--mount", word, "image"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert "daemon" in said
    words[-2] = "type=bind,source"
    assert "invalid" in subprocess.run(words, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize(("path", "what"), [("/a\r\nb", "a carriage return"), ("/a\udcff", "a byte that is not UTF-8")])
def test_what_docker_cannot_be_told_is_refused(path: str, what: str) -> None:
    for bind in (Bind(path, "/b"), Bind("/b", path)):
        with pytest.raises(SpecError, match=what):
            docker_mount(bind)


def test_apptainer_words() -> None:
    assert apptainer_bind(Bind("/a b/\"'$x", "/b")) == "/a b/\"'$x:/b"
    assert apptainer_bind(Bind("/a", "/b", read_only=True)) == "/a:/b:ro"


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/a,b", "a ,"),
        ("/a:b", "a :"),
        ("/a\\b", r"a \\"),
        ("/a^b", r"a \^"),
        ("/a ", "a blank at its end"),
        ("/a\udcff", "a byte that is not UTF-8"),
    ],
)
def test_what_apptainer_cannot_be_told_is_refused(path: str, what: str) -> None:
    for bind in (Bind(path, "/b"), Bind("/b", path)):
        with pytest.raises(SpecError, match=f"it has {what} in it"):
            apptainer_bind(bind)


def test_a_refusal_says_which_mount_and_what_to_do() -> None:
    with pytest.raises(SpecError) as caught:
        apptainer_bind(Bind("/a:b", "/x"))
    assert str(caught.value) == (
        "mount /x: '/a:b' cannot be said to apptainer: it has a : in it (rename it, or mount a symbolic link to it)"
    )
