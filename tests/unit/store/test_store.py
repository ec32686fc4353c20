"""The store of one process: what goes in comes out, damage is said, names move."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.images import add_image, layer
from wardian.errors import DigestMismatch, WardianError
from wardian.oci.digest import sha256
from wardian.oci.model import CONFIG, MANIFEST, Descriptor
from wardian.store.store import LayerRecord, Store, Tagged

ABSENT = "sha256:" + "0" * 64
RECORD = LayerRecord(sha256(b"blob"), sha256(b"tar"), 4, 3, "torch", ("torch 2.13.0",))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "a store, 'quoted'\nand längs")


def test_nothing_is_made_before_something_is_written(store: Store) -> None:
    assert (store.references(), store.resolve("x"), store.has(ABSENT), store.layer(ABSENT)) == ([], None, False, None)
    assert not store.root.exists()


def test_what_goes_in_comes_out(store: Store) -> None:
    found = store.put(b"{}", CONFIG)
    assert found == Descriptor(CONFIG, sha256(b"{}"), 2)
    assert store.read(found.digest) == b"{}"
    assert (store.has(found.digest), store.has(found.digest, 2), store.has(found.digest, 3)) == (True, True, False)


def test_a_blob_is_read_only_and_folders_of_files_are_private(store: Store) -> None:
    path = store.path(store.put(b"x", CONFIG).digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(store.unpacked.stat().st_mode) == 0o700
    assert list(store.scratch.iterdir()) == []


def test_the_layout_is_marked(store: Store) -> None:
    store.put(b"x", CONFIG)
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.root / "index.json").read_text())["manifests"] == []


@pytest.mark.parametrize("touched", [b"", b"{", b"[]", b"{}x"])
def test_a_blob_that_was_touched_is_not_read(store: Store, touched: bytes) -> None:
    found = store.put(b"{}", CONFIG)
    store.path(found.digest).chmod(0o644)
    store.path(found.digest).write_bytes(touched)
    with pytest.raises(DigestMismatch, match="was changed") as caught:
        store.read(found.digest)
    assert caught.value.hint
    assert "verify --repair" in caught.value.hint
    store.put(b"{}", CONFIG)
    assert store.read(found.digest) == b"{}"


def test_what_is_absent_or_too_large_is_said(store: Store) -> None:
    with pytest.raises(WardianError, match="is not in the store"):
        store.read(ABSENT)
    digest = store.put(b"12345", CONFIG).digest
    assert store.read(digest, limit=5) == b"12345"
    with pytest.raises(WardianError, match="larger than 4 bytes"):
        store.read(digest, limit=4)
    with pytest.raises(WardianError, match="not a sha256 digest"):
        store.read("sha256:../../etc/passwd")


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_streams_are_stored(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    store, whole = Store(tmp_path_factory.mktemp("store")), b"".join(chunks)
    assert store.ingest(chunks, sha256(whole), len(whole), "x").digest == sha256(whole)
    assert store.read(sha256(whole)) == whole


@pytest.mark.parametrize(
    ("expected", "size", "said"),
    [
        (ABSENT, None, "expected sha256:0000"),
        (None, 2, "longer than the 2 bytes"),
        (None, 4, "ends after 3 of 4 bytes"),
    ],
)
def test_a_stream_that_is_not_what_was_announced_leaves_nothing(
    store: Store, expected: str | None, size: int | None, said: str
) -> None:
    with pytest.raises(DigestMismatch, match=said):
        store.ingest([b"ab", b"c"], expected, size)
    assert list(store.blobs.iterdir()) == list(store.scratch.iterdir()) == []


def test_a_stream_that_breaks_off_leaves_nothing(store: Store) -> None:
    def broken() -> "object":
        yield b"some"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.ingest(broken())  # type: ignore[arg-type]
    assert list(store.blobs.iterdir()) == list(store.scratch.iterdir()) == []


def test_a_writer_that_is_not_committed_leaves_nothing(store: Store) -> None:
    with store.writer() as out:
        out.write(b"abc")
        assert out.size == 3
    assert list(store.blobs.iterdir()) == list(store.scratch.iterdir()) == []
    with store.writer() as out:
        out.write(b"abc")
        assert out.commit() == sha256(b"abc")
    assert store.read(sha256(b"abc")) == b"abc"


def test_what_grows_and_is_not_adopted_leaves_nothing(store: Store) -> None:
    with store.growing() as path:
        path.write_bytes(b"ab")
    assert list(store.blobs.iterdir()) == list(store.scratch.iterdir()) == []
    with store.growing() as path:
        path.write_bytes(b"abc")
        store.adopt(path, sha256(b"abc"))
    assert store.read(sha256(b"abc")) == b"abc"
    assert list(store.scratch.iterdir()) == []


def test_a_layer_is_remembered_by_its_key(store: Store) -> None:
    key = sha256(b"key")
    store.remember(key, RECORD)
    assert store.layer(key) is None  # its blob is not here
    store.put(b"blob", "x")
    assert store.layer(key) == RECORD
    assert store.layer(key[7:]) == RECORD
    assert RECORD.descriptor.digest == sha256(b"blob")
    store.path(RECORD.digest).unlink()
    assert store.layer(key) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"digest":"x"}', b"null"])
def test_a_damaged_record_is_no_record(store: Store, content: bytes) -> None:
    store.put(b"blob", "x")
    key = sha256(b"key")
    store.remember(key, RECORD)
    (store.records / f"{key[7:]}.json").write_bytes(content)
    assert store.layer(key) is None


def test_a_key_must_be_a_digest(store: Store) -> None:
    with pytest.raises(WardianError, match="not a sha256 digest"):
        store.remember("../../evil", RECORD)


def test_names_are_given_moved_and_taken(store: Store) -> None:
    one = add_image(store, "empo/train:latest", [layer({"a": b"1"})])
    two = add_image(store, "empo/train:v2", [layer({"a": b"2"})])
    assert [entry.reference for entry in store.references()] == ["empo/train:latest", "empo/train:v2"]
    store.tag("empo/train:latest", two, {"dev.wardian.built": "true"})
    found = store.resolve("empo/train:latest")
    assert found
    assert found.digest == two.digest
    assert found.annotations["dev.wardian.built"] == "true"
    assert store.untag("empo/train:v2")
    assert not store.untag("empo/train:v2")
    assert [entry.reference for entry in store.references()] == ["empo/train:latest"]
    assert store.resolve(one.digest) == one  # its blobs stay


def test_a_name_is_found_however_it_is_written(store: Store) -> None:
    image = add_image(store, "docker.io/library/debian:12", [layer({})])
    for name in (
        "debian:12",
        "library/debian:12",
        "docker.io/library/debian:12",
        f"debian@{image.digest}",
        image.digest,
    ):
        found = store.resolve(name)
        assert found, name
        assert found.digest == image.digest
    assert store.resolve("debian") is None
    assert store.resolve(f"debian@{ABSENT}") is None
    add_image(store, "not a reference!", [layer({"x": b""})])
    assert store.resolve("not a reference!")


def test_attached_manifests_follow_their_subject(store: Store) -> None:
    image = add_image(store, "a/b:c", [layer({})])
    sbom = store.put(b'{"about":"it"}', "application/spdx+json")
    store.attach(image.digest, sbom)
    store.attach(image.digest, sbom)
    assert [entry.digest for entry in store.referrers(image.digest)] == [sbom.digest]
    assert store.referrers(ABSENT) == []
    assert [entry.reference for entry in store.references()] == ["a/b:c"]


def test_an_image_is_read_by_its_manifest(store: Store) -> None:
    tar = layer({"a": b"1"})
    image = add_image(store, "a/b:c", [tar], config={"Env": ["A=1"]})
    manifest = store.manifest(image.digest)
    assert len(manifest.layers) == 1
    assert store.config(image.digest)["config"] == {"Env": ["A=1"]} == store.config(manifest.config.digest)["config"]
    assert store.diff_ids(image.digest) == (sha256(tar),)
    with pytest.raises(WardianError, match="a manifest has no list of layers"):
        store.manifest(manifest.config.digest)


def test_a_damaged_index_is_said_and_not_overwritten(store: Store) -> None:
    image = add_image(store, "a/b:c", [layer({})])
    (store.root / "index.json").write_text("{")
    for change in (store.references, lambda: store.tag("x/y:z", image), lambda: store.untag("a/b:c")):
        with pytest.raises(WardianError, match=r"index\.json is damaged") as caught:
            change()
        assert "verify --repair" in str(caught.value.hint)
    assert (store.root / "index.json").read_text() == "{"


def test_downloads_have_safe_places(store: Store) -> None:
    path = store.download_path("a" * 64, "torch-2.0-py3-none-any.whl")
    assert path.parent.is_dir()
    assert path == store.downloads / ("a" * 64) / "torch-2.0-py3-none-any.whl"
    for name in ("", ".", "..", "a/b", "/etc/passwd", "a\0b"):
        with pytest.raises(WardianError, match="not a file name"):
            store.download_path("a" * 64, name)
    with pytest.raises(WardianError, match="not a sha256 digest"):
        store.download_path("../x", "y")


def test_temporary_folders_are_new(store: Store) -> None:
    one, two = store.temporary(), store.temporary()
    assert one != two
    assert one.parent == store.scratch
    assert list(one.iterdir()) == []


def test_a_store_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WardianError, match="needs a folder where there is a file") as caught:
        Store(tmp_path / "file").put(b"", "x")
    assert "\n" not in caught.value.message
    if os.getuid():
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o555)
        with pytest.raises(WardianError, match="permission denied"):
            Store(closed / "store").put(b"", "x")


def test_a_process_that_writes_keeps_others_from_removing(store: Store) -> None:
    writing, removing = Store(store.root), Store(store.root)
    writing.put(b"x", "x")
    with pytest.raises(WardianError, match="another wardian is building") as caught, removing.exclusive():
        pass
    assert caught.value.hint
    del writing
    with removing.exclusive():
        pass
    store.put(b"y", "y")
    with store.exclusive():  # its own lease does not count
        pass


def test_tagged_shows_its_notes() -> None:
    assert Tagged("a", Descriptor(MANIFEST, ABSENT, 1, {"x": "y"})).annotations == {"x": "y"}
