"""Which image is meant; what an SBOM and an image's own files say is installed."""

from pathlib import Path

import pytest

from tests.images import add_image, layer
from wardian.errors import WardianError
from wardian.oci.model import INDEX, Index
from wardian.store.find import find
from wardian.store.seen import from_files, pins, records
from wardian.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for name in ("demo/train:py310", "demo/train:latest", "other/train:1", "demo/trainer:1", "host:5000/a/b/dev:2"):
        add_image(store, name, [layer({"name": name.encode()})])
    return store


@pytest.mark.parametrize(
    ("name", "repository", "reference"),
    [
        ("demo/train:py310", None, "demo/train:py310"),
        ("docker.io/demo/train:py310", None, "demo/train:py310"),
        ("train", "demo", "demo/train:latest"),
        ("train:py310", "demo", "demo/train:py310"),
        ("train:py310", None, "demo/train:py310"),
        ("train", "other", "other/train:1"),
        ("trainer", None, "demo/trainer:1"),
        ("dev", None, "host:5000/a/b/dev:2"),
        ("dev:2", "demo", "host:5000/a/b/dev:2"),
        ("host:5000/a/b/dev:2", None, "host:5000/a/b/dev:2"),
    ],
)
def test_an_image_is_found(store: Store, name: str, repository: str | None, reference: str) -> None:
    assert find(store, name, repository).reference == reference


@pytest.mark.parametrize(
    "name", ["", ":", "tra", "dev:3", "demo/train:py311", "0" * 64, f"sha256:{'0' * 64}", "not a name!"]
)
def test_what_is_not_there_is_not_guessed(store: Store, name: str) -> None:
    with pytest.raises(WardianError, match="there is no image"):
        find(store, name)


def test_a_beginning_of_a_digest_must_be_clear(store: Store) -> None:
    digest = find(store, "dev").descriptor.digest
    assert find(store, digest[:13]).descriptor.digest == digest
    with pytest.raises(WardianError, match="there is no image"):
        find(store, digest[7:12])


def test_an_image_without_a_name_is_found_by_its_digest(store: Store) -> None:
    digest = find(store, "dev").descriptor.digest
    store.untag("host:5000/a/b/dev:2")
    assert find(store, digest).reference == digest


def test_an_index_is_not_one_image(store: Store) -> None:
    store.tag("demo/both:1", store.put(Index((find(store, "dev").descriptor,)).to_bytes(), INDEX))
    with pytest.raises(WardianError, match="index of several platforms"):
        find(store, "demo/both:1")


def test_an_sbom_is_read_by_its_package_addresses() -> None:
    def package(*places: str) -> dict[str, object]:
        return {"externalRefs": [{"referenceLocator": place} for place in places]}

    found = pins(
        {
            "packages": [
                package("cpe:2.3:a:x", "pkg:pypi/Foo-Bar@1.0%2Bcpu"),
                package("pkg:deb/debian/g%2B%2B@4%3A12.2?arch=amd64"),
                package("pkg:npm/left-pad@1"),
                {},
            ]
        }
    )
    assert found == ("Foo-Bar==1.0+cpu", "g++=4:12.2")
    assert pins({}) == ()


def test_an_image_s_own_files_tell_what_is_installed(store: Store) -> None:
    status = b"Package: git\nStatus: install ok installed\nVersion: 1:2\n\nPackage: gone\nStatus: deinstall ok\n"
    files = {
        "var/lib/dpkg/status": status,
        "opt/env/lib/x/numpy-2.0.dist-info/METADATA": b"",
        "x-1.egg-info/PKG-INFO": b"",
    }
    image = add_image(store, "x/y:1", [layer(files)])
    assert from_files(store, image.digest) == ("git=1:2", "numpy==2.0")


def test_a_damaged_record_is_passed_over(store: Store) -> None:
    (store.records / "x.json").write_text("{")
    (store.records / "y.json").write_text("[]")
    assert records(store) == {}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "did you mean train?"),  # declared, and not demo/trainer:1
        ("eval", "type: wardian build eval"),
        ("eval:1", "type: wardian build eval"),
        ("train:old", "there is demo/train:latest, demo/train:py310"),
        ("host:5000/a/dev:2", "did you mean host:5000/a/b/dev:2?"),
        ("sha256:1234567", "type: wardian images"),
    ],
)
def test_a_name_that_nothing_has_gets_what_to_type(store: Store, name: str, hint: str) -> None:
    with pytest.raises(WardianError) as caught:
        find(store, name, "demo", ("train", "eval"))
    assert caught.value.hint == hint
