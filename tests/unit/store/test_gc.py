"""Verify, prune, df: what is wrong is found, what is needed stays."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images import add_image, layer
from wardian.errors import WardianError
from wardian.hosts.local import LocalHost
from wardian.oci.digest import sha256
from wardian.oci.model import EMPTY, INDEX, MANIFEST, SPDX, Descriptor, Index, Manifest
from wardian.store.files import temporary_name
from wardian.store.gc import DAY, Litter, litter, prune
from wardian.store.listing import listing
from wardian.store.reach import reach
from wardian.store.sites import sites
from wardian.store.store import LayerRecord, Store
from wardian.store.usage import usage
from wardian.store.verify import Fault, repair, verify

HOST = LocalHost()
SHARED, OWN, OTHER = layer({"shared": b"x" * 5000}), layer({"own": b"y" * 300}), layer({"other": b"z" * 400})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    add_image(store, "empo/train:latest", [SHARED, OWN])
    add_image(store, "empo/dev:latest", [SHARED, OTHER])
    return store


def faults(store: Store) -> list[Fault]:
    return verify(store, HOST, None, note=lambda _: None)


def garbage(store: Store, **settings: float) -> list[Litter]:
    return litter(store, None, **settings)


def prune_all(store: Store, **settings: float) -> list[Litter]:
    return prune(store, HOST, None, said=lambda _: None, **settings)


def spoil(store: Store, digest: str, content: bytes = b"spoilt") -> None:
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(content)


def with_sbom(store: Store, subject: Descriptor) -> Descriptor:
    sbom, config = store.put(b'{"sbom":1}', SPDX), store.put(b"{}", EMPTY)
    attached = store.put(Manifest(config, (sbom,), subject=subject, artifact_type=SPDX).to_bytes(), MANIFEST)
    store.attach(subject.digest, attached)
    return sbom


def test_a_whole_store_has_no_faults_and_no_litter(store: Store) -> None:
    assert faults(store) == []
    assert garbage(store) == []
    assert prune_all(store) == []


def test_a_store_that_is_not_there_is_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert faults(store) == []
    assert not store.root.exists()


def test_every_blob_that_was_touched_is_found_and_healed(store: Store) -> None:
    image = store.resolve("empo/train:latest")
    assert image
    manifest = store.manifest(image.digest)
    for digest in (image.digest, manifest.config.digest, manifest.layers[1].digest):
        for content in (b"", b"spoilt", store.path(digest).read_bytes() + b"\0"):
            before = store.path(digest).read_bytes()
            spoil(store, digest, content)
            found = faults(store)
            places = {fault.place for fault in found}
            assert str(store.path(digest)) in places
            assert "empo/train:latest" in places
            assert "empo/dev:latest" not in places
            repair(store, found)
            assert faults(store) == []
            assert [entry.reference for entry in store.references()] == ["empo/dev:latest"]
            store.ingest([before], digest)
            store.tag("empo/train:latest", image)
            assert faults(store) == []


def test_a_shared_layer_that_was_touched_takes_all_its_images(store: Store) -> None:
    image = store.resolve("empo/train:latest")
    assert image
    spoil(store, store.manifest(image.digest).layers[0].digest)
    found = faults(store)
    assert {"empo/train:latest", "empo/dev:latest"} <= {fault.place for fault in found}
    repair(store, found)
    assert store.references() == []
    assert faults(store) == []


def test_a_missing_blob_is_found(store: Store) -> None:
    image = store.resolve("empo/dev:latest")
    assert image
    store.path(store.manifest(image.digest).layers[1].digest).unlink()
    [fault] = faults(store)
    assert fault.place == "empo/dev:latest"
    assert "1 of its 3 blobs" in fault.what


def test_a_damaged_index_is_replaced_by_an_empty_one(store: Store) -> None:
    (store.root / "index.json").write_text("rubbish")
    [fault] = faults(store)
    assert "damaged" in fault.what
    repair(store, [fault])
    assert faults(store) == []
    assert store.references() == []


def test_records_and_downloads_are_looked_at(store: Store) -> None:
    key = sha256(b"key")
    store.remember(key, LayerRecord(sha256(b"gone"), sha256(b"tar"), 4, 3, "gone"))
    (store.records / f"{'a' * 64}.json").write_text("[]")
    good = store.download_path(sha256(b"good")[7:], "good.whl")
    bad = store.download_path(sha256(b"honest")[7:], "bad.whl")
    good.write_bytes(b"good")
    bad.write_bytes(b"lying")
    found = faults(store)
    assert {Path(fault.place).name for fault in found} == {f"{key[7:]}.json", f"{'a' * 64}.json", "bad.whl"}
    repair(store, found)
    assert faults(store) == []
    assert good.exists()


@pytest.mark.parametrize("brought", [[["thing==1.0", "?"]], [["thing==1.0", 7]], [7], [["thing"]]])
def test_a_record_whose_footprints_were_touched_is_none(store: Store, brought: object) -> None:
    image = store.resolve("empo/train:latest")
    assert image
    blob = store.manifest(image.digest).layers[0]
    store.remember(sha256(b"key"), LayerRecord(blob.digest, sha256(SHARED), blob.size, 1, "x"))
    assert store.layer(sha256(b"key"))
    path = store.records / f"{sha256(b'key')[7:]}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "brought": brought}))
    assert store.layer(sha256(b"key")) is None
    assert [fault.place for fault in faults(store)] == [str(path)]


def test_foreign_files_among_the_blobs_are_told_and_left(store: Store) -> None:
    (store.blobs / "README").write_text("hello")
    (store.blobs / "folder").mkdir()
    found = faults(store)
    assert {Path(fault.place).name for fault in found} == {"README", "folder"}
    repair(store, found)
    assert (store.blobs / "README").exists()


def test_what_no_reference_needs_goes(store: Store) -> None:
    image = store.resolve("empo/train:latest")
    assert image
    own = store.manifest(image.digest).layers[1]
    store.remember(sha256(b"own"), LayerRecord(own.digest, sha256(OWN), own.size, 1, "own"))
    store.untag("empo/train:latest")
    found = garbage(store)
    assert {item.path for item in found if item.kind == "blob"} == {
        store.path(digest) for digest in (image.digest, store_config(store, image.digest), own.digest)
    }
    assert [item.kind for item in found].count("record") == 1
    assert store.has(own.digest)  # listed only
    assert {item.path for item in prune_all(store)} == {item.path for item in found}
    assert not store.has(own.digest)
    assert faults(store) == []
    assert garbage(store) == []


def store_config(store: Store, digest: str) -> str:
    return store.manifest(digest).config.digest


def test_an_sbom_lives_as_long_as_its_image(store: Store) -> None:
    image = store.resolve("empo/train:latest")
    assert image
    sbom = with_sbom(store, image)
    assert garbage(store) == []
    assert faults(store) == []
    store.untag("empo/train:latest")
    prune_all(store)
    assert not store.has(sbom.digest)
    assert store.referrers(image.digest) == []
    assert faults(store) == []


def test_an_index_keeps_the_platforms_that_are_here(store: Store) -> None:
    image = store.resolve("empo/dev:latest")
    assert image
    absent = Descriptor(MANIFEST, sha256(b"arm"), 5, platform={"os": "linux", "architecture": "arm64"})
    index = store.put(Index((image, absent)).to_bytes(), INDEX)
    store.tag("multi/arch:1", index)
    store.untag("empo/dev:latest")
    assert faults(store) == []
    assert garbage(store) == []


def test_a_broken_reference_stops_prune(store: Store) -> None:
    image = store.resolve("empo/dev:latest")
    assert image
    store.path(store_config(store, image.digest)).unlink()
    with pytest.raises(WardianError, match="empo/dev:latest is broken") as caught:
        prune_all(store)
    assert "verify --repair" in str(caught.value.hint)


def test_old_downloads_go_and_recent_ones_stay(store: Store) -> None:
    for name, age in (("old", 40 * DAY), ("new", DAY)):
        path = store.download_path(sha256(name.encode())[7:], f"{name}.whl")
        path.write_bytes(name.encode())
        os.utime(path, (time.time() - age, time.time() - age))
    assert [item.path.name for item in garbage(store)] == ["old.whl"]
    assert {item.path.name for item in garbage(store, downloads=0)} == {"old.whl", "new.whl"}
    prune_all(store)
    assert [path.name for path in store.downloads.glob("*/*")] == ["new.whl"]
    assert len(list(store.downloads.iterdir())) == 1


def test_leavings_of_dead_processes_go(store: Store) -> None:
    alive = store.temporary()
    host, _, rest = temporary_name().partition(f".{os.getpid()}.")
    dead = store.scratch / f"{host}.{2**22 + 1}.{rest}"
    (dead / "deep").mkdir(parents=True)
    (dead / "deep" / "file").write_text("x")
    (dead / "deep").chmod(0o500)
    foreign = store.scratch / "something.partial"
    foreign.write_text("x")
    assert [item.path for item in garbage(store)] == [dead]
    prune_all(store)
    assert alive.exists()
    assert foreign.exists()
    assert not dead.exists()


def test_what_a_living_process_has_under_work_never_goes(store: Store) -> None:
    """A training run may take months."""
    ours = store.temporary()
    long_ago = time.time() - 400 * DAY
    os.utime(ours, (long_ago, long_ago))
    assert garbage(store) == []


def test_what_another_machine_left_goes_when_no_run_lasts_that_long(store: Store) -> None:
    for name, age in (("far.1.aa", 20), ("far.2.bb", 70), ("old.partial", 8), ("new.partial", 6)):
        (store.scratch / name).touch()
        os.utime(store.scratch / name, (time.time() - age * DAY, time.time() - age * DAY))
    assert {item.path.name for item in garbage(store)} == {"far.2.bb", "old.partial"}


def test_nobody_prunes_under_a_process_that_wrote_or_found_what_has_no_name_yet(store: Store) -> None:
    blob = store.put(b"layer", "x")
    works: dict[str, Callable[[Store], object]] = {
        "wrote a blob": lambda other: other.put(b"x", "x"),
        "found a layer": lambda other: other.layer(sha256(b"key")),
        "downloads": lambda other: other.download_path("a" * 64, "a.whl"),
        "pulls": lambda other: other.claim(),
    }
    store.remember(sha256(b"key"), LayerRecord(blob.digest, blob.digest, blob.size, 1, "x"))
    for name, work in works.items():
        other = Store(store.root)
        work(other)
        with pytest.raises(WardianError, match="another wardian is building or pulling"):
            prune_all(store)
        assert store.has(blob.digest), name
        del other
    prune_all(store)
    assert not store.has(blob.digest)


def test_what_was_healed_meanwhile_is_not_removed_by_repair(store: Store) -> None:
    image = store.resolve("empo/train:latest")
    assert image
    layer_digest = shared_digest(store)
    content = store.read(layer_digest)
    spoil(store, layer_digest)
    found = faults(store)
    store.ingest([content], layer_digest)
    assert repair(store, found) == []
    assert faults(store) == []
    assert [entry.reference for entry in store.references()] == ["empo/dev:latest", "empo/train:latest"]


def test_usage_counts_shared_blobs_once(store: Store) -> None:
    found = usage(store)
    assert found.blobs == sum(path.stat().st_size for path in store.blobs.iterdir())
    by_name = {image.reference: image for image in found.images}
    shared = next(size for size in reach(store).blobs.items() if size[0] == shared_digest(store))[1]
    assert {image.shared for image in by_name.values()} == {shared}
    assert all(image.size == image.shared + image.unique for image in by_name.values())
    assert sum(image.unique for image in by_name.values()) + shared == found.blobs
    assert json.loads(json.dumps(found.to_json()))["total"] == found.total


def test_usage_is_measured_beside_others_who_tag(store: Store) -> None:
    class Busy(Store):
        def index(self) -> Index:
            found = super().index()
            for entry in found.manifests:
                Store(self.root).untag(entry.annotations["org.opencontainers.image.ref.name"])
            return found

    assert [image.reference for image in usage(Busy(store.root)).images] == ["empo/dev:latest", "empo/train:latest"]


def shared_digest(store: Store) -> str:
    image = store.resolve("empo/train:latest")
    assert image
    return store.manifest(image.digest).layers[0].digest


def test_twenty_images_that_share_a_layer_cost_it_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "twenty")
    big = layer({"torch": os.urandom(1_000_000)})
    for at in range(20):
        add_image(store, f"empo/train:v{at}", [big, layer({"small": b"%d" % at})])
    assert usage(store).blobs < 1_100_000


def test_what_is_known_of_packages_goes_with_the_image(store: Store) -> None:
    image = store.resolve("empo/train:latest")
    assert image
    sites(store, image.digest)
    assert [one for one in garbage(store) if one.kind == "listing"] == []
    store.untag("empo/train:latest")
    doomed = {one.path.name for one in garbage(store) if one.kind == "listing"}
    assert f"{image.digest[7:]}.sites" in doomed
    prune_all(store)
    assert not (store.root / "listings" / f"{image.digest[7:]}.sites").exists()


def test_the_listing_of_an_image_goes_with_it(store: Store) -> None:
    train, dev = store.resolve("empo/train:latest"), store.resolve("empo/dev:latest")
    assert train
    assert dev
    for image in (train, dev):
        listing(store, image.digest)
    assert [one for one in garbage(store) if one.kind == "listing"] == []
    assert store.untag("empo/dev:latest")
    doomed = {one.path.name for one in garbage(store) if one.kind == "listing"}
    assert doomed == {dev.digest[7:], store.manifest(dev.digest).layers[1].digest[7:]}
    prune_all(store)
    assert {path.name for path in (store.root / "listings").iterdir()} == {
        train.digest[7:],
        *(layer.digest[7:] for layer in store.manifest(train.digest).layers),
    }
