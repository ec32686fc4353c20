"""`wardian registry`, against a real registry: what is listed, what goes, and that all that was to stay is pulled."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Wardian
from tests.images import add_image, layer
from tests.integration.meddler import Meddler, meddling
from tests.integration.registry import Running, start_registry
from tests.integration.test_push import add_sbom, descriptor
from tests.verbs.running import make_project
from wardian.hosts.local import LocalHost
from wardian.oci.model import MANIFEST
from wardian.oci.reference import Reference
from wardian.registry.client import Registry, open_registry
from wardian.registry.push import Parcel, Pusher
from wardian.store.store import Store

pytestmark = pytest.mark.engine
AMD64 = "linux/amd64"


@pytest.fixture
def registry(tmp_path: Path, need: Callable[..., None]) -> Iterator[Running]:
    need("docker-registry")
    with start_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Registry]:
    with open_registry({"HOME": str(tmp_path)}, LocalHost().run) as opened:
        yield opened


@pytest.fixture
def source(tmp_path: Path) -> Store:
    return Store(tmp_path / "source")


def fill(client: Registry, source: Store, place: str) -> dict[str, str]:
    """Nightlies, stables, an index and SBOMs; tag → digest."""
    pusher, named = Pusher(client, source, None), {}
    shared = layer({"usr/": None, "usr/shared": b"s" * 5000})
    for day in range(5):
        add_image(source, f"made/n:{day}", [shared, layer({"day": str(day).encode()})])
        add_sbom(source, descriptor(source, f"made/n:{day}"))
        tags = (f"nightly-2026112{day}", *(("nightly-latest",) if day == 4 else ()), *(("paper",) if day == 0 else ()))
        done = pusher.push(Parcel(descriptor(source, f"made/n:{day}"), Reference.parse(place), tags))
        named.update(dict.fromkeys(tags, done.digest))
    arm = add_image(source, "made/arm:1", [layer({"arm": b"arm"})], architecture="arm64")
    pusher.push(Parcel(arm, Reference.parse(place)))
    entries = [
        replace(found, annotations={}, platform={"os": "linux", "architecture": architecture})
        for found, architecture in ((descriptor(source, "made/n:1"), "amd64"), (arm, "arm64"))
    ]
    named["release"] = pusher.push_index(Reference.parse(f"{place}:release"), entries).digest
    return named


def status(registry: Running, method: str, path: str) -> int:
    """What the registry answers, asked without our client."""
    with closing(http.client.HTTPConnection(registry.host)) as connection:
        connection.request(method, f"/v2/lab/train/manifests/{path}", headers={"Accept": MANIFEST})
        return connection.getresponse().status


def test_old_nightlies_go_and_everything_else_is_pulled(
    registry: Running, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    place = f"{registry.host}/lab/train"
    named = fill(client, source, place)
    words = ("registry", "prune", place, "--keep", "nightly-*=2")
    shown = wardian(*words, cwd=tmp_path)
    assert "to delete, add --yes" in shown.out
    assert f"stays    {place}:nightly-20261120, though too old: paper is the same image" in shown.out
    assert f"stays    {place}:nightly-20261121, though too old: release needs it" in shown.out
    plan = wardian(*words, "--json", cwd=tmp_path).json()[place]
    assert plan["manifests"][0]["tags"] == ["nightly-20261122"]
    assert len(plan["manifests"]) == 3  # the image, the list of what speaks of it, its SBOM
    assert not plan["deleted"]
    assert {tag: plan["kept"][tag] for tag in named if tag in plan["kept"]} == {
        tag: digest for tag, digest in named.items() if tag != "nightly-20261122"
    }
    done = wardian(*words, "--yes", cwd=tmp_path)
    assert "deleted 3 manifests; all 7 tags that stay are there" in done.out
    back = Store(tmp_path / "back")
    for tag, digest in named.items():
        if tag == "nightly-20261122":
            assert status(registry, "HEAD", f"{tag}") == 404
            assert status(registry, "HEAD", f"{digest}") == 404
        elif tag == "release":
            for platform in (AMD64, "linux/arm64"):
                client.pull(Reference.parse(f"{place}:release"), platform, back)
        else:
            assert client.pull(Reference.parse(f"{place}:{tag}"), AMD64, back).digest == digest
    sboms = [
        entry.digest for day in (0, 1, 3, 4) for entry in source.referrers(descriptor(source, f"made/n:{day}").digest)
    ]
    for digest in sboms:
        client.manifest(Reference.parse(place).at(digest))
    assert "0 manifests to delete" in wardian(*words, cwd=tmp_path).out


def test_an_index_that_goes_takes_what_only_it_lists(
    registry: Running, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    place = f"{registry.host}/lab/train"
    named = fill(client, source, place)
    wardian("registry", "prune", place, "--keep", "release=0", "--yes", cwd=tmp_path)
    assert status(registry, "HEAD", f"{descriptor(source, 'made/arm:1').digest}") == 404
    assert (
        client.pull(Reference.parse(f"{place}:nightly-20261121"), AMD64, Store(tmp_path / "b")).digest
        == (named["nightly-20261121"])
    )


def test_the_project_says_what_to_keep(
    registry: Running, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    place = f"{registry.host}/lab"
    fill(client, source, f"{place}/train")
    project = make_project(tmp_path / "project", images='\n[images.other]\nfrom = "@train"\n')
    with (project / "wardian.toml").open("a") as file:
        file.write('\n[ci]\nretention = { "nightly-*" = 4 }\n')
    said = wardian("registry", "prune", "--set", f"project.registry={place}", "--json", cwd=project)
    assert "left out:" in said.err
    assert "has no the tags" not in said.err
    assert list(said.json()) == [f"{place}/train"]
    assert said.json()[f"{place}/train"]["staying"] == {"nightly-20261120": "paper is the same image"}


def test_deletion_that_is_disabled_is_named_and_nothing_is_claimed(
    client: Registry, source: Store, tmp_path: Path, wardian: Wardian, need: Callable[..., None]
) -> None:
    need("docker-registry")
    with start_registry(tmp_path / "closed", deletes=False) as running:
        place = f"{running.host}/lab/train"
        named = fill(client, source, place)
        refused = wardian("registry", "prune", place, "--keep", "nightly-*=1", "--yes", cwd=tmp_path, code=1)
        first, hint = refused.err.splitlines()
        assert f"{running.host} does not allow deleting lab/train@sha256:" in first
        assert "deletion disabled" in hint
        assert refused.out == ""
        for tag, digest in named.items():
            assert client.manifest(Reference.parse(f"{place}:{tag}"))[0].digest == digest


@pytest.fixture
def meddler(registry: Running) -> Iterator[Meddler]:
    with meddling(registry.host) as running:
        yield running


def test_a_tag_that_moves_meanwhile_stops_it(  # noqa: PLR0917 - fixtures
    registry: Running, meddler: Meddler, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    fill(client, source, f"{registry.host}/lab/train")
    old = descriptor(source, "made/n:2")

    def move() -> None:
        Pusher(client, source, None).push(Parcel(old, Reference.parse(f"{registry.host}/lab/train"), ("wanted",)))

    meddler.on("GET", "/tags/list")
    meddler.on("GET", "/tags/list", before=move)
    place = f"{meddler.host}/lab/train"
    refused = wardian("registry", "prune", place, "--keep", "nightly-*=2", "--yes", cwd=tmp_path, code=1)
    assert "tags of lab/train moved while they were looked at; nothing is deleted there" in refused.err
    assert meddler.count("DELETE") == 0


def test_a_kept_tag_that_is_lost_is_told(  # noqa: PLR0917 - fixtures
    registry: Running, meddler: Meddler, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    named = fill(client, source, f"{registry.host}/lab/train")

    def lose() -> None:
        assert status(registry, "DELETE", named["nightly-20261123"]) == 202

    meddler.on("DELETE", "/manifests/", after=lose)
    refused = wardian(
        "registry", "prune", f"{meddler.host}/lab/train", "--keep", "nightly-*=2", "--yes", cwd=tmp_path, code=1
    )
    assert "lost or moved nightly-20261123 of lab/train, which were to stay" in refused.err


def test_a_registry_s_own_list_of_what_speaks_of_an_image_is_read(  # noqa: PLR0917 - fixtures
    registry: Running, meddler: Meddler, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    """Docker's registry 2.8 has no such list, so one is put before it."""
    pusher, place = Pusher(client, source, None), f"{registry.host}/lab/train"
    for day in (1, 2):
        add_image(source, f"made/n:{day}", [layer({"day": str(day).encode()})])
        pusher.push(Parcel(descriptor(source, f"made/n:{day}"), Reference.parse(place), (f"n-{day}",)))
    old, bill = descriptor(source, "made/n:1"), add_sbom(source, descriptor(source, "made/n:1"))
    where = Reference.parse(place)
    artifact = source.manifest(bill.digest)
    for blob in (*artifact.layers, artifact.config):
        pusher._upload(where, blob).send()
    pusher._put(where, bill.digest, source.read(bill.digest), bill.media_type)
    empty = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    listed = json.dumps({"schemaVersion": 2, "manifests": [bill.to_json() | {"annotations": {}}]}).encode()
    meddler.on("GET", f"/referrers/{old.digest}", status=200, body=listed, times=100)
    meddler.on("GET", "/referrers/", status=200, body=empty, times=100)
    wardian("registry", "prune", f"{meddler.host}/lab/train", "--keep", "n-*=1", "--yes", cwd=tmp_path)
    deleted = [seen.path.rpartition("/")[2] for seen in meddler.seen if seen.method == "DELETE"]
    assert deleted == [old.digest, bill.digest]


def test_tags_are_listed_with_what_they_are(
    registry: Running, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    place = f"{registry.host}/lab/train"
    named = fill(client, source, place)
    said = wardian("registry", "ls", place, cwd=tmp_path).out.splitlines()
    assert said[0].split() == ["REFERENCE", "DIGEST", "CREATED", "SIZE", "PLATFORMS"]
    assert len(said) == 1 + len(named)
    listed = {one["reference"]: one for one in wardian("registry", "ls", place, "--json", cwd=tmp_path).json()}
    assert {name.rpartition(":")[2]: one["digest"] for name, one in listed.items()} == named
    assert listed[f"{place}:release"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert listed[f"{place}:paper"]["created"] == "2020-01-01T00:00:00Z"
    assert listed[f"{place}:paper"]["size"] > 0


def test_repositories_are_listed(
    registry: Running, client: Registry, source: Store, tmp_path: Path, wardian: Wardian
) -> None:
    fill(client, source, f"{registry.host}/lab/train")
    fill(client, source, f"{registry.host}/lab/eval")
    said = wardian("registry", "ls", registry.host, "--json", cwd=tmp_path).json()
    assert said == [f"{registry.host}/lab/eval", f"{registry.host}/lab/train"]


def test_a_list_in_pages_is_read_to_its_end(  # noqa: PLR0917 - fixtures
    registry: Running,
    client: Registry,
    source: Store,
    tmp_path: Path,
    wardian: Wardian,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wardian.registry.catalog._PAGE", 2)
    with meddling(registry.host) as meddler:
        fill(client, source, f"{registry.host}/lab/train")
        names = [one["reference"] for one in wardian("registry", "ls", f"{meddler.host}/lab/train", "--json").json()]
        assert len(names) == 8
        tags = json.dumps({"name": "lab/train", "tags": ["paper"]}).encode()
        link = {"Link": '</v2/lab/train/tags/list?n=2&last=x>; rel="next"'}
        meddler.on("GET", r"/tags/list\?n=2$", status=200, body=tags, headers=link)
        more = json.dumps({"name": "lab/train", "tags": ["release"]}).encode()
        meddler.on("GET", r"/tags/list\?n=2&last=x$", status=200, body=more)
        names = [one["reference"] for one in wardian("registry", "ls", f"{meddler.host}/lab/train", "--json").json()]
        assert sorted(name.rpartition(":")[2] for name in names) == ["paper", "release"]
        away = {"Link": '<http://elsewhere.example/v2/x>; rel="next"'}
        meddler.on("GET", r"/tags/list\?n=2$", status=200, body=tags, headers=away)
        assert "another host" in wardian("registry", "ls", f"{meddler.host}/lab/train", code=1).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ls",), 2, "which repository?"),
        (("prune",), 2, "keep what?"),
        (("prune", "--keep", "x"), 2, "is not PATTERN=NUMBER"),
        (("prune", "--keep", "x=1"), 2, "which repository?"),
        (("ls", "HOST/absent"), 1, "has no"),
        (("prune", "HOST/absent", "--keep", "x=1", "--yes"), 1, "has no"),
    ],
)
def test_a_wrong_word_is_one_line(  # noqa: PLR0917 - a table and its fixtures
    registry: Running, tmp_path: Path, wardian: Wardian, words: tuple[str, ...], code: int, said: str
) -> None:
    refused = wardian("registry", *(word.replace("HOST", registry.host) for word in words), cwd=tmp_path, code=code)
    assert said in refused.err.splitlines()[0]
    assert len(refused.err.splitlines()) == 2
