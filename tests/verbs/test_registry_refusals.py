"""A registry that says no, or breaks off, met by command lines: one line, nothing kept, and the next run works."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from tests.integration.test_registry_faults import BIG, Answer, Fake, blob_of, serve, serving
from wardian.oci.model import Manifest
from wardian.store.store import Store

Wardian = Callable[..., Any]
MANIFEST = "/v2/acme/image/manifests/1"


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving() as running:
        yield running


@pytest.fixture
def image(tmp_path: Path) -> tuple[Store, Manifest, bytes]:
    """The image that the registry has."""
    store = Store(tmp_path / "source")
    found = add_image(store, "made/here:1", [layer({"data": BIG})])
    return store, store.manifest(found.digest), store.read(found.digest)


@pytest.fixture
def project(tmp_path: Path, fake: Fake, image: tuple[Store, Manifest, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that stands on it. Nobody waits between attempts."""
    monkeypatch.setattr("wardian.registry.transport.Transport.pause", lambda *_: None)
    folder = tmp_path / "project"
    folder.mkdir()
    base = serve(fake, image)
    (folder / "wardian.toml").write_text(
        f'[project]\nname = "p"\n[images.train]\nfrom = "{base}"\nenv = {{ A = "1" }}\n'
    )
    return folder


def one_line(said: Any, words: str) -> None:
    first, hint = said.err.splitlines()
    assert first.startswith("wardian: ")
    assert words in first
    assert hint.startswith("  ")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "wants other credentials for acme/image:1"),
        (403, "forbids reading acme/image:1"),
        (404, "has no acme/image:1"),
        (429, "answers 429 for acme/image:1"),
        (500, "answers 500 for acme/image:1"),
        (503, "answers 503 for acme/image:1"),
    ],
)
def test_a_refusal_locks_nothing(project: Path, fake: Fake, wardian: Wardian, status: int, words: str) -> None:
    right = fake.answers[MANIFEST]
    fake.on(MANIFEST, Answer(status, b'{"errors":[{"message":"no"}]}', WWW_Authenticate='Basic realm="acme"'))
    one_line(wardian("lock", cwd=project, code=1), words)
    assert [path.name for path in project.iterdir()] == ["wardian.toml"]
    fake.answers[MANIFEST] = right
    wardian("lock", cwd=project)
    wardian("lock", "--check", cwd=project)


def test_a_layer_that_always_breaks_off_fails_the_build_and_the_next_one_ends_it(
    project: Path, fake: Fake, image: tuple[Store, Manifest, bytes], wardian: Wardian, home: Path
) -> None:
    path, content = blob_of(image)
    fake.on(path, Answer(body=content, sent=1000))
    wardian("lock", cwd=project)
    pinned = MANIFEST.replace("/1", f"/{next(iter(Store(image[0].root).references())).descriptor.digest}")
    fake.answers[pinned] = fake.answers[MANIFEST]
    one_line(wardian("build", cwd=project, code=1), fake.host)
    assert Store(home / "store").references() == []
    fake.on(path, Answer(body=content))
    wardian("build", cwd=project)
    wardian("store", "verify")
