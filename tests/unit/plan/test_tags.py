"""Tags come from the lock and the axes, and are tags."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.plan.tags import Wish, assign, tag


def asked(python: str | None = "3.11", **versions: str) -> Wish:
    return Wish("train", "train", (), (), python, {name.replace("_", "-"): value for name, value in versions.items()})


LOCKED = asked(torch="2.4.0+cpu", pufferlib_core="3.0.17", odd="1!2.0")


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("latest", "latest"),
        ("py{python}", "py3.11"),
        ("py{python:nodot}", "py311"),
        ("{version:torch}", "2.4.0-cpu"),
        ("{version:pufferlib_core}", "3.0.17"),
        ("{version:Pufferlib.Core}-py{python:nodot}", "3.0.17-py311"),
        ("v{version:odd}", "v1-2.0"),
    ],
)
def test_a_template_is_filled(template: str, made: str) -> None:
    assert tag(template, LOCKED) == made


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{rocm}", r"\{rocm\} is not known; there is \{python\}"),
        ("{version:jax}", "the lock has no distribution 'jax'"),
        ("{python:major}", r"\{python:major\} is not known"),
        ("-dev", "is no tag"),
        ("a b", "is no tag"),
        ("", "is no tag"),
        ("a/b", "is no tag"),
        ("x" * 129, "at most 128"),
        ("{version:}", "is no tag"),
        ("{}", "is no tag"),
    ],
)
def test_what_cannot_be_filled_is_refused(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tag(template, LOCKED)


def test_an_image_without_python_has_no_version_of_it() -> None:
    with pytest.raises(ValueError, match=r"\{python\}: the image has no Python"):
        tag("{python}", asked(None))


@given(st.text(max_size=40), st.text(min_size=1, max_size=40))
def test_whatever_is_made_is_a_tag(template: str, version: str) -> None:
    try:
        made = tag(f"{template}{{version:torch}}", asked(torch=version))
    except ValueError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", made)


def wish(python: str, *templates: str, image: str = "train") -> Wish:
    axes = (("python", python), ("cuda", "12.4.1"))
    return Wish(f"{image}[python={python}]", image, templates, axes, python, {})


def test_a_tag_goes_to_the_first_variant_that_asks() -> None:
    made = assign([wish("3.10", "py{python}", "latest"), wish("3.11", "py{python}", "latest")])
    assert made == {"train[python=3.10]": ("py3.10", "latest"), "train[python=3.11]": ("py3.11",)}


def test_a_variant_without_a_tag_gets_one_of_its_axes() -> None:
    made = assign([wish("3.10", "latest"), wish("3.11", "latest")])
    assert made["train[python=3.11]"] == ("python3.11-cuda12.4.1",)


def test_two_images_may_share_a_tag() -> None:
    made = assign([wish("3.11", "latest"), wish("3.11", "latest", image="dev")])
    assert [*made.values()] == [("latest",), ("latest",)]


def test_every_wrong_template_is_named_at_once() -> None:
    with pytest.raises(SpecError) as error:
        assign([wish("3.10", "{a}", "fine", "{b}"), wish("3.11", "{a}")])
    assert [fault.path for fault in error.value.faults] == ["images.train.tags[0]", "images.train.tags[2]"]
