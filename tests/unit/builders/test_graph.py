"""The order of work: what waits for what, what is made once, what a failure leaves. Builders are fakes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plan.factory import PYTHON, deb, locked, planned, wheel
from wardian.builders import graph as module
from wardian.builders.base import Beneath, Site, Stopped, namespace_of
from wardian.builders.graph import Graph, Outcome
from wardian.errors import WardianError
from wardian.hosts.local import LocalHost
from wardian.hosts.machine import Machine
from wardian.oci.digest import sha256
from wardian.oci.gzip import write_layer
from wardian.plan.images import Content, ImagePlan
from wardian.plan.layers import Layer, title
from wardian.store.store import LayerRecord, Store


class Quiet:
    """A progress display that remembers its titles."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Any]:
        self.titles.append(title)
        yield self

    def say(self, text: str) -> None:
        pass


@dataclass
class Workshop:
    """Fake builders: each layer's bytes are its key. Notes what was made, over what, and how many at once."""

    made: list[str] = field(default_factory=list)
    beneath: dict[str, int] = field(default_factory=dict)
    most: int = 0
    running: int = 0
    act: Callable[[Layer], None] = lambda layer: None
    guard: threading.Lock = field(default_factory=threading.Lock)

    def build(self, layer: Layer, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
        with self.guard:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self.act(layer)
            record = site.write(layer, lambda out: write_layer(out, [layer.key.encode()]))
        finally:
            with self.guard:
                self.running -= 1
        with self.guard:
            self.made.append(title(layer))
            self.beneath[title(layer)] = len(beneath.layers)
        return record


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop()
    monkeypatch.setattr(module, "builder", lambda layer, engine: made.build)
    return made


@pytest.fixture
def site(tmp_path: Path) -> Site:
    def unused() -> Any:
        raise AssertionError("no namespace is needed here")

    nothing: Any = None
    return Site(Store(tmp_path / "store"), LocalHost(), Machine(), nothing, unused, 1_577_836_800, tmp_path)


def family(line: str = "true") -> tuple[ImagePlan, ...]:
    images: dict[str, dict[str, Any]] = {
        "base": {"from": "bootstrap:debian:bookworm", "python": "3.11"},
        "train": {"from": "@base", "requirements": ["torch"], "run": [line]},
        "other": {"from": "@base", "requirements": ["torch"], "apt": ["git"]},
    }
    lock = {
        "base": locked(bootstrap=True, **PYTHON),
        "train": locked(**PYTHON),
        "other": locked(debs=(deb("git"),), **PYTHON),
    }
    content = Content(pylock="x", wheels=(wheel("torch", size=9_000_000), wheel("rich")))
    return tuple(planned(images, lock, {"train": content, "other": content}).values())


def titles() -> list[str]:
    """Of every layer that is to be made, each once."""
    return sorted({layer.key: title(layer) for plan in family() for layer in plan.layers}.values())


def build(site: Site, plans: tuple[ImagePlan, ...], **options: Any) -> dict[str, Outcome]:
    found = Graph(plans, site, options.pop("jobs", 2), **options).run(Quiet())
    return {outcome.plan.id: outcome for outcome in found}


def test_each_layer_is_made_once(site: Site, workshop: Workshop) -> None:
    outcomes = build(site, family())
    assert sorted(workshop.made) == titles()
    assert next(iter(outcomes)) == "base"
    assert {site.store.resolve(f"demo/{name}:latest") is not None for name in outcomes} == {True}


def test_a_step_stands_on_everything_beneath(site: Site, workshop: Workshop) -> None:
    build(site, family())
    train = family()[1]
    assert workshop.beneath["run 1: true"] == len(train.layers) - 1
    assert workshop.beneath["torch 1.0"] == 0


def test_a_second_build_makes_nothing(site: Site, workshop: Workshop) -> None:
    first = build(site, family())
    workshop.made.clear()
    second = build(site, family())
    assert workshop.made == []
    assert {name: one.image.digest for name, one in second.items()} == {
        name: one.image.digest for name, one in first.items()
    }
    assert [outcome.new for outcome in second.values()] == [(), (), ()]


def test_a_leaf_change_makes_the_leaf(site: Site, workshop: Workshop) -> None:
    build(site, family())
    workshop.made.clear()
    outcomes = build(site, family("false"))
    assert workshop.made == ["run 1: false"]
    assert [record.title for record in outcomes["train"].new] == ["run 1: false"]


def test_a_change_taken_back_makes_nothing_and_moves_the_name(site: Site, workshop: Workshop) -> None:
    first = build(site, family())["train"].image.digest
    second = build(site, family("false"))["train"].image.digest
    workshop.made.clear()
    assert build(site, family())["train"].image.digest == first != second
    assert workshop.made == []
    found = site.store.resolve("demo/train:latest")
    assert found
    assert found.digest == first


def test_a_layer_that_was_lost_is_made_again(site: Site, workshop: Workshop) -> None:
    first = build(site, family())
    manifest = site.store.manifest(first["train"].image.digest)
    workshop.made.clear()
    lost = manifest.layers[-1].digest
    site.store.path(lost).unlink()
    assert build(site, family())["train"].image.digest == first["train"].image.digest
    assert workshop.made == ["run 1: true"]


def test_no_cache_makes_the_images_own_layers(site: Site, workshop: Workshop) -> None:
    first = build(site, family())
    workshop.made.clear()
    second = build(site, family(), fresh=frozenset({"train"}))
    own = family()[1].layers[len(family()[0].layers) :]
    assert sorted(workshop.made) == sorted(title(layer) for layer in own)
    assert second["train"].image.digest == first["train"].image.digest


def test_layers_are_made_side_by_side(site: Site, workshop: Workshop) -> None:
    meeting = threading.Barrier(2, timeout=20)

    def act(layer: Layer) -> None:
        if title(layer) in {"torch 1.0", "base bootstrap:debian:bookworm (2 packages)"}:
            meeting.wait()

    workshop.act = act
    build(site, family())
    assert workshop.most == 2


def test_a_failure_names_image_and_layer_and_stops_the_rest(site: Site, workshop: Workshop) -> None:
    def act(layer: Layer) -> None:
        if title(layer).startswith("base"):
            raise WardianError("no space is left")

    workshop.act = act
    with pytest.raises(WardianError, match=r"image base, base bootstrap.* \(2 packages\): no space is left"):
        build(site, family(), jobs=1)
    assert site.stopping.is_set()
    assert site.store.references() == []
    assert list(site.store.scratch.iterdir()) == []


def test_the_first_failure_is_told_not_its_consequences(site: Site, workshop: Workshop) -> None:
    def act(layer: Layer) -> None:
        if title(layer).startswith("base"):
            raise WardianError("the cause")
        site.stopping.wait(20)
        raise Stopped("a consequence")

    workshop.act = act
    with pytest.raises(WardianError, match="the cause"):
        build(site, family(), jobs=4)


def test_after_a_failure_the_next_build_goes_on(site: Site, workshop: Workshop) -> None:
    def act(layer: Layer) -> None:
        if title(layer).startswith("run"):
            raise WardianError("no")

    workshop.act = act
    with pytest.raises(WardianError, match="image train, run 1"):
        build(site, family(), jobs=1)
    workshop.act = lambda layer: None
    site.stopping.clear()
    workshop.made.clear()
    build(site, family())
    assert "run 1: true" in workshop.made
    assert not any(name.startswith("base") for name in workshop.made)


def test_two_builds_at_once_make_each_layer_once(site: Site, workshop: Workshop) -> None:
    outcomes: list[dict[str, Outcome]] = []
    threads = [threading.Thread(target=lambda: outcomes.append(build(site, family()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 3
    assert sorted(workshop.made) == titles()
    assert len({one["train"].image.digest for one in outcomes}) == 1


def test_what_lies_beside_an_image_speaks_of_it(site: Site, workshop: Workshop) -> None:
    digest = build(site, family())["train"].image.digest
    beside = site.store.referrers(digest)
    assert sorted(str(one.artifact_type) for one in beside) == [
        "application/spdx+json",
        "application/vnd.wardian.pylock+toml",
    ]
    for one in beside:
        subject = site.store.manifest(one.digest).subject
        assert subject
        assert subject.digest == digest
    (lock,) = [one for one in beside if "pylock" in str(one.artifact_type)]
    assert site.store.read(site.store.manifest(lock.digest).layers[0].digest) == b"x"


def test_the_manifest_is_whole(site: Site, workshop: Workshop) -> None:
    plan, digest = family()[1], build(site, family())["train"].image.digest
    manifest = site.store.manifest(digest)
    assert len(manifest.layers) == len(plan.layers) == len(site.store.diff_ids(digest))
    assert site.store.diff_ids(digest)[-1] == sha256(plan.layers[-1].key.encode())
    assert manifest.annotations["dev.wardian.image"] == "train"
    assert site.store.config(digest)["config"]["Labels"]["dev.wardian.python"] == "3.11"


def test_missing_layers_are_known_without_making_them(site: Site, workshop: Workshop) -> None:
    assert len(Graph(family(), site, 1).missing()) == len({layer.key for plan in family() for layer in plan.layers})
    build(site, family())
    assert Graph(family(), site, 1).missing() == {}
    assert [work.image.id for work in Graph(family("false"), site, 1).missing().values()] == ["train"]


def test_a_namespace_is_found_once_and_only_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def find(host: Any) -> str:
        asked.append(host)
        return "inside"

    monkeypatch.setattr("wardian.hosts.sandbox.namespace", find)
    host = LocalHost()
    inside = namespace_of(host)
    assert asked == []
    found: list[Any] = [inside(), inside()]
    assert found == ["inside", "inside"]
    assert asked == [host]
