"""An image brought to an engine: which words it hears, and that nothing is believed that was not asked for."""

import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.images import add_image, layer
from wardian.command import Command, Result
from wardian.errors import DigestMismatch, EngineFailed, Unavailable
from wardian.runtimes import loading
from wardian.runtimes.base import Loaded, Place
from wardian.runtimes.docker import Docker
from wardian.runtimes.podman import Podman
from wardian.store.store import Store


class Daemon:
    """An engine that answers as it is told to, verb by verb, and is asked nothing else."""

    def __init__(self, *answers: tuple[str, int, str]) -> None:
        self.answers = list(answers)
        self.heard: list[tuple[str, ...]] = []
        self.fed = b""

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        verb, code, said = self.answers.pop(0)
        self.heard.append(command.argv)
        assert verb in command.argv[1:3], command.argv
        return Result(command, code, said.encode(), said.encode())

    def feed(self, command: Command, write: Callable[[BinaryIO], None]) -> Result:
        out = BytesIO()
        write(out)
        self.fed = out.getvalue()
        return self.run(command)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> str:
    digest = add_image(store, "demo/train:latest", [layer({"a": b"x" * 100})]).digest
    store.tag("docker.io/library/other:2", store.resolve(digest))  # type: ignore[arg-type]
    return digest


def bring(engine: Any, store: Store, image: str, *answers: tuple[str, int, str]) -> tuple[Loaded, Daemon]:
    daemon = Daemon(*answers)
    loaded = loading.load(engine, image, Place(daemon, store))  # type: ignore[arg-type]
    assert daemon.answers == []
    return loaded, daemon


def ids(store: Store, image: str) -> tuple[str, str]:
    return store.manifest(image).config.digest, image


DOCKER = Docker("unix:///run/docker.sock")
FAR = Docker("ssh://elsewhere")


def test_what_is_there_is_not_moved(store: Store, image: str) -> None:
    config, _ = ids(store, image)
    loaded, daemon = bring(DOCKER, store, image, ("inspect", 0, f"{config}\n"))
    assert loaded == Loaded(config)
    assert daemon.heard == [("docker", "image", "inspect", "--format", "{{.Id}}", config, image)]


def test_an_engine_that_keeps_manifests_knows_it_by_its_own_digest(store: Store, image: str) -> None:
    answer = f"{image}\nError: No such image: {ids(store, image)[0]}"
    assert bring(DOCKER, store, image, ("inspect", 1, answer))[0].id == image


def test_it_is_pulled_named_and_known_again(store: Store, image: str) -> None:
    config, _ = ids(store, image)
    loaded, daemon = bring(
        DOCKER,
        store,
        image,
        ("inspect", 1, "Error: No such image: x"),
        ("pull", 0, ""),
        ("inspect", 0, config),
        ("tag", 0, ""),
        ("tag", 0, ""),
        ("rmi", 0, ""),
    )
    assert (loaded.id, loaded.how) == (config, "pulled")
    assert loaded.names == ("demo/train:latest", "other:2")
    assert [words[1:] for words in daemon.heard if words[1] == "tag"] == [
        ("tag", config, "demo/train:latest"),
        ("tag", config, "other:2"),
    ]
    pulled = daemon.heard[1][-1]
    assert pulled.startswith("127.0.0.1:")
    assert pulled.endswith(f"@{image}")
    assert daemon.heard[-1] == ("docker", "rmi", pulled), "the name of a moment goes after the others are there"


@pytest.mark.parametrize("said", ["dial tcp 127.0.0.1:1: connect: connection refused", "i/o timeout"])
def test_an_engine_that_cannot_reach_us_gets_an_archive(store: Store, image: str, said: str) -> None:
    config, _ = ids(store, image)
    loaded, daemon = bring(
        DOCKER,
        store,
        image,
        ("inspect", 1, "Error: No such image: x"),
        ("pull", 1, said),
        ("load", 0, ""),
        ("inspect", 0, config),
        ("tag", 0, ""),
        ("tag", 0, ""),
    )
    assert loaded.how == "archive"
    with tarfile.open(fileobj=BytesIO(daemon.fed)) as archive:
        assert f"blobs/sha256/{config[7:]}" in archive.getnames()


def test_an_engine_on_another_machine_is_not_even_asked_to_pull(store: Store, image: str) -> None:
    config, _ = ids(store, image)
    answers = (("inspect", 1, "No such image"), ("load", 0, ""), ("inspect", 0, config), ("tag", 0, ""), ("tag", 0, ""))
    assert bring(FAR, store, image, *answers)[0].how == "archive"


def test_another_failure_of_a_pull_is_the_engines(store: Store, image: str) -> None:
    with pytest.raises(EngineFailed, match="docker: no space left on device"):
        bring(DOCKER, store, image, ("inspect", 1, "No such image"), ("pull", 1, "no space left on device"))


def test_an_archive_that_is_not_taken_is_no_success(store: Store, image: str) -> None:
    with pytest.raises(EngineFailed, match="docker: it said nothing"):
        bring(FAR, store, image, ("inspect", 1, "No such image"), ("load", 1, ""))


def test_an_engine_that_has_something_else_then_is_not_believed(store: Store, image: str) -> None:
    answers = (("inspect", 1, "No such image"), ("pull", 0, ""), ("inspect", 0, f"sha256:{'f' * 64}"))
    with pytest.raises(DigestMismatch, match="docker has another image now"):
        bring(DOCKER, store, image, *answers)


def test_a_name_that_cannot_be_given_is_said(store: Store, image: str) -> None:
    answers = (("inspect", 1, "No such image"), ("pull", 0, ""), ("inspect", 0, image), ("tag", 1, "Error: locked"))
    with pytest.raises(EngineFailed, match="locked"):
        bring(DOCKER, store, image, *answers)


def test_podman_knows_an_image_by_its_config_alone(store: Store, image: str) -> None:
    config, _ = ids(store, image)
    podman = Podman(rootless=True, umask=0o022)
    loaded, daemon = bring(podman, store, image, ("exists", 0, ""))
    assert loaded.id == config[7:]
    assert daemon.heard == [("podman", "image", "exists", config[7:])]
    with pytest.raises(EngineFailed, match="podman: storage is broken"):
        bring(podman, store, image, ("exists", 125, "Error: storage is broken"))


def test_an_image_without_a_name_gets_one_of_its_digest(store: Store, image: str) -> None:
    daemon = Daemon()
    for name in ("demo/train:latest", "docker.io/library/other:2"):
        store.untag(name)
    assert loading.names(Place(daemon, store), image) == (f"wardian:{image[7:19]}",)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "package"), [("docker", "docker.io"), ("podman", "podman")])
def test_a_client_that_is_not_there_is_named_with_its_package(
    store: Store, image: str, name: str, package: str
) -> None:
    class Nothing(Daemon):
        def run(self, command: Command, *, timeout: float | None = None) -> Result:
            raise Unavailable(f"{command.argv[0]} is not on this machine")

    engine = DOCKER if name == "docker" else Podman(rootless=False, umask=0)
    with pytest.raises(EngineFailed, match=f"{name} is not on this machine") as raised:
        loading.has(engine, image, Place(Nothing(), store))  # type: ignore[arg-type]
    assert raised.value.hint == f"type: sudo apt-get install {package}, or use --engine sandbox"
