"""`wardian build`, whole: over a base of one megabyte that claims to have Python, with wheels from a folder."""

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Wardian
from tests.rootfs import add_busybox
from tests.wheels import wheel
from wardian.store.store import Store

BASE = "demo/base:latest"
LABELS = {"dev.wardian.python": "3.11", "dev.wardian.interpreter": "/usr/bin/python3.11"}
TOML = f"""
[project]
name = "demo"

[images.train]
from = "{BASE}"
requirements = ["thing"]
tags = ["thing{{version:thing}}-py{{python:nodot}}", "latest"]

[images.dev]
from = "@train"
requirements = ["other"]
copy = [{{ source = "configs", target = "/workspace/configs" }}]
env = {{ A = "1" }}
workdir = "/workspace"
entrypoint = ["python"]
"""


def thing(name: str, version: str) -> bytes:
    return wheel(name, version, {f"{name}/__init__.py": f"version = {version!r}\n".encode()})


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only index: a folder with two distributions."""
    folder = tmp_path / "links"
    folder.mkdir()
    for name in ("thing", "other"):
        (folder / f"{name}-1.0-py3-none-any.whl").write_bytes(thing(name, "1.0"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


@pytest.fixture
def project(tmp_path: Path, home: Path, links: Path, wardian: Wardian, need: Any) -> Path:
    """A project of two images, locked."""
    need("busybox")
    add_busybox(Store(home / "store"), BASE, Labels=LABELS)
    folder = tmp_path / "project"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "a.toml").write_text("x = 1\n")
    (folder / "wardian.toml").write_text(TOML)
    wardian("lock", cwd=folder)
    return folder


@pytest.fixture
def store(home: Path) -> Store:
    """This test's store."""
    return Store(home / "store")


def names(store: Store, digest: str) -> list[str]:
    """The paths of all layers but the base's."""
    found: list[str] = []
    for layer in store.manifest(digest).layers[1:]:
        with tarfile.open(store.path(layer.digest)) as archive:
            found += archive.getnames()
    return found


def test_images_are_built_with_what_they_stand_on(wardian: Wardian, project: Path, store: Store) -> None:
    answer = wardian("build", "dev", "--json", cwd=project).json()
    assert list(answer) == ["dev", "train"]
    assert answer["train"]["tags"] == ["demo/train:thing1.0-py311", "demo/train:latest"]
    found = names(store, answer["dev"]["digest"])
    for path in (
        "opt/env/bin/python",
        "opt/env/pylock.toml",
        "opt/env/lib/python3.11/site-packages/thing/__init__.py",
        "opt/env/lib/python3.11/site-packages/other-1.0.dist-info/REQUESTED",
        "workspace/configs/a.toml",
    ):
        assert path in found
    config = store.config(answer["dev"]["digest"])["config"]
    assert config["Env"][:2] == ["A=1", "FROM_IMAGE=yes"]
    assert (config["WorkingDir"], config["Entrypoint"]) == ("/workspace", ["python"])
    assert config["Labels"]["org.opencontainers.image.base.name"] == BASE
    train, dev = (store.manifest(answer[name]["digest"]).layers for name in ("train", "dev"))
    assert dev[: len(train)] == train


def test_the_answer_for_people_tells_what_was_new(wardian: Wardian, project: Path) -> None:
    first = wardian("build", cwd=project)
    assert "demo/train:thing1.0-py311 demo/train:latest\n  sha256:" in first.out
    assert "layers new" in first.out
    assert "train: bin" in first.err
    second = wardian("build", cwd=project)
    assert "all 4 layers were there" in second.out
    assert second.err == ""


def test_a_dry_run_says_what_would_be_made(wardian: Wardian, project: Path, store: Store) -> None:
    said = wardian("build", "--dry-run", cwd=project).out
    assert "dev: demo/dev:latest" in said
    assert "make   copy configs → /workspace/configs" in said
    assert store.resolve("demo/dev:latest") is None
    wardian("build", cwd=project)
    answer = wardian("build", "--dry-run", "--json", cwd=project).json()
    assert {layer["known"] for layer in answer["dev"]["layers"]} == {True}


def test_one_more_dependency_is_one_layer_and_the_environment(wardian: Wardian, project: Path, links: Path) -> None:
    wardian("build", cwd=project)
    (links / "third-1.0-py3-none-any.whl").write_bytes(thing("third", "1.0"))
    text = (project / "wardian.toml").read_text().replace('["thing"]', '["thing", "third"]')
    (project / "wardian.toml").write_text(text)
    wardian("lock", cwd=project)
    answer = wardian("build", "train", "--json", cwd=project).json()
    assert len(answer["train"]["layers"]["new"]) == 2


def test_a_copied_file_that_changes_is_one_layer(wardian: Wardian, project: Path) -> None:
    wardian("build", cwd=project)
    (project / "configs" / "a.toml").write_text("x = 2\n")
    answer = wardian("build", "--json", cwd=project).json()
    assert len(answer["dev"]["layers"]["new"]) == 1
    assert answer["train"]["layers"]["new"] == []


def test_secrets_are_left_out_and_told(wardian: Wardian, project: Path, store: Store) -> None:
    (project / "configs" / ".env").write_text("SECRET=1\n")
    (project / "configs" / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    answer = wardian("build", "--json", cwd=project)
    assert "left out of every image: configs/.env, configs/key.pem" in answer.err
    found = names(store, answer.json()["dev"]["digest"])
    assert not [name for name in found if ".env" in name or "key.pem" in name]


def test_a_stale_lock_is_an_error_before_anything(wardian: Wardian, project: Path, store: Store) -> None:
    text = (project / "wardian.toml").read_text().replace('["other"]', '["other", "thing>1"]')
    (project / "wardian.toml").write_text(text)
    said = wardian("build", cwd=project, code=1)
    assert "the lock is stale: dev: requirements changed (+thing>1)" in said.err
    assert "type: wardian lock" in said.err
    assert [entry.reference for entry in store.references()] == [BASE]


def test_a_pylock_changed_by_hand_is_stale(wardian: Wardian, project: Path) -> None:
    path = project / "pylock.train.toml"
    path.write_text(path.read_text() + "\n")
    assert "train: pylock.train.toml" in wardian("build", cwd=project, code=1).err


@pytest.mark.parametrize("tag", ["demo/train:thing1.0-py311", "thing1.0-py311", "docker.io/demo/train:latest"])
def test_a_derived_name_may_be_insisted_on(wardian: Wardian, project: Path, tag: str) -> None:
    wardian("build", "--tag", tag, cwd=project)


@pytest.mark.parametrize("tag", ["demo/train:thing2.0-py311", "thing1.0", "other/train:latest"])
def test_a_typed_name_is_refused(wardian: Wardian, project: Path, store: Store, tag: str) -> None:
    said = wardian("build", "--tag", tag, cwd=project, code=2)
    assert f"--tag {tag}: no image of this build has that name" in said.err
    assert store.resolve("demo/train:latest") is None


def test_a_tag_of_a_distribution_that_is_not_locked_is_refused(wardian: Wardian, project: Path) -> None:
    text = (project / "wardian.toml").read_text().replace("{version:thing}", "{version:torch}")
    (project / "wardian.toml").write_text(text)
    said = wardian("build", cwd=project, code=2).err
    assert "images.train.tags[0]: {version:torch}: the lock has no distribution 'torch' for this image" in said


def test_an_unknown_image_is_named(wardian: Wardian, project: Path) -> None:
    assert "there is no image 'trian'" in wardian("build", "trian", cwd=project, code=2).err


def test_no_cache_makes_the_named_image_again(wardian: Wardian, project: Path) -> None:
    first = wardian("build", "--json", cwd=project).json()
    again = wardian("build", "dev", "--no-cache", "--json", cwd=project).json()
    assert again["dev"]["digest"] == first["dev"]["digest"]
    assert len(again["dev"]["layers"]["new"]) == 3
    assert again["train"]["layers"]["new"] == []


def test_an_archive_is_enough(
    wardian: Wardian, project: Path, links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, elsewhere = tmp_path / "archive", tmp_path / "elsewhere"
    wardian("lock", "--archive", str(archive), cwd=project)
    digest = wardian("build", "dev", "--json", cwd=project).json()["dev"]["digest"]
    for path in links.iterdir():
        path.unlink()
    monkeypatch.setenv("WARDIAN_HOME", str(elsewhere))
    assert wardian("build", "dev", "--from", str(archive), "--json", cwd=project).json()["dev"]["digest"] == digest


def test_an_archive_that_is_not_there_is_named(wardian: Wardian, project: Path) -> None:
    assert "--from nowhere: there is no such folder" in wardian("build", "--from", "nowhere", cwd=project, code=2).err


def test_a_wheel_that_is_not_the_locked_one_is_refused(
    wardian: Wardian, project: Path, links: Path, store: Store
) -> None:
    (links / "thing-1.0-py3-none-any.whl").write_bytes(thing("thing", "1.0") + b"\0")
    said = wardian("build", cwd=project, code=1).err
    assert "is not the locked thing-1.0-py3-none-any.whl" in said
    assert store.resolve("demo/train:latest") is None
    (links / "thing-1.0-py3-none-any.whl").write_bytes(thing("thing", "1.0"))
    wardian("build", cwd=project)


def test_the_time_of_files_can_be_chosen(
    wardian: Wardian, project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = wardian("build", "dev", "--json", cwd=project).json()["dev"]["digest"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    second = wardian("build", "dev", "--json", cwd=project).json()["dev"]["digest"]
    assert first != second
    assert store.config(second)["created"] == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "tomorrow")
    assert "SOURCE_DATE_EPOCH='tomorrow' is not a number" in wardian("build", cwd=project, code=2).err


def test_the_revision_is_in_images_that_hold_files_of_the_project(
    wardian: Wardian, project: Path, store: Store
) -> None:
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(project), *words], check=True)
    answer = wardian("build", "--json", cwd=project).json()
    labels = {name: store.config(answer[name]["digest"])["config"]["Labels"] for name in answer}
    head = subprocess.run(["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert labels["dev"]["org.opencontainers.image.revision"] == head.stdout.strip()
    assert "org.opencontainers.image.revision" not in labels["train"]
    (project / "configs" / "a.toml").write_text("x = 3\n")
    changed = wardian("build", "--json", cwd=project).json()["dev"]["digest"]
    assert (
        store.config(changed)["config"]["Labels"]["org.opencontainers.image.revision"] == f"{head.stdout.strip()}-dirty"
    )


PYPROJECT = """
[build-system]
requires = ["flit_core<4"]
build-backend = "flit_core.buildapi"

[project]
name = "my-project"
version = "0.3"
description = "x"
dependencies = ["thing"]

[project.scripts]
mine = "my_project:main"
"""


def with_code(project: Path, mode: str, *, src: bool) -> None:
    """Give the project code that the dev image holds."""
    package = project / ("src" if src else "") / "my_project"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def main() -> None:\n    print('hello')\n")
    (project / "pyproject.toml").write_text(PYPROJECT)
    text = (project / "wardian.toml").read_text().replace('entrypoint = ["python"]', f'project = "{mode}"')
    (project / "wardian.toml").write_text(text)


@pytest.mark.parametrize("src", [True, False])
def test_an_editable_project_is_a_link_with_its_scripts(
    wardian: Wardian, project: Path, store: Store, *, src: bool
) -> None:
    with_code(project, "editable", src=src)
    wardian("lock", cwd=project)
    digest = wardian("build", "dev", "--json", cwd=project).json()["dev"]["digest"]
    site = "opt/env/lib/python3.11/site-packages"
    with tarfile.open(store.path(store.manifest(digest).layers[-1].digest)) as archive:
        link = archive.extractfile(f"{site}/__editable__.my_project.pth")
        assert link
        assert link.read() == (b"/workspace/src\n" if src else b"/workspace\n")
        assert archive.getmember("opt/env/bin/mine").mode == 0o755
        metadata = archive.extractfile(f"{site}/my_project-0.3.dist-info/METADATA")
        assert metadata
        assert b"Requires-Dist: thing" in metadata.read()


def test_an_editable_project_is_found_where_setuptools_is_told_to_look(
    wardian: Wardian, project: Path, store: Store
) -> None:
    with_code(project, "editable", src=True)
    (project / "pyproject.toml").write_text(PYPROJECT + '[tool.setuptools.packages.find]\nwhere = ["source/robot"]\n')
    wardian("lock", cwd=project)
    digest = wardian("build", "dev", "--json", cwd=project).json()["dev"]["digest"]
    with tarfile.open(store.path(store.manifest(digest).layers[-1].digest)) as archive:
        link = archive.extractfile("opt/env/lib/python3.11/site-packages/__editable__.my_project.pth")
        assert link
        assert link.read() == b"/workspace/source/robot\n"


def test_a_project_without_a_name_is_named(wardian: Wardian, project: Path) -> None:
    with_code(project, "wheel", src=False)
    (project / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
    wardian("lock", cwd=project, code=None)
    assert "has no [project] with a name" in wardian("build", cwd=project, code=2).err


def test_json_of_a_failure_is_json(wardian: Wardian, project: Path) -> None:
    (project / "wardian.lock").unlink()
    said = json.loads(wardian("build", "--json", cwd=project, code=1).err)
    assert said["error"] == "LockStale"


def bring(links: Path, project: Path, wardian: Wardian, **files: dict[str, bytes]) -> None:
    """Have the distributions bring these files as well, and lock them."""
    for name, brought in files.items():
        own = {f"{name}/__init__.py": b""}
        (links / f"{name}-1.0-py3-none-any.whl").write_bytes(wheel(name, "1.0", own | brought))
    wardian("lock", "--upgrade", cwd=project)


def test_files_that_two_wheels_bring_are_told_once_in_the_image_and_its_child(
    wardian: Wardian, project: Path, links: Path
) -> None:
    both = {"tests/__init__.py": b"", "same.py": b"x = 1\n"}
    bring(links, project, wardian, thing=both | {"tests/x.py": b"1"}, other=both | {"tests/x.py": b"2"})
    line = "thing 1.0 and other 1.0 both bring tests/x.py; that of other 1.0 counts"
    built = wardian("build", "--json", cwd=project)
    assert built.json()["dev"]["warnings"] == [line]
    assert built.json()["train"]["warnings"] == []
    assert built.err.count(line) == 1
    (project / "configs" / "a.toml").write_text("x = 2\n")
    again = wardian("build", cwd=project)
    assert f"warning: {line}" in again.err, "an image that is written again says it again, from the store's records"
    assert wardian("build", cwd=project).err == ""


def test_many_such_files_are_counted(wardian: Wardian, project: Path, links: Path) -> None:
    text = (project / "wardian.toml").read_text().replace('["thing"]', '["thing", "other"]')
    (project / "wardian.toml").write_text(text)
    ours, theirs = ({f"cv2/{at}.py": who for at in range(4)} for who in (b"1", b"2"))
    bring(links, project, wardian, thing=ours, other=theirs)
    answer = wardian("build", "train", "--json", cwd=project).json()
    counts = "both bring cv2/0.py and 3 more files; those of thing 1.0 count"
    assert answer["train"]["warnings"] == [f"other 1.0 and thing 1.0 {counts}"]


@pytest.mark.parametrize("large", ["thing", "other"])  # the smaller layer is the one that is read
@pytest.mark.parametrize("one", ["thing", "other"])
def test_a_file_where_another_wheel_has_a_folder_is_refused(
    wardian: Wardian, project: Path, links: Path, one: str, large: str
) -> None:
    two = "other" if one == "thing" else "thing"
    files = {one: {"shared": b"a file"}, two: {"shared/x.py": b""}}
    files[large][f"{large}/data"] = bytes(range(256)) * 100
    bring(links, project, wardian, **files)
    said = wardian("build", cwd=project, code=1).err
    assert f"image dev: {one} 1.0 brings the file shared, where {two} 1.0 has a folder" in said
    assert "demo/dev" not in wardian("images", cwd=project).out
    assert "demo/train" in wardian("images", cwd=project).out
