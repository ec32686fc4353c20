"""A bake file of spec and lock: every image a target, what it stands on a build context."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.test_dockerfile import PYTHON, stage, wheel
from wardian.errors import WardianError
from wardian.plan.bake import bake, target_name
from wardian.plan.dockerfile import Rendered, Stage
from wardian.spec.matrix import Axes, identity


def variant(name: str, parent: str | None = None, axes: Axes = (), **image: Any) -> Stage:
    """An image of a family, with one wheel."""
    made = stage(name, image, None if parent else PYTHON, (wheel("numpy"),), parent)
    return replace(made, variant=replace(made.variant, id=identity(name, axes), axes=axes))


def baked(*stages: Stage, **more: Any) -> Rendered:
    return bake(stages, repository="ghcr.io/lab", name="lab", beside=more.pop("beside", ""), **more)


def targets(rendered: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rendered.text)["target"]
    return found


def test_what_an_image_stands_on_is_a_context_and_is_written_once() -> None:
    made = baked(variant("base"), variant("train", "base"), variant("dev", "train"))

    assert "contexts" not in targets(made)["base"]
    assert targets(made)["train"]["contexts"] == {"base": "target:base"}
    assert targets(made)["dev"]["contexts"] == {"train": "target:train"}
    assert "FROM base AS train" in made.files["Dockerfile.train"]
    assert "numpy" in made.files["requirements.base.txt"]
    assert "requirements.train.txt" not in made.files


def test_images_get_the_names_that_wardian_gives_them() -> None:
    made = baked(
        variant("base", axes=(("python", "3.11"),), tags=["py{python:nodot}", "latest"]),
        variant("base", axes=(("python", "3.12"),), tags=["py{python:nodot}", "latest"]),
    )

    assert targets(made)["base-python-3_11"]["tags"] == ["ghcr.io/lab/base:py311", "ghcr.io/lab/base:latest"]
    assert "Dockerfile.base-python-3.12" in made.files


def test_all_are_built_by_default_or_the_chosen_ones() -> None:
    family = (variant("base"), variant("train", "base"))
    assert json.loads(baked(*family).text)["group"]["default"]["targets"] == ["base", "train"]
    assert json.loads(baked(*family, chosen=["train"]).text)["group"]["default"]["targets"] == ["train"]


def test_files_lie_beside_the_bake_file() -> None:
    made = baked(variant("base"), beside="my docker")
    assert targets(made)["base"]["dockerfile"] == "my docker/Dockerfile.base"
    assert "docker buildx bake -f 'my docker/docker-bake.json' base" in made.files["Dockerfile.base"]
    assert "my docker/requirements.base.txt" in made.files["Dockerfile.base"]


def test_each_dockerfile_has_its_own_ignore_file() -> None:
    made = baked(variant("base", project="wheel"), ignore="data\n")
    assert made.files["Dockerfile.base.dockerignore"].startswith("data\n**/.env*\n")


def test_another_platform_is_said() -> None:
    assert "platforms" not in targets(baked(variant("base")))["base"]
    assert targets(baked(variant("base", platform="linux/arm64")))["base"]["platforms"] == ["linux/arm64"]


def test_nothing_is_left_for_bake_to_fill_in() -> None:
    text = baked(variant("base"), beside="a${b}%{c}").text
    assert "a$${b}%%{c}/Dockerfile.base" in text


@pytest.mark.parametrize(
    ("name", "target"), [("train", "train"), ("a.b", "a_b"), ("t[python=3.11,cuda=12.4]", "t-python-3_11-cuda-12_4")]
)
def test_targets_have_names_that_bake_takes(name: str, target: str) -> None:
    assert target_name(name) == target


def test_two_images_that_bake_would_call_the_same_are_refused() -> None:
    with pytest.raises(WardianError, match="two images a_b"):
        baked(variant("a.b"), variant("a_b"))
