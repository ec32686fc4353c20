"""export: what is written, what is refused, what is left when it fails."""

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from tests.people import single
from wardian.oci.digest import sha256
from wardian.store.find import find
from wardian.store.flatten import export_folder
from wardian.store.store import Store

Wardian = Callable[..., Any]


@pytest.fixture
def store(home: Path) -> Store:
    store = Store(home / "store")
    lower = layer(
        {
            "bin/": None,
            "bin/tool": b"#!/bin/sh\n",
            "etc/gone": b"x",
            "etc/name": b"one\n",
            "closed/": None,
            "closed/f": b"f",
        },
        links={"bin/again": "bin/tool"},
        modes={"bin/tool": 0o4755, "closed/": 0o500},
    )
    upper = layer({"etc/.wh.gone": b"", "etc/name": b"two\n", "etc/link": "/etc/name"})
    add_image(store, "demo/train:1", [lower, upper])
    return store


def listing(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def test_a_layout_holds_one_image_and_its_blobs(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    target = tmp_path / "with space" / "layout"
    target.parent.mkdir()
    answer = wardian("export", "train", "-o", str(target), "--json").json()
    assert answer == {
        "reference": "demo/train:1",
        "digest": store.references()[0].descriptor.digest,
        "format": "oci",
        "path": str(target),
        "size": None,
        "left_out": [],
    }
    ours = Store(target)
    (entry,) = ours.index().manifests
    assert entry.digest == answer["digest"]
    assert entry.annotations == {
        "org.opencontainers.image.ref.name": "1",
        "io.containerd.image.name": "docker.io/demo/train:1",
    }
    assert len(list((target / "blobs" / "sha256").iterdir())) == 4
    for path in (target / "blobs" / "sha256").iterdir():
        assert sha256(path.read_bytes()) == f"sha256:{path.name}"
    assert list(tmp_path.joinpath("with space").iterdir()) == [target]


def test_archives_are_the_same_every_time(
    wardian: Wardian, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for name, umask, zone in (("a", 0o022, "UTC"), ("b", 0o077, "Asia/Tokyo")):
        monkeypatch.setenv("TZ", zone)
        before = os.umask(umask)
        try:
            wardian("export", "train", "-o", f"{tmp_path}/{name}.oci.tar")
            wardian("export", "train", "--format", "docker", "-o", f"{tmp_path}/{name}.tar")
        finally:
            os.umask(before)
        seen.add(tuple(sha256((tmp_path / f"{name}{end}").read_bytes()) for end in (".oci.tar", ".tar")))
    assert len(seen) == 1


def test_docker_s_archive_names_its_layers(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    wardian("export", "train", "--format", "docker", "-o", str(tmp_path / "train.tar"))
    with tarfile.open(tmp_path / "train.tar") as tar:
        names = tar.getnames()
        content = tar.extractfile("manifest.json")
        assert content
        (entry,) = json.load(content)
        assert entry["RepoTags"] == ["demo/train:1"]
        assert [entry["Config"], *entry["Layers"]] == [
            name for name in [entry["Config"], *entry["Layers"]] if name in names
        ]
        assert {(member.uid, member.gid, member.uname, member.mtime) for member in tar} == {(0, 0, "", 1577836800)}
    assert names == [
        *sorted(name for name in names if name.startswith("blobs")),
        "index.json",
        "manifest.json",
        "oci-layout",
    ]


def test_files_lie_as_a_container_would_see_them(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    root = tmp_path / "root"
    wardian("export", "train", "--format", "dir", "-o", str(root))
    assert (root / "etc" / "name").read_bytes() == b"two\n"
    assert not (root / "etc" / "gone").exists()
    assert (root / "etc" / "link").readlink() == Path("/etc/name")
    lent = 0o755 if os.getuid() else 0o4755  # a plain user's export has no setuid bits
    assert (root / "bin" / "tool").stat().st_mode & 0o7777 == lent
    assert (root / "bin" / "tool").samefile(root / "bin" / "again")
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0o500
    assert (root / "closed" / "f").read_bytes() == b"f"
    assert {int(path.lstat().st_mtime) for path in [root, *root.rglob("*")] if path.name != "etc"} == {1577836800}


def test_a_layer_that_writes_through_a_link_writes_inside(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    add_image(
        store, "demo/evil:1", [layer({"a": str(outside), "b": "../../outside"}), layer({"a/x": b"1", "b/x": b"1"})]
    )
    add_image(store, "demo/rude:1", [layer({"../../outside/x": b"1"})])
    add_image(store, "demo/hard:1", [layer({}, links={"h": "../../../etc/passwd"})])
    wardian("export", "demo/evil:1", "--format", "dir", "-o", str(tmp_path / "root"))
    assert (tmp_path / "root" / "a" / "x").read_bytes() == b"1"
    for name in ("rude", "hard"):
        assert (
            "leads out of the image"
            in wardian("export", f"demo/{name}:1", "--format", "dir", "-o", f"{tmp_path}/{name}", code=1).err
        )
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root"]


def test_someone_who_is_not_root_is_told_what_was_left_out(
    wardian: Wardian, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        null = tarfile.TarInfo("null")
        null.type, null.devmajor, null.devminor = tarfile.CHRTYPE, 1, 3
        tar.addfile(null)
        capable = tarfile.TarInfo("ping")
        capable.uid, capable.pax_headers = 5, {"SCHILY.xattr.security.capability": "\x01"}
        tar.addfile(capable)
    add_image(store, "demo/devices:1", [out.getvalue()])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said = wardian("export", "devices", "--format", "dir", "-o", str(tmp_path / "root"))
    assert said.err == "left out: 1 device files, 1 extended attributes that only root may set\n"
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["ping"]
    assert (tmp_path / "root" / "ping").stat().st_uid == os.getuid()


def test_a_plain_user_s_programs_do_not_lend_their_ids_to_others(store: Store, tmp_path: Path) -> None:
    """A setuid program of an image would run as whoever exported it, for everybody on the machine."""
    left_out = export_folder(store, find(store, "train"), tmp_path / "root", as_root=False)
    assert left_out == ("1 setuid or setgid bits",)
    assert stat.S_IMODE((tmp_path / "root" / "bin" / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "root" / "closed").stat().st_mode) == 0o500


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices and gives files away")
def test_root_keeps_devices_pipes_owners_and_attributes(store: Store, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in (("null", tarfile.CHRTYPE), ("disk", tarfile.BLKTYPE), ("pipe", tarfile.FIFOTYPE)):
            node = tarfile.TarInfo(name)
            node.type, node.mode, node.devmajor, node.devminor = kind, 0o640, 1, 3
            tar.addfile(node)
        for name, kind in (("su", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
            owned = tarfile.TarInfo(name)
            owned.type, owned.uid, owned.gid, owned.mode, owned.linkname = kind, 5, 6, 0o6755, "su"
            owned.pax_headers = {"SCHILY.xattr.no-such-namespace.x": "1", "SCHILY.xattr.trusted.y": "2"}
            tar.addfile(owned)
    add_image(store, "demo/devices:1", [out.getvalue()])
    left_out = export_folder(store, find(store, "devices"), tmp_path / "root", as_root=True)
    assert left_out == ("2 extended attributes that this file system does not take",)
    found = {path.name: path.lstat() for path in (tmp_path / "root").iterdir()}
    assert stat.S_ISCHR(found["null"].st_mode)
    assert stat.S_ISBLK(found["disk"].st_mode)
    assert stat.S_ISFIFO(found["pipe"].st_mode)
    assert {stat.S_IMODE(found[name].st_mode) for name in ("null", "disk", "pipe")} == {0o640}
    assert found["null"].st_rdev == found["disk"].st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE(found["su"].st_mode) == 0o6755
    assert {(found[name].st_uid, found[name].st_gid) for name in ("su", "link")} == {(5, 6)}
    assert os.getxattr(tmp_path / "root" / "su", "trusted.y") == b"2"


def test_attributes_of_read_only_files_are_kept_for_anyone(store: Store, tmp_path: Path) -> None:
    noted = io.BytesIO()
    with tarfile.open(fileobj=noted, mode="w", format=tarfile.PAX_FORMAT) as tar:
        found = tarfile.TarInfo("closed")
        found.mode, found.pax_headers = 0o444, {"SCHILY.xattr.user.note": "kept"}
        tar.addfile(found)
    add_image(store, "demo/noted:1", [noted.getvalue()])
    if os.getuid() == 0:
        single().own(store.root)
        single().own(tmp_path)
    words = single().python() if os.getuid() == 0 else (sys.executable,)
    argv = [*words, "-m", "wardian", "export", "demo/noted:1", "--format", "dir", "-o", str(tmp_path / "root")]
    subprocess.run(argv, check=True, env={**os.environ, "WARDIAN_HOME": str(store.root)}, cwd=tmp_path)
    assert os.getxattr(tmp_path / "root" / "closed", "user.note") == b"kept"


@pytest.mark.parametrize("kind", ["oci", "docker", "dir"])
def test_a_place_that_is_closed_is_named(store: Store, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "closed"
    place.mkdir(mode=0o555)
    if os.getuid() == 0:
        single().own(store.root)
        single().own(tmp_path)
        place.chmod(0o555)
    words = single().python() if os.getuid() == 0 else (sys.executable,)
    argv = [*words, "-m", "wardian", "export", "train", "--format", kind, "-o", str(place / "x")]
    environ = {**os.environ, "WARDIAN_HOME": str(store.root)}
    done = subprocess.run(argv, check=False, env=environ, cwd="/", capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 2), "what happened, and what to type next"
    assert f"permission denied: {place}/" in done.stderr


def test_a_link_to_an_empty_folder_is_written_through(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    wardian("export", "train", "--format", "dir", "-o", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "etc" / "name").read_bytes() == b"two\n"


@pytest.mark.parametrize("kind", ["oci", "docker", "dir"])
def test_a_blob_that_was_touched_is_found_and_nothing_is_left(
    wardian: Wardian, store: Store, tmp_path: Path, kind: str
) -> None:
    blob = store.manifest(store.references()[0].descriptor.digest).layers[0]
    path = store.path(blob.digest)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    said = wardian("export", "train", "--format", kind, "-o", str(tmp_path / "out"), code=1)
    assert "was changed" in said.err
    assert list(tmp_path.iterdir()) == []
    path.unlink()
    assert (
        "is not in the store" in wardian("export", "train", "--format", kind, "-o", str(tmp_path / "out"), code=1).err
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_by_force(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    archive, layout = tmp_path / "a.tar", tmp_path / "layout"
    archive.write_bytes(b"precious")
    assert "there already" in wardian("export", "train", "-o", str(archive), code=1).err
    assert archive.read_bytes() == b"precious"
    wardian("export", "train", "-o", str(archive), "--force")
    layout.mkdir()
    wardian("export", "train", "-o", str(layout))  # an empty folder is no obstacle
    before = listing(layout)
    assert "add --force" in wardian("export", "train", "-o", str(layout), code=1).err
    wardian("export", "train", "-o", str(layout), "--force")
    assert listing(layout) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "layout"]


@pytest.mark.parametrize("kind", ["oci", "dir"])
def test_a_folder_that_is_not_ours_is_never_replaced(wardian: Wardian, store: Store, tmp_path: Path, kind: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    said = wardian("export", "train", "--format", kind, "-o", str(tmp_path / "home"), "--force", code=1)
    assert "is not empty" in said.err
    assert "yourself" in said.err
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"


def test_targets_that_cannot_be(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    assert "is a file" in wardian("export", "train", "-o", str(tmp_path / "file"), code=1).err
    said = wardian("export", "train", "--format", "docker", "-o", str(tmp_path / "folder"), code=1)
    assert "is a folder" in said.err
    assert "there is no folder" in wardian("export", "train", "-o", str(tmp_path / "no" / "where"), code=1).err


def test_an_image_without_a_name_docker_takes_still_gets_one(wardian: Wardian, store: Store, tmp_path: Path) -> None:
    store.tag("Odd Name", store.references()[0].descriptor)
    store.untag("demo/train:1")
    wardian("export", "Odd Name", "--format", "docker", "-o", str(tmp_path / "a.tar"))
    with tarfile.open(tmp_path / "a.tar") as tar:
        content = tar.extractfile("manifest.json")
        assert content
        assert json.load(content)[0]["RepoTags"][0].startswith("wardian:")
