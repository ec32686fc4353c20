"""What an upgrade may move."""

from typing import Any

import pytest

from wardian.errors import SpecError
from wardian.lock.model import Base, Built, Deb, Lock, LockedImage, Tool
from wardian.lock.pylock import Pinned, Target, write
from wardian.resolvers.upgrade import Upgrade, tools, upgrade_of
from wardian.spec.matrix import Variant
from wardian.spec.models import Image

HASH = "0" * 64
PYLOCK = write([Pinned("torch", "1", "wheel", "torch-1-py3-none-any.whl", "", HASH)], Target("3.11", "linux/amd64"))


def deb(name: str) -> Deb:
    return Deb(name=name, version="1", architecture="all", url="u", sha256=HASH, size=1)


def variant(**values: Any) -> Variant:
    return Variant("train[python=3.11]", "train", (), None, Image.model_validate({"from": "python:3.11", **values}))


def tool(name: str) -> Tool:
    return Tool(name=name, version="1", filename=f"{name}-1-py3-none-any.whl", sha256=HASH)


def made(*tools: Tool) -> Built:
    return Built(
        name="p",
        version="1",
        sdist_url="u",
        sdist_sha256=HASH,
        filename="p-1-py3-none-any.whl",
        sha256=HASH,
        build=tools,
    )


LOCK = Lock(
    images={
        "train[python=3.11]": LockedImage(
            inputs=HASH,
            base=Base(reference="python:3.11", debs=(deb("bash"),)),
            debs=(deb("git"),),
            pylock="p",
            build=(tool("hatchling"),),
            built=(made(tool("setuptools")),),
        )
    }
)


def upgrade(*names: str) -> Upgrade:
    return upgrade_of(names, [variant()], LOCK, {"p": PYLOCK})


def test_nothing_is_asked_for() -> None:
    none = Upgrade()
    assert none.distributions == frozenset()
    assert not none.base(variant())
    assert none.held([deb("git")]) == (deb("git"),)
    assert not none.packages([deb("git")])
    assert not none.python(PYLOCK)


def test_everything() -> None:
    everything = Upgrade(everything=True)
    assert everything.distributions is None
    assert everything.base(variant())
    assert everything.held([deb("git")]) == ()
    assert everything.packages([deb("git")])
    assert everything.python(PYLOCK)


def test_a_distribution() -> None:
    found = upgrade("Torch")
    assert found.distributions == frozenset({"torch"})
    assert found.python(PYLOCK)
    assert not found.python("")
    assert not found.base(variant())
    assert not found.packages([deb("git")])


def test_a_package() -> None:
    found = upgrade("git")
    assert found.packages([deb("git")])
    assert found.held([deb("git"), deb("bash")]) == (deb("bash"),)
    assert found.held([deb("bash")], all_of=True) == ()
    assert not found.python(PYLOCK)


@pytest.mark.parametrize("name", ["hatchling", "Setuptools"])
def test_what_something_is_built_with(name: str) -> None:
    """Of the project's own wheel, and of a source distribution."""
    found = upgrade(name)
    (image,) = LOCK.images.values()
    assert [tool.name for tool in tools(image)] == ["hatchling", "setuptools"]
    assert found.tools(tools(image))
    assert not found.tools([tool("torch")])
    assert not found.python(PYLOCK)
    assert Upgrade(everything=True).tools([])
    assert not Upgrade().tools(tools(image))


@pytest.mark.parametrize("name", ["train", "train[python=3.11]", "python:3.11"])
def test_a_base(name: str) -> None:
    assert upgrade(name).base(variant())


def test_an_unknown_name() -> None:
    with pytest.raises(SpecError, match="nothing that is locked is called 'troch'") as caught:
        upgrade("troch")
    assert caught.value.hint == "did you mean torch?"
    with pytest.raises(SpecError) as caught:
        upgrade("zzzzzz")
    assert caught.value.hint
