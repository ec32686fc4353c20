"""Other people's programs read what we write: skopeo, umoci, podman, GNU tar, a real registry."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.images import add_image, layer
from tests.integration.registry import start_registry
from wardian.hosts.local import LocalHost
from wardian.oci.digest import sha256
from wardian.oci.model import DOCKER_MANIFEST, LAYER, LAYER_ZSTD, MANIFEST, Manifest
from wardian.oci.reference import Reference
from wardian.registry.client import open_registry
from wardian.store.store import Store

pytestmark = pytest.mark.engine
Need = Callable[..., None]
Wardian = Callable[..., Any]
NAME = "base/base:latest"


def said(*argv: str | Path, **more: Any) -> str:
    words = [str(word) for word in argv]
    done: subprocess.CompletedProcess[str] = subprocess.run(words, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def told(folder: Path) -> list[str]:
    """Every path below a folder, with mode, owner, kind, link, size and time; folders' sizes are the file system's."""
    lines = said("find", ".", "-mindepth", "1", "-printf", r"%p %m %U:%G %y %l %s %Ts %n\n", cwd=folder).splitlines()
    return sorted(line if " d " not in line else " ".join(line.split()[:-3]) for line in lines)


def test_skopeo_reads_layouts_and_archives(wardian: Wardian, with_base: Path, need: Need, tmp_path: Path) -> None:
    need("skopeo")
    digest = Store(with_base).references()[0].descriptor.digest
    layers = [layer.digest for layer in Store(with_base).manifest(digest).layers]
    wardian("export", NAME, "-o", str(tmp_path / "layout"))
    wardian("export", NAME, "-o", str(tmp_path / "oci.tar"))
    wardian("export", NAME, "--format", "docker", "-o", str(tmp_path / "docker.tar"))
    for source in (f"oci:{tmp_path}/layout", f"oci:{tmp_path}/layout:latest", f"oci-archive:{tmp_path}/oci.tar"):
        seen = json.loads(said("skopeo", "inspect", source))
        assert seen["Digest"] == digest, source
        assert seen["Layers"] == layers
    said("skopeo", "copy", f"docker-archive:{tmp_path}/docker.tar", f"dir:{tmp_path}/dir")
    manifest = json.loads((tmp_path / "dir" / "manifest.json").read_text())
    assert manifest["config"]["digest"] == Store(with_base).manifest(digest).config.digest


def test_a_registry_takes_the_image_and_gives_it_back(
    wardian: Wardian, with_base: Path, need: Need, tmp_path: Path
) -> None:
    need("skopeo", "docker-registry")
    digest = Store(with_base).references()[0].descriptor.digest
    wardian("export", NAME, "-o", str(tmp_path / "layout"))
    with start_registry(tmp_path / "registry") as running:
        name = running.push(f"oci:{tmp_path}/layout:latest", "acme/base:1")
        back = f"oci:{tmp_path}/back:1"
        said("skopeo", "copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{name}", back)
        assert json.loads(said("skopeo", "inspect", back))["Digest"] == digest
        ours = Store(tmp_path / "ours")
        with open_registry({"HOME": str(tmp_path)}, LocalHost().run) as registry:
            assert registry.pull(Reference.parse(name), "linux/amd64", ours).digest == digest
    whole = Store(with_base)
    for blob in (whole.manifest(digest).config, *whole.manifest(digest).layers):
        assert ours.path(blob.digest).read_bytes() == whole.path(blob.digest).read_bytes()


@pytest.mark.skipif(os.getuid() != 0, reason="owners are compared as root")
def test_umoci_unpacks_what_we_flatten(wardian: Wardian, with_base: Path, need: Need, tmp_path: Path) -> None:
    need("umoci", "find", "diff")
    wardian("export", NAME, "-o", str(tmp_path / "layout"))
    wardian("export", NAME, "--format", "dir", "-o", str(tmp_path / "root"))
    said("umoci", "unpack", "--image", f"{tmp_path}/layout:latest", tmp_path / "bundle")
    assert told(tmp_path / "root") == told(tmp_path / "bundle" / "rootfs")
    said("diff", "--recursive", "--no-dereference", tmp_path / "root", tmp_path / "bundle" / "rootfs")


def test_tar_reads_the_archive(wardian: Wardian, with_base: Path, need: Need, tmp_path: Path) -> None:
    need("tar", "sha256sum")
    wardian("export", NAME, "--format", "docker", "-o", str(tmp_path / "a.tar"))
    (tmp_path / "out").mkdir()
    said("tar", "-xf", tmp_path / "a.tar", "-C", tmp_path / "out")
    lines = "".join(f"{path.name}  {path}\n" for path in (tmp_path / "out" / "blobs" / "sha256").iterdir())
    said("sha256sum", "--check", "--strict", input=lines)


CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@pytest.mark.parametrize("kind", ["the same layer twice", "a zstd layer", "a plain layer", "docker's manifest"])
def test_skopeo_reads_archives_and_layouts_of_odd_images(
    wardian: Wardian, home: Path, need: Need, tmp_path: Path, kind: str
) -> None:
    need("skopeo")
    store, tars = Store(home / "store"), [layer({"a": b"1"}), layer({"b": b"2"})]
    plain = store.manifest(add_image(store, "odd/image:1", [*tars, tars[0]] if "twice" in kind else tars).digest)
    blobs, config = plain.layers, plain.config
    if "zstd" in kind:
        blobs = (store.put(zstandard.compress(tars[0]), LAYER_ZSTD), *blobs[1:])
    if "plain" in kind:
        blobs = (store.put(tars[0], LAYER), *blobs[1:])
    if "docker" in kind:
        config = replace(config, media_type="application/vnd.docker.container.image.v1+json")
        blobs = tuple(replace(one, media_type="application/vnd.docker.image.rootfs.diff.tar.gzip") for one in blobs)
    media_type = DOCKER_MANIFEST if "docker" in kind else MANIFEST
    store.tag("odd/image:1", store.put(Manifest(config, blobs, media_type=media_type).to_bytes(), media_type))
    wardian("export", "odd/image:1", "--format", "docker", "-o", str(tmp_path / "a.tar"))
    wardian("export", "odd/image:1", "-o", str(tmp_path / "layout"))
    diff_ids = [sha256(tar) for tar in tars] + ([sha256(tars[0])] if "twice" in kind else [])
    assert (
        json.loads(said("skopeo", "inspect", "--config", f"docker-archive:{tmp_path}/a.tar"))["rootfs"]["diff_ids"]
        == diff_ids
    )
    assert json.loads(said("skopeo", "inspect", f"docker-archive:{tmp_path}/a.tar"))["Layers"] == diff_ids
    said("skopeo", "copy", "-q", f"oci-archive:{tmp_path}/a.tar", f"oci:{tmp_path}/one:1")
    said("skopeo", "copy", "-q", f"oci:{tmp_path}/layout", f"oci:{tmp_path}/two:1")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: podman syncs every layer to the disk, which takes most of a minute."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def podman(memory: Path, need: Need, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A podman whose images are in that folder and gone in the end."""
    need("podman", "runc")  # crun refuses machines with both versions of cgroups
    (memory / "containers.conf").write_text(CONTAINERS)
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{memory}/root"\nrunroot = "{memory}/run"\n'
    (memory / "storage.conf").write_text(storage)
    monkeypatch.setenv("CONTAINERS_CONF", str(memory / "containers.conf"))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(memory / "storage.conf"))
    monkeypatch.setenv("TMPDIR", str(memory))
    yield memory
    said("podman", "image", "unmount", "--all")
    said("podman", "rmi", "--all", "--force")
    if (memory / "root" / "overlay").is_mount():
        said("umount", "-l", memory / "root" / "overlay")


@pytest.mark.skipif(os.getuid() != 0, reason="podman with a storage of its own needs root")
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_podman_loads_and_runs_the_image(wardian: Wardian, with_base: Path, podman: Path, kind: str) -> None:
    wardian("export", NAME, "--format", kind, "-o", str(podman / "a.tar"))
    loaded = said("podman", "load", "--quiet", "-i", podman / "a.tar").strip().rpartition(" ")[2]
    run = ["podman", "run", "--rm", "--network=host", loaded]
    assert said(*run, "python", "-c", "import sys; print(sys.prefix)").strip() == "/opt/env"
    assert said(*run, "cat", "/etc/debian_version").startswith("12")


RENDERED = """\
[project]
name = "p"

[images.train]
from = "base/base:latest"
env = { QUOTED = "a \\"b\\" $HOME 'c' \\\\ #" }
run = [
  "echo \\"$QUOTED\\" 'x  y' > /etc/it && ln -s it /etc/that",
  '''
printf '%s\\n' one \\
  two >/etc/lines  # a step of several lines
''',
]
copy = [{ source = "my $files", target = "/data/my files" }, { source = "one.txt", target = "/data/one.txt" }]
workdir = "/work space"
entrypoint = ["sh", "-c"]
command = ["echo \\"$0\\" it's"]
labels = { "org.example.note" = "50% \\"off\\" $now" }
"""


@pytest.mark.skipif(os.getuid() != 0, reason="podman with a storage of its own needs root")
def test_podman_makes_the_same_image_from_the_dockerfile(
    wardian: Wardian, with_base: Path, podman: Path, tmp_path: Path
) -> None:
    """Words with everything that a Dockerfile could take for its own; only network-free steps."""
    (tmp_path / "wardian.toml").write_text(RENDERED)
    (tmp_path / "my $files" / "in ner").mkdir(parents=True)
    (tmp_path / "my $files" / "in ner" / "a b").write_text("1")
    (tmp_path / "my $files" / ".env").write_text("SECRET=1")
    (tmp_path / "one.txt").write_text("2")
    wardian("lock", cwd=tmp_path)
    wardian("build", cwd=tmp_path)
    wardian("export", "train", "--format", "dir", "-o", str(podman / "ours"), cwd=tmp_path)
    wardian("export", NAME, "--format", "oci", "-o", str(podman / "base.tar"))
    said("podman", "load", "--quiet", "-i", podman / "base.tar")
    base = Store(with_base).resolve(NAME)
    assert base
    wardian("render", "dockerfile", "train", "-o", "docker", cwd=tmp_path)
    assert f"FROM {NAME}@{base.digest} AS train\n" in (tmp_path / "docker" / "Dockerfile").read_text()

    build = ("podman", "build", "--quiet", "--network=none", "--pull=never", "-f", "docker/Dockerfile")
    made = said(*build, ".", cwd=tmp_path).strip()

    theirs = Path(said("podman", "image", "mount", made).strip())
    for name in ("etc/it", "etc/that", "etc/lines", "data"):
        said("diff", "--recursive", "--no-dereference", podman / "ours" / name, theirs / name)
    assert not (theirs / "data" / "my files" / ".env").exists()
    ours = json.loads(said("skopeo", "inspect", "--config", layout(wardian, tmp_path)))["config"]
    config = json.loads(said("podman", "image", "inspect", made))[0]["Config"]
    assert {key: config.get(key) for key in ("Cmd", "Entrypoint", "WorkingDir")} == {
        key: ours.get(key) for key in ("Cmd", "Entrypoint", "WorkingDir")
    }
    assert sorted(config["Env"]) == sorted(ours["Env"])
    assert config["Labels"]["org.example.note"] == ours["Labels"]["org.example.note"]


def layout(wardian: Wardian, project: Path) -> str:
    """The project's image as skopeo names it."""
    wardian("export", "train", "-o", "layout", cwd=project)
    return f"oci:{project}/layout"


@pytest.mark.skipif(os.getuid() != 0, reason="the folder's device files and owners need root")
def test_a_folder_is_a_root_file_system(wardian: Wardian, with_base: Path, need: Need, tmp_path: Path) -> None:
    need("chroot")
    wardian("export", NAME, "--format", "dir", "-o", str(tmp_path / "root"))
    assert said("chroot", tmp_path / "root", "/opt/env/bin/python", "-c", "print(6 * 7)").strip() == "42"
    shutil.rmtree(tmp_path / "root")
