"""The plan: which layers, in which order, with which keys; what changes what."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.factory import PYTHON, deb, locked, planned, sha, simple, tool, variants, wheel
from wardian.errors import SpecError, WardianError
from wardian.lock.model import Built, Lock, LockedImage
from wardian.lock.pylock import Target
from wardian.plan.bins import LAYERS
from wardian.plan.config import CA_BUNDLE
from wardian.plan.images import Content, ImagePlan, plan, system
from wardian.plan.labels import annotations
from wardian.plan.layers import (
    Apt,
    BaseLayers,
    Bootstrap,
    Code,
    Entry,
    Environment,
    Files,
    ProjectCode,
    Pylock,
    RunStep,
    Wheels,
    title,
)
from wardian.spec.models import Project


def kinds(image: ImagePlan) -> list[str]:
    return [type(layer).__name__ for layer in image.layers]


def keys(image: ImagePlan) -> dict[str, str]:
    return {title(layer): layer.key for layer in image.layers}


def changed(one: ImagePlan, other: ImagePlan) -> list[str]:
    """The titles of layers of ``other`` that ``one`` does not have."""
    known = {layer.key for layer in one.layers}
    return [title(layer) for layer in other.layers if layer.key not in known]


ENTRY = Entry("/workspace/a", "file", 0o644, sha("a"), "/somewhere/a")
FULL = Content(
    pylock="lock",
    wheels=(wheel("torch", size=5_000_000), wheel("rich"), wheel("numpy", requested=True)),
    copies=(("copy a → /workspace/a", (ENTRY,)),),
    code=Code("demo", "1.0", sha("code"), (ENTRY,)),
    ca=Entry(CA_BUNDLE, "file", 0o644, sha("ca"), "/etc/ssl/ca"),
    revision="abc",
)
IMAGE: dict[str, Any] = {
    "from": "bootstrap:debian:bookworm",
    "apt": ["git"],
    "python": "3.11",
    "run": ["true", "false"],
    "copy": [{"source": "a", "target": "/workspace/a"}],
    "project": "wheel",
    "env": {"A": "1"},
}


def full(**image: Any) -> ImagePlan:
    lock = locked(bootstrap=True, debs=(deb("git"),), **PYTHON)
    return planned({"train": {**IMAGE, **image}}, {"train": lock}, {"train": FULL})["train"]


def test_layers_come_in_the_order_of_the_design() -> None:
    assert kinds(full()) == [
        *("Bootstrap", "Apt", "Files", "Environment"),
        *("Wheels", "Wheels", "Wheels", "Pylock", "RunStep", "RunStep", "Files", "ProjectCode"),
    ]


def test_a_foreign_base_keeps_its_digest() -> None:
    image = planned({"train": {"from": "debian:12"}}, {"train": locked(base="debian:12")})["train"]
    (base,) = image.layers
    assert isinstance(base, BaseLayers)
    assert base.base.digest == f"sha256:{sha('debian:12')}"
    assert image.labels["org.opencontainers.image.base.digest"] == base.base.digest
    assert image.labels["org.opencontainers.image.base.name"] == "debian:12"


def test_an_image_without_python_has_no_environment() -> None:
    image = planned({"train": {"from": "debian:12"}}, {"train": locked(base="debian:12")})["train"]
    assert image.config.path == ()
    assert "VIRTUAL_ENV" not in dict(image.config.env)


def test_one_more_dependency_changes_one_bin_and_the_lock() -> None:
    one, other = simple(wheel("rich"), wheel("numpy")), simple(wheel("rich"), wheel("numpy"), wheel("tqdm"))
    assert len(changed(one, other)) == 1
    assert changed(one, other)[0].startswith("bin")


@given(st.sets(st.integers(0, 60), min_size=1, max_size=40), st.integers(0, 60))
def test_another_version_leaves_all_layers_beneath_its_own(numbers: set[int], which: int) -> None:
    """Docker keeps what it has up to the first layer that is new to it, and takes all above again."""

    def image(version: str) -> ImagePlan:
        some = tuple(
            wheel(f"dist{at}", version if at == which else "1.0", size=3_000_000 if at % 7 == 0 else 1000)
            for at in sorted(numbers | {which})
        )
        lock = {"train": locked(bootstrap=True, **PYTHON)}
        images = {"train": {"from": "bootstrap:debian:bookworm", "python": "3.11"}}
        return planned(images, lock, {"train": Content(pylock=f"lock {version}", wheels=some)})["train"]

    one, other = image("1.0"), image("2.0")
    pairs = list(zip(one.layers, other.layers, strict=True))
    above = [new for old, new in pairs if old.key != new.key]
    assert [type(layer) for layer in above] == [Wheels, Pylock]
    assert isinstance(above[0], Wheels)
    assert f"dist{which}" in {each.name for each in above[0].wheels}
    assert pairs[-1][1] == above[-1]


def test_wheel_layers_do_not_know_what_lies_beneath() -> None:
    other = planned(
        {"train": {**IMAGE, "apt": [], "run": []}}, {"train": locked(base="debian:12", **PYTHON)}, {"train": FULL}
    )["train"]
    mine = {layer.key for layer in full().layers if isinstance(layer, Wheels | Environment | Files)}
    assert mine <= {layer.key for layer in other.layers}


def test_steps_know_everything_beneath() -> None:
    lock = locked(bootstrap=True, debs=(deb("git", "2.0"),), **PYTHON)
    other = planned({"train": IMAGE}, {"train": lock}, {"train": FULL})["train"]
    assert [name.split(":")[0] for name in changed(full(), other)] == [
        *("apt (1 packages)", "run 1", "run 2", "project demo (wheel)"),
    ]


def test_a_later_line_leaves_the_earlier_alone() -> None:
    assert changed(full(), full(run=["true", "other"])) == ["run 2: other"]


def test_the_environment_is_seen_by_steps_alone() -> None:
    assert [name.split(":")[0] for name in changed(full(), full(env={"A": "2"}))] == ["run 1", "run 2"]


def test_the_place_of_a_file_on_this_machine_does_not_count() -> None:
    moved = Content(copies=(("copy", (Entry("/workspace/a", "file", 0o644, sha("a"), "/elsewhere/a"),)),))
    here = Content(copies=(("copy", (ENTRY,)),))
    images = [
        planned({"train": {"from": "x"}}, {"train": locked(base="x")}, {"train": one})["train"] for one in (moved, here)
    ]
    assert images[0].key == images[1].key


def test_the_address_of_a_package_does_not_count() -> None:
    debs = (deb("git"), deb("git").model_copy(update={"url": "http://mirror.example.org/git.deb"}))
    images = [
        planned({"train": {"from": "x", "apt": ["git"]}}, {"train": locked(base="x", debs=(one,))})["train"]
        for one in debs
    ]
    assert keys(images[0]) == keys(images[1])


def test_time_counts_everywhere_but_in_foreign_layers() -> None:
    def at(epoch: int) -> ImagePlan:
        lock = locked(base="debian:12", debs=(deb("git"),), **PYTHON)
        return planned({"train": IMAGE}, {"train": lock}, {"train": FULL}, epoch=epoch)["train"]

    assert not changed(at(1), at(1))
    assert set(keys(at(1)).values()) & set(keys(at(2)).values()) == {at(1).layers[0].key}


FAMILY: dict[str, dict[str, Any]] = {
    "base": {"from": "bootstrap:debian:bookworm", "python": "3.11", "env": {"A": "1", "B": "1"}, "workdir": "/w"},
    "train": {"from": "@base", "requirements": ["torch"], "env": {"B": "2"}, "entrypoint": ["python"]},
    "dev": {"from": "@train", "requirements": ["rich"], "command": ["-i"]},
    "leaf": {"from": "@dev"},
}


def family(**contents: Content) -> dict[str, ImagePlan]:
    lock = {
        "base": locked(bootstrap=True, **PYTHON),
        **{name: locked(**PYTHON) for name in ("train", "dev", "leaf")},
    }
    given = {
        "base": Content(),
        "train": Content(pylock="torch", wheels=(wheel("torch"), wheel("numpy"))),
        "dev": Content(pylock="torch rich", wheels=(wheel("torch"), wheel("numpy"), wheel("rich"))),
        "leaf": Content(pylock="torch rich", wheels=(wheel("torch"), wheel("numpy"), wheel("rich"))),
        **contents,
    }
    return planned(FAMILY, lock, given)


def test_a_child_is_its_parent_and_more() -> None:
    plans = family()
    for parent, child in (("base", "train"), ("train", "dev")):
        above = plans[child].layers[len(plans[parent].layers) :]
        assert plans[child].layers[: len(plans[parent].layers)] == plans[parent].layers
        assert [type(layer) for layer in above if not isinstance(layer, Wheels)] == [Pylock]


def test_a_child_installs_only_what_its_parent_lacks() -> None:
    plans = family()
    own = [
        one.name
        for layer in plans["dev"].layers[len(plans["train"].layers) :]
        if isinstance(layer, Wheels)
        for one in layer.wheels
    ]
    assert own == ["rich"]
    assert sorted(one.name for one in plans["dev"].wheels) == ["numpy", "rich", "torch"]


@given(st.permutations(list(FAMILY)), st.permutations(range(9)), st.permutations(range(3)))
def test_the_order_of_images_wheels_and_packages_decides_nothing(
    names: list[str], wheels: list[int], debs: list[int]
) -> None:
    def keys_of(names: Sequence[str], wheels: Sequence[int], debs: Sequence[int]) -> dict[str, list[str]]:
        content = Content(pylock="x", wheels=tuple(wheel(f"dist{at}", size=10**6 * at) for at in wheels))
        packages = tuple(deb(f"lib{at}") for at in debs)
        lock = {"base": locked(bootstrap=True, debs=packages, **PYTHON)} | {
            name: locked(**PYTHON, debs=packages) for name in ("train", "dev", "leaf")
        }
        images = planned({name: FAMILY[name] for name in names}, lock, {"train": content, "dev": content})
        return {name: [layer.key for layer in image.layers] for name, image in images.items()}

    assert keys_of(names, wheels, debs) == keys_of(list(FAMILY), range(9), range(3))


def test_a_child_that_adds_nothing_has_no_layer_of_its_own() -> None:
    plans = family()
    assert plans["leaf"].layers == plans["dev"].layers
    assert plans["leaf"].key != plans["dev"].key


def test_config_is_inherited_and_overridden() -> None:
    plans = family()
    assert dict(plans["dev"].config.env) == {"A": "1", "B": "2", "VIRTUAL_ENV": "/opt/env"}
    assert plans["dev"].config.workdir == "/w"
    assert plans["train"].config.command == (), "a new entrypoint drops the old command"
    assert (plans["dev"].config.entrypoint, plans["dev"].config.command) == (("python",), ("-i",))


def test_a_child_with_another_version_is_refused() -> None:
    with pytest.raises(SpecError, match=r"image dev needs torch 2\.0, but @train holds 1\.0"):
        family(dev=Content(pylock="x", wheels=(wheel("torch", "2.0"),)))


def test_what_a_foreign_base_holds_is_not_installed_again() -> None:
    lock = locked(base="trainer", inherited=("torch==1.0",), **PYTHON)
    content = Content(pylock="x", wheels=(wheel("torch"), wheel("rich")))
    image = planned({"train": {"from": "trainer", "tags": ["{version:torch}"]}}, {"train": lock}, {"train": content})[
        "train"
    ]
    assert [one.name for one in image.wheels] == ["rich"]
    assert image.references == ("demo/train:1.0",)


def test_a_child_with_another_python_is_refused() -> None:
    images = {"base": FAMILY["base"], "train": {"from": "@base"}}
    lock = {"base": locked(bootstrap=True, **PYTHON), "train": locked(python="3.12", interpreter="/usr/bin/python3.12")}
    with pytest.raises(WardianError, match=r"Python 3\.12 cannot stand on one with Python 3\.11"):
        planned(images, lock)


def test_there_are_never_more_than_a_hundred_layers() -> None:
    many = tuple(wheel(f"dist{at}", size=3_000_000) for at in range(400))
    image = simple(*many, run=["true"] * 10)
    assert len(image.layers) <= LAYERS + 1  # and the base
    with pytest.raises(WardianError, match=r"would have 1.. layers of its own; at most 100"):
        simple(run=["true"] * 120)
    with pytest.raises(WardianError, match="image train: no room for the wheels"):
        simple(*many, run=["true"] * 98)


def test_labels_tell_what_the_image_is() -> None:
    said = full(
        labels={"org.opencontainers.image.source": "https://example.org", "org.opencontainers.image.title": "T"}
    ).labels
    assert said["org.opencontainers.image.title"] == "T"
    assert said["org.opencontainers.image.source"] == "https://example.org"
    assert said["org.opencontainers.image.revision"] == "abc"
    assert said["org.opencontainers.image.created"] == "2020-01-01T00:00:00Z"
    assert said["org.opencontainers.image.version"] == "latest"
    assert said["dev.wardian.base"] == "bootstrap:debian:bookworm"
    assert (said["dev.wardian.python"], said["dev.wardian.interpreter"]) == ("3.11", "/usr/bin/python3.11")
    assert said["dev.wardian.lock"].startswith("sha256:")
    assert list(said) == sorted(said)


def test_the_revision_is_in_images_with_files_of_the_project_alone() -> None:
    plain = Content(wheels=FULL.wheels, pylock="lock", revision="abc")
    assert "org.opencontainers.image.revision" not in simple().labels
    image = planned({"train": {"from": "x"}}, {"train": locked(base="x")}, {"train": plain})["train"]
    assert "org.opencontainers.image.revision" not in image.labels


def test_the_ca_bundle_brings_its_variables() -> None:
    env = dict(full(ca=True).config.env)
    assert env["SSL_CERT_FILE"] == env["PIP_CERT"] == CA_BUNDLE


def test_a_project_without_python_cannot_be_installed() -> None:
    content = Content(code=Code("demo", "1", sha("c")))
    with pytest.raises(SpecError, match="needs an image with Python"):
        planned({"train": {"from": "x", "project": "wheel"}}, {"train": locked(base="x")}, {"train": content})


def test_a_projects_wheel_knows_what_it_is_built_in_and_with() -> None:
    def key(lock: LockedImage, **image: Any) -> str:
        plan = planned({"train": {**IMAGE, **image}}, {"train": lock}, {"train": FULL})["train"]
        return plan.layers[-1].key

    lock = locked(bootstrap=True, debs=(deb("git"),), build=(tool("maker"),), **PYTHON)
    plain = key(lock)
    assert key(lock, run=["other"], env={"B": "2"}) == plain, "what is not beneath its build leaves it alone"
    assert key(lock.model_copy(update={"build": (tool("maker", "2"),)})) != plain
    assert key(lock.model_copy(update={"debs": (deb("git", "2"),)})) != plain
    assert key(lock.model_copy(update={"interpreter": "/usr/local/bin/python3.11"})) != plain


def test_a_projects_wheel_is_built_over_packages_alone() -> None:
    """A package that a child adds lies over its parent's wheels in the image, and over its base in the build."""
    images = {
        "base": {"from": "bootstrap:debian:bookworm", "python": "3.11", "run": ["true"]},
        "train": {"from": "@base", "apt": ["git"], "project": "wheel"},
    }
    lock = {"base": locked(bootstrap=True, **PYTHON), "train": locked(debs=(deb("git"),), build=(tool("m"),), **PYTHON)}
    image = planned(images, lock, {"train": Content(code=Code("demo", "1", sha("c")), glibc=36)})["train"]
    layer = image.layers[-1]
    assert isinstance(layer, ProjectCode)
    assert layer.building
    assert [type(one).__name__ for one in layer.building.system] == ["Bootstrap", "Apt"]
    assert layer.building.system[0] == image.layers[0]
    assert layer.building.system[1] not in image.layers
    assert layer.building.target == Target("3.11", "linux/amd64", 36)


def test_a_tool_that_was_built_of_source_can_be_built_again() -> None:
    made = Built(
        name="maker",
        version="1.0",
        sdist_url="u",
        sdist_sha256=sha("s"),
        filename="maker.whl",
        sha256=tool("maker").sha256,
    )
    lock = locked(base="x", build=(tool("maker"), tool("other")), built=(made,), **PYTHON)
    content = Content(code=Code("demo", "1", sha("c")))
    layer = planned({"train": {"from": "x", "project": "wheel"}}, {"train": lock}, {"train": content})["train"].layers[
        -1
    ]
    assert isinstance(layer, ProjectCode)
    assert layer.building
    assert [(one.name, one.built) for one in layer.building.tools] == [("maker", made), ("other", None)]


def test_an_editable_project_lies_where_it_will_be_mounted() -> None:
    content = Content(code=Code("demo", "1", sha("c")))
    images = {"train": {"from": "x", "python": "3.11", "project": "editable"}}
    layer = planned(images, {"train": locked(base="x", **PYTHON)}, {"train": content})["train"].layers[-1]
    assert isinstance(layer, ProjectCode)
    assert layer.workdir == "/workspace"
    assert layer.building is None


def test_a_label_tells_where_an_editable_project_must_be() -> None:
    content = {"dev": Content(code=Code("demo", "1", sha("c")))}
    images = {
        "dev": {"from": "x", "python": "3.11", "project": "editable"},
        "deep": {"from": "@dev", "workdir": "/code"},
    }
    made = planned(images, {"dev": locked(base="x", **PYTHON), "deep": locked()}, content)
    assert [made[name].labels["dev.wardian.editable"] for name in images] == ["/workspace", "/workspace"]
    images["dev"]["project"] = "wheel"
    made = planned(images, {"dev": locked(base="x", **PYTHON), "deep": locked()}, content)
    assert all("dev.wardian.editable" not in image.labels for image in made.values())


def test_an_image_that_is_not_locked_is_named() -> None:
    with pytest.raises(WardianError, match="image train is not in the lock") as error:
        plan("demo", variants(train={"from": "x"}), Lock(), {})
    assert error.value.hint == "type: wardian lock"


def test_a_lock_without_a_base_is_named() -> None:
    with pytest.raises(WardianError, match="the lock has no base for image train"):
        planned({"train": {"from": "x"}}, {"train": locked()})


def test_substitutes_are_what_the_image_stands_on() -> None:
    base = locked(bootstrap=True).base
    assert base
    lock = locked().model_copy(
        update={
            "base": base.model_copy(update={"reference": "nvidia/cuda:1", "substitute": "bootstrap:debian:bookworm"})
        }
    )
    image = planned({"train": {"from": "nvidia/cuda:1"}}, {"train": lock})["train"]
    assert isinstance(image.layers[0], Bootstrap)
    assert image.labels["dev.wardian.base"] == "bootstrap:debian:bookworm"


def test_matrix_variants_have_names_of_their_own() -> None:
    images: dict[str, dict[str, Any]] = {
        "train": {"from": "x", "matrix": {"cuda": ["12.4.1", "11.8.0"]}, "tags": ["cu{cuda:nodot}", "latest"]}
    }
    ids = ("train[cuda=12.4.1]", "train[cuda=11.8.0]")
    plans = planned(images, {name: locked(base="x") for name in ids})
    assert [plans[name].references for name in ids] == [
        ("demo/train:cu1241", "demo/train:latest"),
        ("demo/train:cu1180",),
    ]


def test_a_source_distribution_is_built_in_the_layers_of_packages_alone() -> None:
    entries = [locked(bootstrap=True, debs=(deb("git"),), **PYTHON), locked(debs=(deb("vim"),), **PYTHON)]
    (bottom,) = variants(base=FAMILY["base"])
    own = system(bottom, entries[:1], (), 1_577_836_800)
    assert own == planned({"base": FAMILY["base"]}, {"base": entries[0]})["base"].layers[: len(own)]
    whole = system(bottom, entries, (deb("g++"),), 1_577_836_800)
    assert (whole[:2], [[one.name for one in layer.debs] for layer in whole[1:] if isinstance(layer, Apt)]) == (
        own, [["git"], ["vim"], ["g++"]]
    )  # fmt: skip


def test_the_labels_that_a_registry_shows_are_those_of_oci_and_of_wardian() -> None:
    said = full(labels={"org.example.team": "x"}).labels
    assert annotations(said) == {name: value for name, value in said.items() if name != "org.example.team"}


def test_a_layer_of_a_foreign_base_is_named_by_what_it_stands_for() -> None:
    image = planned({"train": {"from": "debian:12"}}, {"train": locked(base="debian:12")})["train"]
    assert title(image.layers[0]) == "base debian:12"


def test_references_start_with_the_registry_or_the_project() -> None:
    assert Project(name="demo", registry=None).repository == "demo"
    assert Project(name="demo", registry="ghcr.io/acme/demo/").repository == "ghcr.io/acme/demo"


def test_a_step_remembers_its_line_and_apt_its_packages() -> None:
    image = full()
    steps = [layer for layer in image.layers if isinstance(layer, RunStep)]
    assert [(step.number, step.line) for step in steps] == [(1, "true"), (2, "false")]
    assert dict(steps[0].env)["PATH"] == "/opt/env/bin:$PATH"
    assert [one.name for layer in image.layers if isinstance(layer, Apt) for one in layer.debs] == ["git"]
    assert sorted(one.name for one in image.debs) == ["base-files", "dpkg", "git"]
