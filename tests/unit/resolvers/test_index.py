"""Pages of indexes."""

import base64
from pathlib import Path

import pytest

from wardian.errors import Unavailable
from wardian.hosts.machine import Machine
from wardian.resolvers.index import Link, authorization, links

HASH = "0" * 64


def test_html() -> None:
    page = f'<!DOCTYPE html><a HREF="../../files/a%2B1.whl#sha256={HASH}">x</a><a href="https://h/b.whl#md5=1">b</a><a>no</a><p>'
    assert list(links("https://i/simple/a/", lambda _: page.encode())) == [
        Link("a+1.whl", "https://i/files/a%2B1.whl", HASH),
        Link("b.whl", "https://h/b.whl", None),
    ]


def test_json() -> None:
    first = b'{"filename": "a.whl", "url": "../a.whl", "hashes": {"sha256": "0"}}'
    page = b'{"files": [%s, {"filename": "b.whl", "url": "https://h/b"}]}' % first
    assert list(links("https://i/simple/a/", lambda _: page)) == [
        Link("a.whl", "https://i/simple/a.whl", "0"),
        Link("b.whl", "https://h/b", None),
    ]


@pytest.mark.parametrize("page", [b"{", b"{}", b'{"files": [3]}', b'{"files": [{"url": "x"}]}', b"", b"\xff\xfe"])
def test_a_page_that_makes_no_sense_has_no_links(page: bytes) -> None:
    assert list(links("https://i/a/", lambda _: page)) == []


def test_an_index_that_cannot_be_read_has_no_links(tmp_path: Path) -> None:
    def read(_: str) -> bytes:
        raise Unavailable("gone")

    assert list(links("https://i/a/", read)) == []
    assert list(links(f"file://{tmp_path}/none/", read)) == []


def test_a_folder_with_a_page(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<a href="a.whl">a</a>')
    assert list(links(f"file://{tmp_path}/", lambda _: b"")) == [Link("a.whl", f"file://{tmp_path}/a.whl", None)]


def basic(user: str, word: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()}


def test_credentials(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine n.example login n password p\n")
    netrc.chmod(0o600)
    machine = Machine(
        index="https://a:b@i.example/simple",
        credentials=(("https://c.example/simple", "c", "d"),),
        netrc=str(netrc),
    )
    assert authorization(machine, "https://i.example/files/x") == basic("a", "b")
    assert authorization(machine, "https://c.example/x") == basic("c", "d")
    assert authorization(machine, "https://n.example/x") == basic("n", "p")
    assert authorization(machine, "https://x%40y:z@n.example/x") == basic("x@y", "z")
    assert authorization(machine, "https://other.example/x") == {}
    assert authorization(Machine(netrc="/nonexistent"), "https://n.example/x") == {}


def test_a_broken_netrc_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine\n")
    assert authorization(Machine(netrc=str(tmp_path / "netrc")), "https://n.example/x") == {}
