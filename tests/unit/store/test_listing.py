"""What lies where in an image, asked of a listing that is made once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.images import FOLDER, WHITEOUT, add_image, layer
from wardian.errors import WardianError
from wardian.oci.tar import Entry
from wardian.store.contents import contents
from wardian.store.listing import Listing, Seen, _entries, _joined, interpreter, laid, listing
from wardian.store.store import Store

NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.fixture
def image(tmp_path: Path) -> tuple[Store, str]:
    store = Store(tmp_path / "store")
    lower = layer(
        {
            "etc": FOLDER,
            "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
            "bin": "usr/bin",
            "usr/bin": FOLDER,
            "usr/bin/tool": b"#! /bin/sh -e\n",
            "usr/bin/binary": b"\x7fELF",
            "gone": b"x",
        },
        modes={"usr/bin/tool": 0o755, "usr/bin/binary": 0o4755},
    )
    upper = layer(
        {".wh.gone": WHITEOUT, "etc/group": b"root:x:0:\n", "new line\n": b""}, links={"etc/hard": "etc/group"}
    )
    return store, add_image(store, "demo/train:latest", [lower, upper]).digest


def test_each_entry_is_found_by_its_path(image: tuple[Store, str]) -> None:
    found = listing(*image)
    assert found.at("usr/bin/tool") == Seen("file", 0o755, "/bin/sh")
    assert found.at("usr/bin/binary") == Seen("file", 0o4755)
    assert found.at("bin") == Seen("symlink", 0o644, "usr/bin")
    assert found.at("etc") == Seen("dir", 0o755)
    assert found.at("etc/hard") == Seen("file", 0o644)
    assert found.at("new line\n") == Seen("file", 0o644)
    assert found.at("") == Seen("dir", 0o755)
    assert [found.at(path) for path in ("gone", "etc/pass", "tc/passwd", "usr/bin/", "x")] == [None] * 5


def test_links_are_followed_on_demand(image: tuple[Store, str]) -> None:
    found = listing(*image)
    assert found.resolve("/bin/../bin/tool") == "usr/bin/tool"
    assert found.resolve("no/such") == "no/such"


def test_the_accounts_are_the_images_own(image: tuple[Store, str]) -> None:
    assert listing(*image).accounts == ("root:x:0:0::/root:/bin/sh\n", "root:x:0:\n")


def test_accounts_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of strangers packs gigabytes of nothing into some kilobytes; `run --engine` asks for its passwd."""
    store = Store(tmp_path / "store")
    digest = add_image(store, "demo/huge:latest", [layer({"etc/real": b"x" * 101, "etc/passwd": "real"})]).digest
    monkeypatch.setattr("wardian.store.listing.LARGEST", 100)
    with pytest.raises(WardianError, match="etc/passwd has 101 bytes: too many to read at once"):
        listing(store, digest)
    assert not (store.root / "listings" / digest[7:]).exists()
    monkeypatch.setattr("wardian.store.listing.LARGEST", 101)
    assert listing(store, digest).accounts == ("x" * 101, "")


def test_the_files_as_the_listings_of_the_layers_have_them(image: tuple[Store, str]) -> None:
    by_listing, by_layers = laid(*image), contents(*image)
    assert sorted(by_listing.entries) == sorted(by_layers.entries)
    for path, placed in by_layers.entries.items():
        other = by_listing.entries[path]
        assert (other.layer, other.at, other.entry.kind) == (placed.layer, placed.at, placed.entry.kind)
        assert other.entry.mode == placed.entry.mode
    assert by_listing.resolve("bin/tool") == by_layers.resolve("bin/tool") == "usr/bin/tool"
    assert by_listing.names("usr/bin") == by_layers.names("usr/bin") == ["binary", "tool"]


def test_it_is_made_once_and_layers_are_listed_once(image: tuple[Store, str], monkeypatch: pytest.MonkeyPatch) -> None:
    store, digest = image
    first = listing(store, digest)

    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("wardian.store.listing.walk", never)
    assert listing(store, digest) == first
    (store.root / "listings" / digest[7:]).unlink()
    monkeypatch.setattr("wardian.store.listing.read", lambda *_: b"")
    assert listing(store, digest).text == first.text, "of the layers' listings"


def test_a_listing_of_another_version_is_made_anew(image: tuple[Store, str]) -> None:
    store, digest = image
    first = listing(store, digest)
    (store.root / "listings" / digest[7:]).write_bytes(b"0\nold")
    assert listing(store, digest) == first


def test_a_store_that_is_closed_is_read_all_the_same(image: tuple[Store, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("wardian.store.listing.write_file", closed)
    assert listing(*image).at("etc") == Seen("dir", 0o755)


@given(st.dictionaries(NAMES, st.sampled_from(["", "/bin/sh", "a"]), max_size=8))
def test_any_names_come_back(links: dict[str, str]) -> None:
    entries = [Entry(name, "file", 0o755, link=link) for name, link in links.items()]
    text = _joined((entry.path, entry) for entry in entries)
    assert list(_entries(text)) == entries
    found = Listing(text, ("", ""))
    assert {name: found.at(name) for name in links} == {name: Seen("file", 0o755, link) for name, link in links.items()}


@pytest.mark.parametrize(
    ("start", "program"),
    [(b"#!/bin/sh\n", "/bin/sh"), (b"#! /usr/bin/env python3\n", "/usr/bin/env"), (b"\x7fELF", ""), (b"#!\n", "")],
)
def test_the_interpreter_of_a_script(start: bytes, program: str) -> None:
    assert interpreter(start) == program
