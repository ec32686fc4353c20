"""Images × matrix → variants: the product, the parents, the placeholders."""

from itertools import product
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.spec.matrix import Variant, closure, expand, expansion, fill, identity, select
from wardian.spec.models import Spec

AXES = (("python", "3.11"), ("cuda", "12.4.1"))


def spec(**images: Any) -> Spec:
    return Spec.model_validate({"project": {"name": "x"}, "images": images})


def ids(variants: tuple[Variant, ...]) -> list[str]:
    return [variant.id for variant in variants]


def test_identity() -> None:
    assert identity("train", ()) == "train"
    assert identity("train", AXES) == "train[python=3.11,cuda=12.4.1]"


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("nvidia/cuda:{cuda}-base", "nvidia/cuda:12.4.1-base"),
        ("py{python:nodot}-{cuda:nodot}", "py311-1241"),
        ("{cuda:cu}", "cu124"),
        ("{other} {other:nodot} {version:torch}", "{other} {other:nodot} {version:torch}"),
        ("echo ${python} $python {python}", "echo ${python} $python 3.11"),
        ("awk '{print $1}' {cuda }", "awk '{print $1}' {cuda }"),
        ("{{python}}", "{3.11}"),
        ("{cuda:other}", "{cuda:other}"),
        ("", ""),
    ],
)
def test_fill(template: str, filled: str) -> None:
    assert fill(template, AXES) == filled


@given(st.text("{}:$abc", max_size=20))
def test_nothing_is_filled_without_axes(template: str) -> None:
    assert fill(template, ()) == template


VALUES = st.lists(st.from_regex(r"[a-z][a-z0-9.]{0,3}", fullmatch=True), min_size=1, max_size=3, unique=True)
MATRIX = st.dictionaries(st.sampled_from(["os", "gpu", "kind"]), VALUES, max_size=3)


@given(MATRIX, MATRIX)
def test_a_child_has_its_parents_axes_and_its_own(below: dict[str, list[str]], above: dict[str, list[str]]) -> None:
    """The child's variants are the product of its own axes with those of the parent that it does not name."""
    above = {axis: below.get(axis, values)[:2] for axis, values in above.items()}
    tags = ["-".join(f"{{{axis}}}" for axis in {**below, **above}) or "x"]
    base = {"from": "debian", "matrix": below, "tags": ["-".join(f"{{{axis}}}" for axis in below) or "x"]}
    variants = expand(spec(leaf={"from": "@base", "matrix": above, "tags": tags}, base=base))
    bases = [variant for variant in variants if variant.name == "base"]
    leaves = [variant for variant in variants if variant.name == "leaf"]
    assert [dict(base.axes) for base in bases] == [
        dict(zip(below, values, strict=True)) for values in product(*below.values())
    ]
    whole = {**below, **above}
    assert {frozenset(leaf.axes) for leaf in leaves} == {
        frozenset(zip(whole, values, strict=True)) for values in product(*whole.values())
    }
    assert len({variant.id for variant in variants}) == len(variants) == len(bases) + len(leaves)
    for leaf in leaves:
        parent = next(base for base in bases if base.id == leaf.parent)
        assert set(parent.axes) <= set(leaf.axes)
        assert variants.index(parent) < variants.index(leaf)


@given(st.permutations(range(6)))
def test_parents_come_first_whatever_the_order_of_the_file(order: list[int]) -> None:
    images = {f"i{at}": {"from": f"@i{at - 1}" if at else "debian"} for at in order}
    assert ids(expand(spec(**images))) == [f"i{at}" for at in range(6)]


def test_otherwise_the_order_of_the_file_is_kept() -> None:
    images = {name: {"from": "@z" if name == "a" else "debian"} for name in ("c", "a", "z", "b")}
    assert ids(expand(spec(**images))) == ["c", "z", "a", "b"]


def test_a_chain_of_three_hundred_images() -> None:
    images = {f"i{at:03}": {"from": f"@i{at - 1:03}" if at else "debian"} for at in range(300)}
    assert len(expand(spec(**images))) == 300


def test_python_and_platform_come_from_below() -> None:
    variants = expand(
        spec(
            base={"from": "debian", "python": "3.11", "platform": "linux/arm64"},
            leaf={"from": "@base"},
            other={"from": "x"},
        )
    )
    assert [(variant.image.python, variant.image.platform) for variant in variants] == [
        ("3.11", "linux/arm64"),
        ("3.11", "linux/arm64"),
        (None, "linux/amd64"),
    ]


def test_an_image_keeps_what_was_not_said_unsaid() -> None:
    """Defaults stay defaults: the lock's inputs must not change when a default is added."""
    (variant,) = expand(spec(base={"from": "debian"}))
    assert variant.image.model_fields_set == {"from_", "tags"}


def test_placeholders_everywhere() -> None:
    image = {
        "from": "debian:{os}",
        "matrix": {"os": ["a"]},
        "apt": ["lib{os}"],
        "files": ["{os}.txt"],
        "env": {"OS": "{os}"},
        "labels": {"os": "{os}"},
        "run": ["echo {os}"],
        "copy": [{"source": "{os}", "target": "/{os}"}],
        "entrypoint": ["{os}"],
        "tests": {"{os}": {"run": "{os}", "expect": "{os}"}},
        "sdists": {"x": {"apt": ["{os}"], "env": {"A": "{os}"}}},
        "tags": ["{os}", "{python}-{version:torch}-{os}"],
    }
    (variant,) = expand(spec(train=image))
    found = variant.image.model_dump(mode="json", by_alias=True)
    assert "{os}" not in str({**found, "tests": found["tests"]["{os}"]})
    assert found["tags"] == ["a", "{python}-{version:torch}-a"]


def test_the_tags_of_a_matrix() -> None:
    """A tag without an axis belongs to the first variant; without any tags the axes make them."""
    matrix = {"os": ["a", "b"], "gpu": ["x"]}
    variants = expand(
        spec(one={"from": "d", "matrix": matrix}, two={"from": "d", "matrix": matrix, "tags": ["{os}", "v1"]})
    )
    assert [variant.image.tags for variant in variants] == [
        ("osa-gpux", "latest"),
        ("osb-gpux",),
        ("a", "v1"),
        ("b",),
    ]


def test_a_parent_that_depends_on_an_axis() -> None:
    """`from = "@base-{kind}"`: another parent for each value."""
    variants = expand(
        spec(
            **{"base-cpu": {"from": "d"}, "base-gpu": {"from": "d", "matrix": {"cuda": ["12.4"]}}},
            train={"from": "@base-{kind}", "matrix": {"kind": ["cpu", "gpu"]}, "tags": ["{kind}"]},
        )
    )
    assert [(variant.id, variant.parent) for variant in variants if variant.name == "train"] == [
        ("train[kind=cpu]", "base-cpu"),
        ("train[kind=gpu,cuda=12.4]", "base-gpu[cuda=12.4]"),
    ]


FAMILY = expand(
    spec(
        base={"from": "d", "matrix": {"python": ["3.10", "3.11"]}},
        train={"from": "@base", "matrix": {"cuda": ["12.4", "11.8"]}},
        dev={"from": "@train"},
        lone={"from": "d"},
    )
)


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([], 11),
        (["lone"], 1),
        (["train"], 4),
        (["train[python=3.11]"], 2),
        (["train[cuda=12.4, python=3.11]"], 1),
        (["train[cuda=12.4,python=3.11]", "lone", "lone"], 2),
        (["train[]"], 4),
    ],
)
def test_select(names: list[str], count: int) -> None:
    assert len(select(FAMILY, names)) == count


def test_the_selection_is_in_build_order() -> None:
    found = ids(select(FAMILY, ["lone", "dev", "base"]))
    assert found == [variant.id for variant in FAMILY if variant.name in {"lone", "dev", "base"}]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tran", r"no image 'tran' \(did you mean train\?\)"),
        ("train[python=3.9]", r"did you mean train\[cuda=12.4,python=3.1"),
        ("zzzzzz", r"there is: base, train, dev, lone"),
        ("train[os=x]", "did you mean train"),
    ],
)
def test_select_what_is_not_there(name: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        select(FAMILY, [name])


def test_select_tells_every_unknown_name() -> None:
    with pytest.raises(SpecError) as caught:
        select(FAMILY, ["a", "train", "b"])
    assert len(caught.value.faults) == 2


@given(st.sets(st.sampled_from(range(len(FAMILY)))))
def test_closure_holds_all_ancestors_and_nothing_else(numbers: set[int]) -> None:
    chosen = [FAMILY[at] for at in numbers]
    found = closure(FAMILY, chosen)
    assert {variant.id for variant in chosen} <= set(ids(found))
    for variant in found:
        assert variant.parent is None or variant.parent in ids(found)
        assert variant in chosen or any(other.parent == variant.id for other in found)
    assert ids(found) == [variant.id for variant in FAMILY if variant.id in ids(found)]


MATRICES = st.dictionaries(
    st.sampled_from(["python", "cuda", "os"]),
    st.sets(st.sampled_from(["3.10", "3.11", "3.12"]), min_size=1).map(sorted),
    max_size=2,
)


@given(MATRICES, MATRICES, st.permutations(["base", "train", "dev"]))
def test_each_variant_stands_on_the_one_that_agrees_with_it(
    base: dict[str, list[str]], train: dict[str, list[str]], order: list[str]
) -> None:
    tables: dict[str, dict[str, Any]] = {
        "base": {"from": "d", "matrix": base, "tags": ["x"]},
        "train": {"from": "@base", "matrix": train, "tags": ["x"]},
        "dev": {"from": "@train"},
    }
    variants, faults = expansion(spec(**{name: tables[name] for name in order}).images)
    known = {variant.id: dict(variant.axes) for variant in variants}
    assert len(known) == len(variants)
    lacking = any(set(train[axis]) - set(base[axis]) for axis in train.keys() & base.keys())
    assert bool(faults) is lacking
    for variant in variants:
        if variant.parent:
            assert known[variant.parent].items() <= dict(variant.axes).items()
    if not faults:
        one_each = prod(len(values) for values in (train | {axis: base[axis] for axis in base.keys() - train}).values())
        assert sum(variant.name == "dev" for variant in variants) == one_each


def test_expand_refuses_what_is_wrong() -> None:
    with pytest.raises(SpecError, match="there is no image 'none'"):
        expand(spec(a={"from": "@none"}))
