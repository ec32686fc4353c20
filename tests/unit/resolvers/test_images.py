"""Base images: what is taken from the store, what from the registry, and the Python in it."""

from pathlib import Path
from typing import cast

import pytest

from tests.images import add_image, layer
from wardian.errors import Unavailable, WardianError
from wardian.lock.model import Base
from wardian.oci.model import MANIFEST, Descriptor
from wardian.oci.reference import Reference
from wardian.registry.client import Registry
from wardian.resolvers.images import complete, ensure, python_of, resolve
from wardian.store.contents import contents, read
from wardian.store.store import Store

AMD64 = "linux/amd64"
ELSEWHERE = Descriptor(MANIFEST, f"sha256:{7:064x}", 1)


class Fake:
    """A registry that knows one digest and notes what it was asked; what it was not told to do, it refuses."""

    def __init__(self, *, pulls: bool = False) -> None:
        self.asked: list[str] = []
        self.plain: list[str] = []
        self._pulls = pulls

    def with_plain(self, host: str) -> "Fake":
        self.plain.append(host)
        return self

    def resolve(self, reference: Reference, platform: str) -> Descriptor:
        self.asked.append(str(reference))
        assert platform == AMD64
        return ELSEWHERE

    def pull(self, reference: Reference, platform: str, store: Store, progress: object = None) -> Descriptor:
        assert self._pulls, f"nothing was to be pulled: {reference}"
        self.asked.append(str(reference))
        return ELSEWHERE


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def asked(store: Store, reference: str, fake: Fake, **substitutes: str) -> Base:
    return resolve(reference, AMD64, substitutes=substitutes, store=store, registry=cast("Registry", fake))


def test_a_tag_that_was_built_here_is_that_image(store: Store) -> None:
    built = add_image(store, "trainer/base:1", [layer({"a": b"1"})])
    assert asked(store, "trainer/base:1", Fake()) == Base(reference="trainer/base:1", digest=built.digest)


class Silent(Fake):
    """A registry that cannot be reached."""

    def resolve(self, reference: Reference, platform: str) -> Descriptor:
        raise Unavailable(f"the name {reference.registry} cannot be resolved", hint="look at the network")


@pytest.mark.parametrize(
    ("substitutes", "named"),
    [({}, "nvidia/cuda:12"), ({"docker.io/nvidia/*": "lab.example/cuda:12"}, "lab.example/cuda:12")],
)
def test_a_base_that_cannot_be_asked_for_is_named_with_what_may_stand_in(
    store: Store, substitutes: dict[str, str], named: str
) -> None:
    with pytest.raises(Unavailable, match=f"^base {named}: the name .* cannot be resolved$") as silent:
        asked(store, "nvidia/cuda:12", Silent(), **substitutes)
    assert silent.value.hint is not None
    assert silent.value.hint.startswith("look at the network; or let [substitutes] in wardian.local.toml name another")


def test_a_tag_that_was_pulled_may_be_old_and_is_asked_for(store: Store) -> None:
    add_image(store, "docker.io/library/debian:12", [layer({"a": b"1"})], built=False)
    fake = Fake()
    assert asked(store, "debian:12", fake).digest == ELSEWHERE.digest
    assert fake.asked == ["docker.io/library/debian:12"]


def test_a_digest_that_is_here_is_not_asked_for(store: Store) -> None:
    pulled = add_image(store, "docker.io/library/debian:12", [layer({"a": b"1"})], built=False)
    reference = f"debian:12@{pulled.digest}"
    assert asked(store, reference, Fake()) == Base(reference=reference, digest=pulled.digest)


def test_an_image_with_a_layer_missing_is_not_here(store: Store) -> None:
    pulled = add_image(store, "docker.io/library/debian:12", [layer({"a": b"1"})], built=False)
    blob = store.path(store.manifest(pulled.digest).layers[0].digest)
    blob.unlink()
    assert not complete(store, pulled.digest)
    assert not complete(store, ELSEWHERE.digest)
    fake = Fake()
    asked(store, f"debian@{pulled.digest}", fake)
    assert len(fake.asked) == 1


def test_a_substitute_goes_first_and_is_recorded(store: Store) -> None:
    fake = Fake()
    found = asked(store, "debian:12", fake, **{"docker.io/library/*": "mirror.example/hub/*"})
    assert found == Base(reference="debian:12", substitute="mirror.example/hub/debian:12", digest=ELSEWHERE.digest)
    assert fake.asked == ["mirror.example/hub/debian:12"]
    assert fake.plain == []


def test_a_substitute_may_allow_plain_http(store: Store) -> None:
    fake = Fake(pulls=True)
    found = asked(store, "debian:12", fake, **{"debian:12": "http://mirror.example:5000/debian:12"})
    assert fake.plain == ["mirror.example:5000"]
    ensure(found, AMD64, store=store, registry=cast("Registry", fake))
    assert fake.plain == ["mirror.example:5000"] * 2
    assert fake.asked[-1] == f"mirror.example:5000/debian:12@{ELSEWHERE.digest}"


def test_a_bootstrap_is_in_no_registry(store: Store) -> None:
    with pytest.raises(WardianError, match="bootstrapped"):
        asked(store, "cuda:1", Fake(), **{"cuda:1": "bootstrap:debian:bookworm"})


def test_what_is_here_is_not_pulled(store: Store) -> None:
    held = add_image(store, "x/y:1", [layer({"a": b"1"})])
    base = Base(reference="x/y:1", digest=held.digest)
    assert ensure(base, AMD64, store=store, registry=cast("Registry", Fake())).digest == held.digest
    store.path(store.manifest(held.digest).config.digest).unlink()
    fake = Fake(pulls=True)
    ensure(base, AMD64, store=store, registry=cast("Registry", fake))
    assert fake.asked == [f"docker.io/x/y:1@{held.digest}"]


def test_a_base_without_a_digest_needs_a_lock(store: Store) -> None:
    with pytest.raises(WardianError, match="no digest in the lock"):
        ensure(Base(reference="x"), AMD64, store=store, registry=cast("Registry", Fake()))


def test_labels_say_which_python(store: Store) -> None:
    labels = {"dev.wardian.python": "3.12", "dev.wardian.interpreter": "/opt/py/bin/python3.12"}
    image = add_image(store, "x/y:1", [layer({"usr/bin/python3.11": b""})], config={"Labels": labels})
    assert python_of(store, image.digest) == ("3.12", "/opt/py/bin/python3.12")


PATH = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "X"]}


@pytest.mark.parametrize(
    ("layers", "config", "found"),
    [
        ([{"usr/bin/python3.11": b""}], {}, ("3.11", "/usr/bin/python3.11")),
        ([{"usr/bin/python3": b"", "usr/bin/python": b""}], {}, None),
        ([{"usr/bin/python3.9": b"", "usr/bin/python3.11": b""}], {}, ("3.11", "/usr/bin/python3.11")),
        (
            [{"usr/bin/python3.9": b"", "usr/bin/python3.11": b"", "usr/bin/python3": "python3.9"}],
            {},
            ("3.9", "/usr/bin/python3.9"),
        ),
        (
            [{"usr/bin/python3.11": b"", "usr/local/bin/python3.12": b""}],
            PATH,
            ("3.12", "/usr/local/bin/python3.12"),
        ),
        (
            [{"opt/conda/bin/python3.10": b""}],
            {"Env": ["PATH=/opt/conda/bin:/bin"]},
            ("3.10", "/opt/conda/bin/python3.10"),
        ),
        ([{"opt/conda/bin/python3.10": b""}], {}, None),
        ([{"usr/bin/python3.11": b""}, {"usr/bin/.wh.python3.11": b""}], {}, None),
        ([{"usr/bin/python3.11": "/nowhere"}], {}, None),
        ([{"usr/bin/python3.11-config": b"", "usr/bin/python3.11m": b""}], {}, None),
        ([{"bin": "usr/bin", "usr/bin/python3.11": b""}], {"Env": ["PATH=/bin"]}, ("3.11", "/bin/python3.11")),
        ([{"etc/x": b""}], {}, None),
    ],
)
def test_python_is_found_as_a_shell_would(
    store: Store, layers: list[dict[str, bytes | str]], config: dict[str, object], found: tuple[str, str] | None
) -> None:
    image = add_image(store, "x/y:1", [layer(one) for one in layers], config=config)
    assert python_of(store, image.digest) == found


def test_a_file_is_read_as_a_container_sees_it(store: Store) -> None:
    lower = layer({"var/lib/dpkg/status": b"old", "etc/gone": b"x"})
    image = add_image(store, "x/y:1", [lower, layer({"var/lib/dpkg/status": b"new", "etc/.wh.gone": b""})])
    whole = contents(store, image.digest)
    assert read(store, image.digest, whole, "var/lib/dpkg/status") == b"new"
    assert read(store, image.digest, whole, "/etc/gone") is None
