"""`wardian pin` and `wardian outdated`, against a real registry."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Wardian
from tests.images import add_image, layer
from tests.integration.registry import Running, start_registry
from tests.integration.test_push import descriptor
from wardian.hosts.local import LocalHost
from wardian.lock.file import write
from wardian.lock.model import Base, Lock, LockedImage
from wardian.oci.reference import Reference
from wardian.registry.client import open_registry
from wardian.registry.push import Parcel, Pusher
from wardian.store.store import Store

pytestmark = pytest.mark.engine
Push = Callable[..., str]


@pytest.fixture
def registry(tmp_path: Path, need: Callable[..., None]) -> Iterator[Running]:
    need("docker-registry")
    with start_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def push(registry: Running, tmp_path: Path) -> Iterator[Push]:
    """Push an image of some content under tags of ``lab/train``; its digest."""
    store = Store(tmp_path / "source")
    with open_registry({"HOME": str(tmp_path)}, LocalHost().run) as opened:

        def pushed(content: str, *tags: str) -> str:
            found = add_image(store, f"made/{content}:1", [layer({"content": content.encode()})])
            Pusher(opened, store, None).push(Parcel(found, Reference.parse(f"{registry.host}/lab/train"), tags))
            return found.digest

        def index(*contents: str, tag: str) -> str:
            entries = [
                replace(
                    descriptor(store, f"made/{one}:1"), annotations={}, platform={"os": "linux", "architecture": arch}
                )
                for one, arch in zip(contents, ("amd64", "arm64"), strict=True)
            ]
            return (
                Pusher(opened, store, None)
                .push_index(Reference.parse(f"{registry.host}/lab/train:{tag}"), entries)
                .digest
            )

        pushed.index = index  # type: ignore[attr-defined]
        yield pushed


def test_a_dockerfile_is_pinned_and_pinned_again_when_the_tag_moves(
    registry: Running, push: Push, tmp_path: Path, wardian: Wardian
) -> None:
    first, name = push("one", "1"), f"{registry.host}/lab/train:1"
    file = tmp_path / "Dockerfile"
    file.write_bytes(f"# ours\r\nFROM {name} AS a\r\nCOPY --from={name} /x /y\r\nFROM $BASE\r\n".encode())
    file.chmod(0o640)
    assert wardian("pin", "Dockerfile", "--check", cwd=tmp_path, code=1).out.splitlines()[0] == (
        f"Dockerfile:2: {name} is not pinned"
    )
    shown = wardian("pin", "Dockerfile", "--dry-run", cwd=tmp_path)
    assert f"+FROM {name}@{first} AS a" in shown.out
    assert first not in file.read_text()
    said = wardian("pin", "Dockerfile", cwd=tmp_path)
    assert "Dockerfile:4: $BASE is only known when it is used: not pinned" in said.err
    wanted = f"# ours\r\nFROM {name}@{first} AS a\r\nCOPY --from={name}@{first} /x /y\r\nFROM $BASE\r\n"
    assert file.read_bytes().decode() == wanted
    assert file.stat().st_mode & 0o777 == 0o640
    before = file.stat()
    wardian("pin", "Dockerfile", cwd=tmp_path)
    assert file.stat().st_ino == before.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dockerfile", "registry", "source"]
    second = push("two", "1")
    assert "is pinned to an older digest" in wardian("pin", "Dockerfile", name, "--check", cwd=tmp_path, code=1).out
    states = wardian("pin", "Dockerfile", name, "--json", cwd=tmp_path).json()
    assert [one["state"] for one in states["places"]] == ["old", "old"]
    assert states["written"]
    assert file.read_bytes().decode() == wanted.replace(first, second)
    wardian("pin", "Dockerfile", name, "--check", cwd=tmp_path)
    refused = wardian("pin", "Dockerfile", "--check", cwd=tmp_path, code=1)
    assert "$BASE is a variable" in refused.out


def test_a_reference_with_a_tag_moves_the_file_to_it(
    registry: Running, push: Push, tmp_path: Path, wardian: Wardian
) -> None:
    push("one", "1")
    second, name = push("two", "2"), f"{registry.host}/lab/train"
    text = "services:\n  a:\n    image: 'NAME'  # old\n  b: {image: 'other:1'}\n"
    (tmp_path / "compose.yaml").write_text(text.replace("NAME", f"{name}:1"))
    wardian("pin", "compose.yaml", f"{name}:2", cwd=tmp_path)
    assert (tmp_path / "compose.yaml").read_text() == text.replace("NAME", f"{name}:2@{second}")


def test_what_an_index_names_is_pinned_as_a_whole(
    registry: Running, push: Push, tmp_path: Path, wardian: Wardian
) -> None:
    push("one"), push("two")
    digest = push.index("one", "two", tag="both")  # type: ignore[attr-defined]
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(f"test:\n  image: {registry.host}/lab/train:both\n")
    wardian("pin", str(file), cwd=tmp_path)
    assert file.read_text() == f"test:\n  image: {registry.host}/lab/train:both@{digest}\n"


def test_a_project_and_a_link_to_its_file(registry: Running, push: Push, tmp_path: Path, wardian: Wardian) -> None:
    digest, name = push("one", "1"), f"{registry.host}/lab/train:1"
    (tmp_path / "real.toml").write_text(f'[project]\nname = "p"\n[images.a]\nfrom = "{name}"  # base\n')
    (tmp_path / "wardian.toml").symlink_to("real.toml")
    wardian("pin", "wardian.toml", cwd=tmp_path)
    assert (tmp_path / "wardian.toml").is_symlink()
    assert (tmp_path / "real.toml").read_text() == (
        f'[project]\nname = "p"\n[images.a]\nfrom = "{name}@{digest}"  # base\n'
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes files that others own")
def test_a_file_keeps_its_owner(registry: Running, push: Push, tmp_path: Path, wardian: Wardian) -> None:
    push("one", "1")
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM {registry.host}/lab/train:1\n")
    os.chown(file, 1234, 1235)
    wardian("pin", "Dockerfile", cwd=tmp_path)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1235)


@pytest.mark.parametrize(
    ("name", "text", "words", "code", "said"),
    [
        ("readme.md", "x", (), 1, "no file that images are used in"),
        ("compose.yaml", "a: [", (), 1, "compose.yaml: not YAML"),
        ("Dockerfile", "FROM debian\n", ("ghcr.io/x/y",), 1, "Dockerfile does not use ghcr.io/x/y"),
        ("Dockerfile", "FROM HOST/lab/absent:1\n", (), 1, "has no lab/absent:1"),
        ("Dockerfile", 'FROM "quoted"\n', (), 1, "is not an image reference"),
        ("absent", None, (), 2, "there is no file"),
    ],
)
def test_what_cannot_be_pinned_is_one_line(  # noqa: PLR0917 - a table and its fixtures
    registry: Running,
    tmp_path: Path,
    wardian: Wardian,
    name: str,
    text: str | None,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text.replace("HOST", registry.host))
    refused = wardian("pin", name, *words, cwd=tmp_path, code=code)
    assert said in refused.err.splitlines()[0]
    if text is not None:
        assert (tmp_path / name).read_text() == text.replace("HOST", registry.host)


def project(folder: Path, base: str, digest: str | None, reference: str | None = None) -> Path:
    """A project whose image stands on ``base``, locked to a digest."""
    folder.mkdir()
    (folder / "wardian.toml").write_text(f'[project]\nname = "p"\n[images.train]\nfrom = "{base}"\n')
    locked = LockedImage(inputs="0" * 64, base=Base(reference=reference or base, digest=digest))
    (folder / "wardian.lock").write_text(write(Lock(images={"train": locked})))
    return folder


def test_a_tag_that_moved_and_a_newer_tag_are_said(
    registry: Running, push: Push, tmp_path: Path, wardian: Wardian
) -> None:
    first, name = push("one", "1.2", "latest"), f"{registry.host}/lab/train"
    here = project(tmp_path / "here", f"{name}:1.2", first)
    assert "as it is" in wardian("outdated", "--exit-code", cwd=here).out
    second = push("two", "1.2")
    push("three", "1.3", "1.10", "1.4-rc")
    said = wardian("outdated", cwd=here).out
    assert f"the tag moved; there is {name}:1.10 (and 1 between)" in said
    [found] = wardian("outdated", "--exit-code", "--json", cwd=here, code=1).json()
    assert found == {
        "image": "train",
        "reference": f"{name}:1.2",
        "digest": first,
        "now": second,
        "moved": True,
        "newer": ["1.3", "1.10"],
    }


def test_a_pinned_reference_is_compared_as_it_is_pinned(
    registry: Running, push: Push, tmp_path: Path, wardian: Wardian
) -> None:
    one = push("one")
    push("two")
    digest = push.index("one", "two", tag="both")  # type: ignore[attr-defined]
    name = f"{registry.host}/lab/train:both"
    here = project(tmp_path / "here", f"{name}@{digest}", one)
    [found] = wardian("outdated", "--exit-code", "--json", cwd=here).json()
    assert (found["reference"], found["digest"], found["moved"]) == (name, digest, False)
    push("three", "both")
    assert "the tag moved" in wardian("outdated", "--exit-code", cwd=here, code=1).out


def test_a_base_that_is_not_locked_is_not_taken_for_none(tmp_path: Path, wardian: Wardian) -> None:
    here = project(tmp_path / "here", "ghcr.io/acme/base:1", None)
    (here / "wardian.lock").unlink()
    said = wardian("outdated", "--exit-code", cwd=here, code=1)
    assert (said.out, said.err) == ("", "wardian: the lock is stale: train is not locked yet\n  type: wardian lock\n")


def test_a_project_of_debian_packages_has_no_base(tmp_path: Path, wardian: Wardian) -> None:
    here = project(tmp_path / "here", "bootstrap:debian:bookworm", None)
    assert wardian("outdated", cwd=here).out == "no image stands on one of a registry\n"
