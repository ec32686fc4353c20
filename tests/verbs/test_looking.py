"""images, tree, diff: what they say of a store, to people and to programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from wardian.oci.model import MANIFEST, SPDX, Descriptor, Manifest
from wardian.store.store import LayerRecord, Store

Wardian = Callable[..., Any]
BASE = layer({"etc/": None, "etc/name": b"base\n", "usr/bin/tool": b"#!/bin/sh\n"}, modes={"usr/bin/tool": 0o755})
DIST = "opt/env/lib/python3.11/site-packages"


@pytest.fixture
def store(home: Path) -> Store:
    store = Store(home / "store")
    numpy = [layer({f"{DIST}/numpy-{version}.dist-info/METADATA": b""}) for version in ("1.26", "2.0")]
    add_image(store, "demo/train:old", [BASE, numpy[0]], config={"Env": ["A=1"]}, history=["base", "RUN x"])
    add_image(store, "demo/train:latest", [BASE, numpy[1], layer({"etc/name": b"mine\n"})], config={"Env": ["A=2"]})
    add_image(store, "docker.io/library/debian:12", [BASE], built=False)
    return store


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "wardian.toml").write_text('[project]\nname = "demo"\n[images.train]\nfrom = "debian:12"\n')
    return tmp_path


def digest(store: Store, name: str) -> str:
    found = store.resolve(name)
    assert found
    return found.digest


def test_images_lists_what_is_there(wardian: Wardian, store: Store) -> None:
    lines = wardian("images").out.splitlines()
    assert lines[0].split() == ["REFERENCE", "DIGEST", "FROM", "SINCE", "SIZE", "LAYERS", "SHARED"]
    assert [line.split()[0] for line in lines[1:]] == [
        "demo/train:latest",
        "demo/train:old",
        "docker.io/library/debian:12",
    ]
    assert [line.split()[2] for line in lines[1:]] == ["built", "built", "pulled"]
    data = {image["reference"]: image for image in wardian("images", "--json").json()}
    assert data["demo/train:latest"]["layers"] == 3
    assert data["docker.io/library/debian:12"]["unique"] == 0
    assert data["docker.io/library/debian:12"]["shared"] == data["docker.io/library/debian:12"]["size"]
    assert data["demo/train:old"]["digest"] == digest(store, "demo/train:old")


def test_an_empty_store_is_no_error_and_is_not_made(wardian: Wardian, home: Path) -> None:
    said = wardian("images")
    assert said.out == ""
    assert "no images yet" in said.err
    assert wardian("images", "--json").json() == []
    assert not (home / "store").exists()


def test_a_damaged_image_is_named_and_the_others_are_listed(wardian: Wardian, store: Store) -> None:
    path = store.path(digest(store, "demo/train:old"))
    path.chmod(0o644)
    path.write_bytes(b"{}")
    said = wardian("images", code=1)
    assert "demo/train:old" in said.err
    assert "was changed" in said.err
    assert "demo/train:latest" in said.out


def test_tree_shows_layers_and_who_shares_them(wardian: Wardian, store: Store) -> None:
    lines = wardian("tree", "demo/train:old").out.splitlines()
    assert lines[0].startswith("demo/train:old  sha256:")
    assert lines[1].startswith("├─ base  ")
    assert lines[2] == "│  └─ shared with demo/train:latest, docker.io/library/debian:12"
    assert lines[-1].startswith("└─ total 2 layers")


def test_tree_names_packages_that_are_remembered(wardian: Wardian, store: Store) -> None:
    image = store.manifest(digest(store, "demo/train:old"))
    packages = tuple(f"p{at}==1" for at in range(9))
    record = LayerRecord(image.layers[1].digest, f"sha256:{1:064x}", image.layers[1].size, 5000, "bin 1 of 8", packages)
    store.remember("1" * 64, record)
    text = wardian("tree", "demo/train:old").out
    assert "bin 1 of 8" in text
    assert "→ 5.0 kB" in text
    assert "p0==1, p1==1, p2==1, p3==1, p4==1, p5==1 and 3 more" in text
    assert "p8==1" in wardian("tree", "demo/train:old", "--packages").out
    data = wardian("tree", "demo/train:old", "--json").json()
    assert data["layers"][1]["packages"] == list(packages)
    assert data["layers"][1]["unpacked"] == 5000
    assert data["layers"][0]["shared_with"] == ["demo/train:latest", "docker.io/library/debian:12"]
    assert data["size"] == data["shared"] + data["unique"]


def test_an_image_is_named_in_many_ways(wardian: Wardian, store: Store, project: Path) -> None:
    wanted = digest(store, "demo/train:latest")
    for name in (
        "demo/train:latest",
        wanted,
        wanted[7:],
        wanted[7:15],
        f"demo/train@{wanted}",
        "train",
        "train:latest",
    ):
        assert wardian("tree", name, "--json", cwd=project).json()["digest"] == wanted, name
    assert wardian("tree", "train", "--json").json()["digest"] == wanted  # outside a project too, when there is one
    assert wardian("tree", "debian:12", "--json").json()["reference"] == "docker.io/library/debian:12"


def test_what_is_not_there_or_could_be_many_is_said(wardian: Wardian, store: Store, project: Path) -> None:
    said = wardian("tree", "trian", cwd=project, code=1)
    assert "there is no image 'trian' in the store" in said.err
    assert "did you mean" in wardian("tree", "demo/trian:latest", code=1).err
    store.untag("demo/train:latest")
    add_image(store, "demo/train:new", [BASE])
    said = wardian("tree", "train", cwd=project, code=1)
    assert "may be any of: demo/train:new, demo/train:old" in said.err
    assert json.loads(wardian("tree", "nope", "--json", code=1).err)["error"] == "WardianError"


def test_a_broken_file_is_no_reason_not_to_look(wardian: Wardian, store: Store, project: Path) -> None:
    (project / "wardian.toml").write_text("[project\n")
    wardian("tree", "demo/train:latest", cwd=project)
    assert wardian("tree", "nope", cwd=project, code=2).err


def test_diff_tells_layers_packages_and_config(wardian: Wardian, store: Store) -> None:
    text = wardian("diff", "demo/train:old", "demo/train:latest").out
    assert "layers: 1 in both, 1 removed, 2 added" in text
    assert "  ~ numpy 1.26 → 2.0" in text
    assert "  ~ env A 1 → 2" in text
    assert "files" not in text
    data = wardian("diff", "demo/train:old", "demo/train:latest", "--json").json()
    assert data["packages"] == [{"name": "numpy", "before": "1.26", "after": "2.0"}]
    assert data["config"] == [{"name": "env A", "before": "1", "after": "2"}]
    assert len(data["layers"]["added"]) == 2


def test_diff_of_files(wardian: Wardian, store: Store) -> None:
    data = wardian("diff", "demo/train:old", "demo/train:latest", "--files", "--json").json()
    changes = {entry["name"]: (entry["before"], entry["after"]) for entry in data["files"]}
    before, after = changes.pop("etc/name")
    assert before.startswith("file 0644 0:0 5 B sha256:")
    assert before != after
    info = f"{DIST}/numpy"
    assert changes == {
        f"{info}-1.26.dist-info": ("folder 0755 0:0", None),
        f"{info}-1.26.dist-info/METADATA": ("file 0644 0:0 0 B", None),
        f"{info}-2.0.dist-info": (None, "folder 0755 0:0"),
        f"{info}-2.0.dist-info/METADATA": (None, "file 0644 0:0 0 B"),
    }


def test_a_file_that_was_written_again_as_it_was_is_no_change(wardian: Wardian, store: Store) -> None:
    add_image(store, "demo/same:1", [BASE, layer({"etc/name": b"base\n"})])
    data = wardian("diff", "debian:12", "demo/same:1", "--files", "--json").json()
    assert data["files"] == []


def test_modes_and_kinds_are_changes(wardian: Wardian, store: Store) -> None:
    above = layer({"etc/name": "elsewhere", "usr/bin/tool": b"#!/bin/sh\n"}, modes={"usr/bin/tool": 0o4755})
    add_image(store, "demo/odd:1", [BASE, above])
    lines = wardian("diff", "debian:12", "demo/odd:1", "--files").out.splitlines()
    assert "  ~ etc/name file 0644 0:0 5 B → symlink to elsewhere" in lines
    assert "  ~ usr/bin/tool file 0755 0:0 10 B → file 4755 0:0 10 B" in lines


def test_the_same_image_under_two_names(wardian: Wardian, store: Store) -> None:
    found = store.resolve("demo/train:old")
    assert found
    store.tag("demo/train:again", found)
    assert wardian("diff", "demo/train:old", "demo/train:again").out.splitlines()[-1] == "the same image"


def test_packages_come_from_the_sbom_where_there_is_one(wardian: Wardian, store: Store) -> None:
    image = digest(store, "demo/train:old")
    document = {
        "spdxVersion": "SPDX-2.3",
        "packages": [
            {"externalRefs": [{"referenceLocator": "pkg:pypi/torch@2.4.0%2Bcpu"}]},
            {"externalRefs": [{"referenceLocator": "pkg:deb/debian/git@1:2.39?arch=amd64"}]},
            {"name": "no reference"},
        ],
    }
    blob = store.put(json.dumps(document).encode(), SPDX)
    subject = Descriptor(MANIFEST, image, store.path(image).stat().st_size)
    artifact = Manifest(
        store.put(b"{}", "application/vnd.oci.empty.v1+json"), (blob,), subject=subject, artifact_type=SPDX
    )
    store.attach(image, store.put(artifact.to_bytes(), MANIFEST))
    lines = wardian("diff", "demo/train:old", "debian:12").out.splitlines()
    assert "  - torch 2.4.0+cpu" in lines
    assert "  - git (deb) 1:2.39" in lines


@pytest.mark.parametrize("verb", ["images", "tree", "diff", "export", "render", "doctor"])
def test_help_has_an_example(wardian: Wardian, verb: str) -> None:
    text = wardian(verb, "--help").out
    assert "Example:" in text
    assert f"wardian {verb}" in text.partition("Example:")[2]
    assert "--json" in text
