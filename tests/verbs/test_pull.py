"""`wardian pull`, as a command line against a real registry."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Wardian
from tests.images import add_image, layer
from tests.integration.registry import Running, start_registry
from tests.verbs.running import make_project
from wardian.lock.file import write
from wardian.lock.model import Base, Lock, LockedImage
from wardian.oci.model import Descriptor
from wardian.store.store import Store

pytestmark = pytest.mark.engine


@pytest.fixture
def registry(tmp_path: Path, need: Callable[..., None]) -> Iterator[Running]:
    need("docker-registry")
    with start_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def pushed(registry: Running, tmp_path: Path, wardian: Wardian, monkeypatch: pytest.MonkeyPatch) -> Descriptor:
    """An image that the registry has as ``lab/train:latest`` and ``lab/train:2026``, and this test's store has not."""
    with monkeypatch.context() as other:
        other.setenv("WARDIAN_HOME", str(tmp_path / "elsewhere"))
        image = add_image(Store(tmp_path / "elsewhere"), "x/train:1", [layer({"tool": b"x" * 9000})])
        for tag in ("latest", "2026"):
            wardian("push", "x/train:1", "--to", f"{registry.host}/lab/train:{tag}", cwd=tmp_path)
    return image


def test_a_reference_comes_under_its_name(
    registry: Running, pushed: Descriptor, home: Path, tmp_path: Path, wardian: Wardian
) -> None:
    name = f"{registry.host}/lab/train:2026"
    said = wardian("pull", name, "--json", cwd=tmp_path)
    assert [(one["reference"], one["digest"]) for one in said.json()] == [(name, pushed.digest)]
    found = Store(home / "store").resolve(name)
    assert found
    assert found.digest == pushed.digest
    again = wardian("pull", name, cwd=tmp_path)
    assert "pulling" not in again.err
    assert pushed.digest[:19] in again.out


@pytest.mark.parametrize("verb", ["pull", "pin"])
def test_a_name_that_is_known_here_alone_is_said_to_be_so(
    registry: Running, home: Path, tmp_path: Path, wardian: Wardian, verb: str
) -> None:
    name = f"{registry.host}/lab/train:1"
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\n")
    words = ("pull", name) if verb == "pull" else ("pin", "Dockerfile")
    assert "was built here" not in wardian(*words, cwd=tmp_path, code=1).err
    store = Store(home / "store")
    image = add_image(store, name, [layer({"tool": b"x"})])
    store.tag(name, image, {"dev.wardian.built": "true"})
    lines = wardian(*words, cwd=tmp_path, code=1).err.splitlines()
    assert lines[-2].startswith(f"wardian: {name} is an image that was built here, and no registry gives it: ")
    assert lines[-1].startswith(f"  type: wardian push {name} --to ")


def test_an_image_of_the_project_comes_under_each_tag(
    registry: Running, pushed: Descriptor, home: Path, tmp_path: Path, wardian: Wardian
) -> None:
    project = make_project(tmp_path / "project", images='tags = ["latest", "2026"]\n')
    locked = LockedImage(inputs="0" * 64, base=Base(reference="bootstrap:debian:bookworm"))
    (project / "wardian.lock").write_text(write(Lock(images={"train": locked})))
    place = f"{registry.host}/lab"
    wardian("pull", "train", "--set", f"project.registry={place}", cwd=project)
    names = [entry.reference for entry in Store(home / "store").references()]
    assert names == [f"{place}/train:2026", f"{place}/train:latest"]
    refused = wardian("pull", "train", cwd=project, code=2)
    assert refused.err.splitlines() == [
        "wardian: pull train from where?",
        "  set [project].registry, or type the whole reference",
    ]


def test_a_pulled_image_takes_the_name_of_one_that_was_built(
    registry: Running, pushed: Descriptor, home: Path, tmp_path: Path, wardian: Wardian
) -> None:
    store, name = Store(home / "store"), f"{registry.host}/lab/train:latest"
    add_image(store, name, [layer({"own": b"own"})])
    wardian("pull", name, cwd=tmp_path)
    found = store.resolve(name)
    assert found
    assert found.digest == pushed.digest


def test_a_substitute_is_asked_instead(
    registry: Running, pushed: Descriptor, home: Path, tmp_path: Path, wardian: Wardian
) -> None:
    project = make_project(tmp_path / "project")
    with (project / "wardian.toml").open("a") as file:
        file.write(f'\n[substitutes]\n"ghcr.io/acme/*" = "{registry.host}/lab/*"\n')
    wardian("pull", "ghcr.io/acme/train:2026", cwd=project)
    found = Store(home / "store").resolve("ghcr.io/acme/train:2026")
    assert found
    assert found.digest == pushed.digest


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("lab/train:absent",), 1, "has no lab/train:absent"),
        (("lab/train:latest", "--platform", "linux/arm64"), 1, "is not there for linux/arm64; it offers linux/amd64"),
    ],
)
def test_what_is_not_there_is_one_line(  # noqa: PLR0917 - a table and its fixtures
    registry: Running,
    pushed: Descriptor,
    tmp_path: Path,
    wardian: Wardian,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    refused = wardian("pull", f"{registry.host}/{words[0]}", *words[1:], cwd=tmp_path, code=code)
    assert said in refused.err.splitlines()[0]
