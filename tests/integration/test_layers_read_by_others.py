"""Our layers and layouts in other people's programs: gzip, GNU tar, skopeo, umoci, podman."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.wheels import as_file, wheel
from wardian.oci import gzip as layers
from wardian.oci import tar
from wardian.oci.layer import LayerBlob
from wardian.oci.model import CONFIG, LAYER_GZIP, MANIFEST, Descriptor, Manifest, canonical
from wardian.oci.splice import write_wheels
from wardian.oci.tar import Entry
from wardian.store.store import Store
from wardian.store.unpack import unpack

REFERENCE = "empo/train:py3.11"
FILES = {
    "thing/__init__.py": b"value = 1\n",
    "thing/empty": b"",
    "thing/big.bin": random.Random(1).randbytes(2_000_000),
    "thing/zeros": bytes(3_000_000),
    "thing/" + "long" * 40 + "/naïve café.txt": b"text",
    **{f"thing/many/{at}.py": b"x = %d\n" % at for at in range(500)},
}
BASE = [
    (Entry("etc", "dir", 0o755), b""),
    (Entry("etc/passwd", "file", 0o644, 5), b"root\n"),
    (Entry("bin", "symlink", 0o777, link="usr/bin"), b""),
    (Entry("usr/bin", "dir", 0o755), b""),
    (Entry("usr/bin/tool", "file", 0o4755, 3), b"ELF"),
    (Entry("usr/bin/same", "hardlink", 0o755, link="usr/bin/tool"), b""),
    (Entry("usr/bin/" + "n" * 120, "symlink", 0o777, link="t" * 120), b""),
    (Entry("tmp", "dir", 0o1777), b""),
]


def content(entries: list[tuple[Entry, bytes]]) -> Iterator[bytes]:
    known = {entry.path: data for entry, data in entries}
    whole = tar.complete(entry for entry, _ in entries)
    # A hard link comes after its target whatever its name is.
    ordered = sorted(whole, key=lambda entry: entry.kind == "hardlink")
    return tar.stream((entry, [known.get(entry.path, b"")]) for entry in ordered)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with an image of two layers: a small root file system, and spliced wheels."""
    store = Store(tmp_path_factory.mktemp("others") / "store")
    with store.writer() as out:
        base = layers.write_layer(out, content(BASE))
        out.commit(base.digest)
    with store.writer() as out:
        two = [as_file(wheel(files=FILES)), as_file(wheel("other", files={"other/a.py": b"1"}), "other")]
        wheels = write_wheels(out, two, prefix="/opt/env", python="3.11")
        out.commit(wheels.digest)
    add(store, [base, wheels])
    return store


def add(store: Store, blobs: list[LayerBlob]) -> None:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/opt/env/bin:/usr/bin"], "Cmd": ["/bin/tool"]},
        "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in blobs]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "wardian"} for _ in blobs],
    }
    described = tuple(store_descriptor(store, blob) for blob in blobs)
    manifest = Manifest(store.put(canonical(config), CONFIG), described)
    store.tag(REFERENCE, store.put(manifest.to_bytes(), MANIFEST), {"dev.wardian.built": "true"})


def store_descriptor(store: Store, blob: LayerBlob) -> Descriptor:
    assert store.has(blob.digest, blob.size)
    return Descriptor(LAYER_GZIP, blob.digest, blob.size)


def run(*argv: str | Path) -> str:
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def blobs(store: Store) -> list[Path]:
    image = store.resolve(REFERENCE)
    assert image
    return [store.path(layer.digest) for layer in store.manifest(image.digest).layers]


def tree(folder: Path) -> dict[str, tuple[int, bytes | str | None]]:
    """Path → mode and content of everything in a folder."""
    found: dict[str, tuple[int, bytes | str | None]] = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        inner = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (mode, inner)
    return found


def test_gzip_finds_them_whole(store: Store, need: Callable[..., None]) -> None:
    need("gzip")
    for blob in blobs(store):
        with blob.open("rb") as file:
            assert subprocess.run(["gzip", "-t"], stdin=file, check=False).returncode == 0


def test_gnu_tar_lists_what_went_in(store: Store, need: Callable[..., None]) -> None:
    need("tar")
    listed = run("tar", "--numeric-owner", "--full-time", "-tvzf", blobs(store)[1])
    lines = listed.splitlines()
    assert len(lines) == len(FILES) + len({name.rpartition("/")[0] for name in FILES}) + 2 + 2 * 4 + 2 + 5
    assert all(line.split()[1:2] == ["0/0"] and "2020-01-01 00:00:00" in line for line in lines)
    assert lines[0].startswith("drwxr-xr-x")
    names = [line.split("2020-01-01 00:00:00 ")[1].rstrip("/") for line in lines]
    assert names == sorted(names)


def test_gnu_tar_and_we_unpack_the_same(store: Store, tmp_path: Path, need: Callable[..., None]) -> None:
    need("tar")
    for at, blob in enumerate(blobs(store)):
        theirs, ours = tmp_path / f"theirs{at}", tmp_path / f"ours{at}"
        theirs.mkdir()
        ours.mkdir()
        run("tar", "-xpzf", blob, "-C", theirs)
        unpack(blob, ours, xattr="trusted", owners=False)
        assert tree(ours) == tree(theirs)
    assert tree(ours)[f"opt/env/lib/python3.11/site-packages/thing/{'long' * 40}/naïve café.txt"][1] == b"text"


def test_skopeo_reads_the_layout(store: Store, tmp_path: Path, need: Callable[..., None]) -> None:
    need("skopeo")
    image = store.resolve(REFERENCE)
    assert image
    seen = json.loads(run("skopeo", "inspect", f"oci:{store.root}:{REFERENCE}"))
    assert seen["Digest"] == image.digest
    assert seen["Layers"] == [layer.digest for layer in store.manifest(image.digest).layers]
    assert seen["Env"] == ["PATH=/opt/env/bin:/usr/bin"]
    run("skopeo", "copy", "-q", f"oci:{store.root}:{REFERENCE}", f"dir:{tmp_path / 'copy'}")
    copied = (tmp_path / "copy" / "manifest.json").read_bytes()
    assert copied == store.read(image.digest)


def test_an_image_that_skopeo_brought_is_ours(store: Store, tmp_path: Path, need: Callable[..., None]) -> None:
    need("skopeo")
    other = Store(tmp_path / "other")
    other.prepare()
    run("skopeo", "copy", "-q", f"oci:{store.root}:{REFERENCE}", f"oci:{other.root}:copied/here:1")
    found, image = other.resolve("copied/here:1"), store.resolve(REFERENCE)
    assert found
    assert image
    assert found.digest == image.digest
    assert other.manifest(found.digest) == store.manifest(image.digest)


def test_umoci_unpacks_the_same_image(store: Store, tmp_path: Path, need: Callable[..., None]) -> None:
    need("umoci")
    rootless = () if os.getuid() == 0 else ("--rootless",)
    run("umoci", "unpack", *rootless, "--image", f"{store.root}:{REFERENCE}", tmp_path / "bundle")
    theirs = tree(tmp_path / "bundle" / "rootfs")
    ours: dict[str, tuple[int, bytes | str | None]] = {}
    for at, blob in enumerate(blobs(store)):
        folder = tmp_path / f"layer{at}"
        folder.mkdir()
        unpack(blob, folder, xattr="trusted", owners=False)
        ours |= tree(folder)
    assert ours == theirs


def test_podman_pulls_and_keeps_the_identity(store: Store, tmp_path: Path, need: Callable[..., None]) -> None:
    need("podman")
    if os.getuid():
        pytest.skip("needs root here: a rootless podman wants a session")
    short = Path(tempfile.mkdtemp(dir="/tmp"))  # podman wants 50 characters at most
    place = ["--root", str(tmp_path / "root"), "--runroot", str(short), "--storage-driver", "vfs"]
    pulled = run("podman", *place, "pull", "-q", f"oci:{store.root}:{REFERENCE}").strip()
    image = store.resolve(REFERENCE)
    assert image
    assert f"sha256:{pulled}" == store.manifest(image.digest).config.digest
    seen = json.loads(run("podman", *place, "image", "inspect", pulled))[0]
    shutil.rmtree(short)
    assert seen["RootFS"]["Layers"] == list(store.diff_ids(image.digest))


def test_python_imports_from_the_layer(store: Store, tmp_path: Path) -> None:
    unpack(blobs(store)[1], tmp_path, xattr="trusted", owners=False)
    site = tmp_path / "opt/env/lib/python3.11/site-packages"
    code = "import thing, importlib.metadata as m; print(thing.value, m.version('thing'), len(m.files('thing')))"
    assert run(sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}").split()[:2] == [
        "1",
        "1.0",
    ]
