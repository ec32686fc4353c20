"""Layers laid over each other: whiteouts, links, folders that become files; what cannot be read is named."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.images import add_image, layer
from wardian.errors import WardianError
from wardian.oci.digest import sha256
from wardian.oci.model import LAYER_GZIP, Descriptor
from wardian.oci.tar import Entry
from wardian.store.contents import Contents, contents, digests, read, walk
from wardian.store.store import Store

DAMAGED = r"damaged|cut off|not a tar|checksum"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def laid(*layers: list[Entry]) -> Contents:
    whole = Contents()
    for at, one in enumerate(layers):
        whole.lay(one, at)
    return whole


def file(path: str) -> Entry:
    return Entry(path)


def test_upper_layers_win_and_parents_are_implied() -> None:
    whole = laid([file("a/b/c")], [file("a/b/c"), file("x")])
    assert sorted(whole.entries) == ["a", "a/b", "a/b/c", "x"]
    assert whole.entries["a/b/c"].layer == 1
    assert whole.entries["a/b"].entry.kind == "dir"


def test_whiteouts_hide_what_lies_beneath_only() -> None:
    beneath = [file("etc/a"), file("etc/b"), file("opt/x/y"), file("opt/x/z")]
    above = [file("etc/.wh.a"), file("etc/new"), file("opt/x/.wh..wh..opq"), file("opt/x/own")]
    whole = laid(beneath, above)
    assert sorted(whole.entries) == ["etc", "etc/b", "etc/new", "opt", "opt/x", "opt/x/own"]
    again = laid(beneath, [*above, file("etc/a")])  # a file both removed and made anew by one layer
    assert again.entries["etc/a"].layer == 1


def test_a_whiteout_of_a_folder_takes_all_in_it() -> None:
    assert sorted(laid([file("a/b/c"), file("a/d")], [file("a/.wh.b"), file(".wh.nothing")]).entries) == ["a", "a/d"]


def test_a_file_replaces_a_folder_and_a_folder_a_file() -> None:
    whole = laid([file("a/b"), file("x")], [file("a"), file("x/y")])
    assert sorted(whole.entries) == ["a", "x", "x/y"]
    assert whole.entries["a"].entry.kind == "file"
    assert whole.entries["x"].entry.kind == "dir"
    assert whole.names("") == ["a", "x"]


def test_folders_may_be_as_deep_as_a_path_is_long() -> None:
    deep = "a/" * 2000 + "x"
    assert len(laid([file(deep)]).entries) == 2001
    assert laid([file(deep)], [file(".wh.a")]).entries == {}
    assert sorted(laid([file(deep)], [file("a")]).entries) == ["a"]


def test_a_folder_over_a_link_hides_it() -> None:
    whole = laid([Entry("lib", "symlink", link="usr/lib"), file("usr/lib/a")], [file("lib/b")])
    assert whole.entries["lib"].entry.kind == "dir"
    assert whole.resolve("lib/a") is None


def test_a_layer_goes_through_its_own_links_only() -> None:
    """As when it is unpacked by itself, which is how the sandbox sees it."""
    link = Entry("lib", "symlink", link="usr/lib")
    assert "usr/lib/b" in laid([link, file("usr/lib/a"), file("lib/b")]).entries
    assert "usr/lib/b" in laid([link, file("lib/b")]).entries
    other = laid([link, file("usr/lib/a")], [file("lib/b"), Entry("c", "hardlink", link="lib/b")])
    assert other.entries["lib"].entry.kind == "dir"
    assert other.entries["c"].entry.path == "lib/b"
    assert "x" in laid([Entry("up", "symlink", link="../.."), file("up/x")]).entries
    laid([Entry("loop", "symlink", link="loop"), file("loop/x")])


def test_links_are_followed_inside_the_image() -> None:
    whole = laid(
        [
            file("usr/lib/os-release"),
            Entry("etc/os-release", "symlink", link="../usr/lib/os-release"),
            Entry("lib", "symlink", link="usr/lib"),
            Entry("abs", "symlink", link="/usr/lib/os-release"),
            Entry("out", "symlink", link="../../../usr/lib"),
            Entry("loop", "symlink", link="loop"),
            Entry("gone", "symlink", link="nowhere"),
        ]
    )
    for path in (
        "etc/os-release",
        "/etc/os-release",
        "lib/os-release",
        "abs",
        "out/os-release",
        "./lib/../lib/os-release",
    ):
        assert whole.resolve(path) == "usr/lib/os-release", path
    for path in ("loop", "gone", "usr/lib/nothing", "loop/x"):
        assert whole.resolve(path) is None, path
    assert whole.names("lib") == ["os-release"]
    assert whole.names("gone") == []


def test_hard_links_are_the_file_they_name_even_when_its_name_goes() -> None:
    whole = laid([file("a"), Entry("b", "hardlink", link="a")], [file("a"), file("c")])
    assert whole.entries["b"].layer == 0
    assert whole.entries["b"].entry.path == "a"
    assert whole.entries["a"].layer == 1
    with pytest.raises(WardianError, match="hard link to nothing: 'b' → 'nope'"):
        laid([Entry("b", "hardlink", link="nope")])


def test_an_image_is_read(store: Store) -> None:
    lower = layer({"etc/": None, "etc/name": b"one\n", "etc/link": "name"}, links={"etc/hard": "etc/name"})
    upper = layer({"etc/name": b"two\n", "opt/": None}, modes={"opt/": 0o700})
    digest = add_image(store, "a/b:1", [lower, upper]).digest
    whole = contents(store, digest)
    assert read(store, digest, whole, "/etc/link") == b"two\n"
    assert read(store, digest, whole, "etc/hard") == b"one\n"
    assert read(store, digest, whole, "etc") is None
    assert read(store, digest, whole, "nothing") is None
    assert whole.entries["opt"].entry.mode == 0o700
    with pytest.raises(WardianError, match="too many to read"):
        read(store, digest, whole, "etc/name", limit=2)


def listed(store: Store, blob: Descriptor) -> list[Entry]:
    return [entry for entry, _ in walk(store, blob)]


def test_files_are_hashed_when_asked(store: Store) -> None:
    digest = add_image(store, "a/b:1", [layer({"empty": b"", "x": b"abc", "y": b"no"})]).digest
    assert digests(store, store.manifest(digest).layers[0], {0, 1}) == {0: sha256(b""), 1: sha256(b"abc")}


def stored(store: Store, content: bytes) -> Descriptor:
    return store.put(content, LAYER_GZIP)


def test_a_plain_tar_is_read_whatever_its_media_type(store: Store) -> None:
    assert [entry.path for entry in listed(store, stored(store, layer({"a": b"1"})))] == ["a"]


@pytest.mark.parametrize("cut", [5, 30, -12, -4])
def test_a_cut_layer_is_named(store: Store, cut: int) -> None:
    whole = gzip.compress(layer({"a": bytes(range(256)) * 100}), mtime=0)
    blob = stored(store, whole[:cut])
    with pytest.raises(WardianError, match=DAMAGED):
        listed(store, blob)


def test_other_damage_is_named(store: Store) -> None:
    whole = bytearray(gzip.compress(layer({"a": b"1" * 1000}), mtime=0))
    whole[20] ^= 0xFF
    with pytest.raises(WardianError, match=DAMAGED):
        listed(store, stored(store, bytes(whole)))
    with pytest.raises(WardianError, match=DAMAGED):
        listed(store, stored(store, gzip.compress(b"no tar at all" * 100)))
    with pytest.raises(WardianError, match=DAMAGED):
        listed(store, stored(store, b"\x28\xb5\x2f\xfd...."))
    with pytest.raises(WardianError, match="is not in the store"):
        listed(store, Descriptor(LAYER_GZIP, f"sha256:{1:064x}", 1))


@given(st.dictionaries(st.from_regex(r"[a-c](/[a-c]){0,3}", fullmatch=True), st.binary(max_size=10), max_size=12))
def test_contents_agree_with_a_tree_that_tar_made(files: dict[str, bytes]) -> None:
    """Files in the order in which a tar holds them: what stands in the way of a later one goes."""
    expected: dict[str, int] = {}
    given_files = list(files)
    for at, path in enumerate(given_files):
        parents = {"/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)}
        expected = {
            other: where
            for other, where in expected.items()
            if other not in parents and not other.startswith(f"{path}/") and other != path
        }
        expected[path] = at
    whole = laid([file(path) for path in given_files])
    found = {path: placed.at for path, placed in whole.entries.items() if placed.entry.kind == "file"}
    assert found == expected


def test_tarfile_s_other_kinds(store: Store) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in (("null", tarfile.CHRTYPE), ("disk", tarfile.BLKTYPE), ("pipe", tarfile.FIFOTYPE)):
            found = tarfile.TarInfo(name)
            found.type, found.devmajor, found.devminor = kind, 1, 3
            tar.addfile(found)
        capable = tarfile.TarInfo("ping")
        capable.pax_headers = {"SCHILY.xattr.security.capability": "\x01\udcff"}
        tar.addfile(capable)
    read_back = {entry.path: entry for entry in listed(store, stored(store, out.getvalue()))}
    assert read_back["null"].device == (1, 3)
    assert read_back["disk"].device == (1, 3)
    assert read_back["pipe"].kind == "fifo"
    assert read_back["ping"].xattrs == (("security.capability", b"\x01\xff"),)
