"""`wardian push`, as a command line against a real registry."""

import base64
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Wardian
from tests.images import add_image, layer
from tests.integration.registry import PASSWORD, Running, start_registry
from tests.verbs.running import LOCKED, make_project
from wardian.hosts.local import LocalHost
from wardian.oci.reference import Reference
from wardian.plan.labels import OURS, lock_digest
from wardian.registry.client import open_registry
from wardian.store.store import Store

pytestmark = pytest.mark.engine


@pytest.fixture
def registry(tmp_path: Path, need: Callable[..., None]) -> Iterator[Running]:
    need("docker-registry")
    with start_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def store(home: Path) -> Store:
    """This test's store with ``train`` under two tags, as the project built it."""
    store = Store(home / "store")
    labels = {f"{OURS}lock": lock_digest(LOCKED), f"{OURS}image": "train"}
    add_image(store, "demo/train:latest", [layer({"tool": b"x" * 9000})], config={"Labels": labels})
    found = store.resolve("demo/train:latest")
    assert found
    store.tag("demo/train:2026", found)
    return store


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project", images='\n[images.other]\nfrom = "@train"\n')


def test_what_is_built_goes_under_every_tag(project: Path, store: Store, registry: Running, wardian: Wardian) -> None:
    said = wardian("push", "--to", f"{registry.host}/lab", "--json", cwd=project)
    assert "left out: image other is not built" in said.err
    found = said.json()
    assert list(found) == ["train"]
    image = found["train"]
    assert image["reference"] in {f"{registry.host}/lab/train:{tag}" for tag in ("latest", "2026")}
    assert image["tags"] == {"latest": "new", "2026": "new"}
    assert image["sent"] > 0
    assert image["mounted"] == image["present"] == 0
    again = wardian("push", "--to", f"{registry.host}/lab", "--json", cwd=project).json()["train"]
    assert again["tags"] == {"latest": "present", "2026": "present"}
    assert (again["sent"], again["present"]) == (0, image["sent"])


def test_the_project_says_where_to(project: Path, store: Store, registry: Running, wardian: Wardian) -> None:
    place = f"{registry.host}/acme"
    image = store.resolve("demo/train:latest")
    assert image
    store.tag(f"{place}/train:latest", image)
    said = wardian("push", "train", "--set", f"project.registry={place}", cwd=project)
    assert "IMAGE  REFERENCE" in said.out
    assert f"{place}/train:latest" in said.out
    assert "pushing 127.0.0.1" in said.err
    assert "/s" in said.err


def test_nowhere_is_no_place(project: Path, store: Store, wardian: Wardian) -> None:
    said = wardian("push", "train", cwd=project, code=2)
    assert said.err == "wardian: push where?\n  set [project].registry, or type --to HOST/PATH\n"


def test_a_dry_run_sends_nothing(project: Path, store: Store, registry: Running, wardian: Wardian) -> None:
    said = wardian("push", "train", "--to", f"{registry.host}/lab", "--dry-run", cwd=project)
    assert "WOULD SEND" in said.out
    planned = wardian("push", "train", "--to", f"{registry.host}/lab", "--dry-run", "--json", cwd=project).json()
    assert not (registry.folder / "data" / "docker" / "registry" / "v2" / "repositories").exists()
    sent = wardian("push", "train", "--to", f"{registry.host}/lab", "--json", cwd=project).json()
    assert planned["train"] == {**sent["train"], "dry_run": True}


def test_one_image_under_another_name(project: Path, store: Store, registry: Running, wardian: Wardian) -> None:
    said = wardian("push", "train", "--to", f"{registry.host}/lab/mine:7", "--json", cwd=project).json()
    assert said["train"]["reference"] == f"{registry.host}/lab/mine:7"
    assert said["train"]["tags"] == {"7": "new"}


def test_one_name_is_for_one_image(project: Path, store: Store, registry: Running, wardian: Wardian) -> None:
    add_image(store, "other/thing:1", [layer({"a": b"b"})])
    said = wardian("push", "train", "other/thing:1", "--to", f"{registry.host}/lab/mine:7", cwd=project, code=2)
    assert "is one name and there are 2 images" in said.err


def test_an_image_of_the_store_goes_without_a_project(
    tmp_path: Path, store: Store, registry: Running, wardian: Wardian
) -> None:
    name = f"{registry.host}/kept/thing:1"
    add_image(store, name, [layer({"a": b"b"})])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert wardian("push", name, "--json", cwd=empty).json()[name]["reference"] == name
    assert "push what?" in wardian("push", cwd=empty, code=2).err
    assert "push where?" in wardian("push", "demo/train:latest", cwd=empty, code=2).err


def test_an_index_over_two_platforms(project: Path, store: Store, registry: Running, wardian: Wardian) -> None:
    add_image(store, "arm/train:1", [layer({"arm": b"arm"})], architecture="arm64")
    place = f"{registry.host}/lab"
    said = wardian("push", "train", "arm/train:1", "--to", place, "--index", "both:1", "--json", cwd=project).json()
    assert said["both:1"]["reference"] == f"{place}/both:1"
    assert said["both:1"]["mounted"] == said["train"]["sent"] + said["arm/train:1"]["sent"]
    assert said["both:1"]["sent"] == 0
    refused = wardian("push", "train", "--to", place, "--index", "train:2026", cwd=project, code=2)
    assert "train has that name itself" in refused.err
    fresh = f"{registry.host}/fresh"
    twice = wardian("push", "train", "demo/train:2026", "--to", fresh, "--index", "both:2", cwd=project, code=2)
    assert "two images are for the same platform" in twice.err
    there = wardian("registry", "ls", registry.host, "--json", cwd=project).json()
    assert [name for name in there if "/fresh/" in name] == [], "it is looked at before anything is sent"


def test_a_tag_that_moves_is_said(project: Path, store: Store, registry: Running, wardian: Wardian) -> None:
    other = add_image(store, "other/thing:1", [layer({"a": b"b"})])
    wardian("push", "other/thing:1", "--to", f"{registry.host}/lab/train:latest", cwd=project)
    said = wardian("push", "train", "--to", f"{registry.host}/lab", cwd=project)
    assert f"latest (was {other.digest[:19]})" in said.out


def test_what_is_said_of_requests_holds_no_secret(  # noqa: PLR0917 - fixtures
    tmp_path: Path,
    project: Path,
    store: Store,
    need: Callable[..., None],
    wardian: Wardian,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need("docker-registry", "htpasswd")
    with start_registry(tmp_path / "closed", auth="basic") as running:
        monkeypatch.setenv("DOCKER_CONFIG", str(running.docker_config(tmp_path / "docker")))
        said = wardian("push", "train", "--to", f"{running.host}/lab", "--verbose", cwd=project)
        assert f"PUT http://{running.host}/v2/lab/train/manifests/latest → 201" in said.err
        encoded = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
        for secret in (PASSWORD, encoded, "_state="):
            assert secret not in said.err + said.out
        monkeypatch.setenv(
            "DOCKER_CONFIG", str(running.docker_config(tmp_path / "docker", password="wrong-" + PASSWORD))
        )
        refused = wardian("push", "train", "--to", f"{running.host}/else", "--verbose", cwd=project, code=1)
        assert "wants other credentials for" in refused.err
        assert f"type: docker login {running.host}" in refused.err
        assert PASSWORD not in refused.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing",), 1, "there is no image 'nothing'"),
        (("train", "--to", "@x"), 2, "no place to push to"),
        (("train", "--to", "UPPER//x"), 1, "not an image reference"),
        (("train", "--index", "x:1"), 2, "where?"),
    ],
)
def test_a_wrong_word_is_one_line(  # noqa: PLR0917 - a table and its fixtures
    project: Path, store: Store, wardian: Wardian, words: tuple[str, ...], code: int, said: str
) -> None:
    refused = wardian("push", *words, cwd=project, code=code)
    assert said in refused.err.splitlines()[0]
    assert len(refused.err.splitlines()) <= 2


def test_nobody_there_is_one_line(project: Path, store: Store, wardian: Wardian) -> None:
    with socket.socket() as silent:  # bound, and nobody listens
        silent.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        refused = wardian("push", "train", "--to", f"{host}/lab", cwd=project, code=1)
    first, hint = refused.err.splitlines()
    assert f"{host} cannot be reached" in first
    assert hint.startswith("  look at")


# ── build --push ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def plain_project(tmp_path: Path, store: Store, wardian: Wardian) -> Path:
    """A project that stands on an image of the store: no engine and no network is needed to build it."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)\n")
    add_image(store, "base/base:latest", [layer({"tool": b"x" * 9000})])
    (folder / "wardian.toml").write_text(
        '[project]\nname = "lab"\n[images.train]\nfrom = "base/base:latest"\n'
        'copy = [{ source = "train.py", target = "/train.py" }]\n[images.dev]\nfrom = "@train"\nenv = { A = "1" }\n'
    )
    return folder


def registered(project: Path, place: str) -> None:
    file = project / "wardian.toml"
    file.write_text(file.read_text().replace('name = "lab"\n', f'name = "lab"\nregistry = "{place}"\n'))


def test_what_was_built_is_pushed(plain_project: Path, registry: Running, wardian: Wardian) -> None:
    registered(plain_project, f"{registry.host}/lab")
    wardian("lock", cwd=plain_project)
    built = wardian("build", "--push", "--json", cwd=plain_project).json()
    assert set(built) == {"train", "dev"}
    for name in ("train", "dev"):
        assert built[name]["pushed"]["digest"] == built[name]["digest"]
        assert built[name]["pushed"]["tags"] == {"latest": "new"}
    again = wardian("build", "--push", cwd=plain_project).out
    assert f"pushed {registry.host}/lab/train:latest: 0 B sent; latest (as it was)" in again
    (plain_project / "train.py").write_text("print(2)\n")
    only = wardian("build", "train", "--push", "--json", cwd=plain_project).json()
    assert only["train"]["pushed"]["tags"] == {"latest": built["train"]["digest"]}
    assert "dev" not in only
    image = Reference.parse(f"{registry.host}/lab/train:latest")
    with open_registry({}, LocalHost().run) as client:
        assert client.manifest(image)[0].digest == only["train"]["digest"]


def test_a_push_to_nowhere_fails_before_the_build(plain_project: Path, store: Store, wardian: Wardian) -> None:
    wardian("lock", cwd=plain_project)
    said = wardian("build", "--push", cwd=plain_project, code=2)
    assert said.err == "wardian: --push where?\n  set [project].registry, or type: wardian push --to HOST/PATH\n"
    assert store.resolve("lab/train:latest") is None


def test_what_was_built_is_told_when_the_push_fails(plain_project: Path, store: Store, wardian: Wardian) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens there
        place = f"127.0.0.1:{held.getsockname()[1]}/lab"
        registered(plain_project, place)
        wardian("lock", cwd=plain_project)
        said = wardian("build", "--push", cwd=plain_project, code=1)
    assert said.out == ""
    assert f"{place}/train:latest\n  sha256:" in said.err
    assert "wardian: 127.0.0.1" in said.err
    assert store.resolve(f"{place}/train:latest")
