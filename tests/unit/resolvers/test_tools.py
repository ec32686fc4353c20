"""What wheels are built with: how it is locked, and when it is still right."""

import pytest

from wardian.errors import WardianError
from wardian.lock.model import Built, Tool
from wardian.lock.pylock import Pinned
from wardian.resolvers.tools import agree, locked

A, B = "a" * 64, "b" * 64
TOOL = Tool(name="maker", version="1", filename="maker-1-py3-none-any.whl", url="https://x/maker.whl", sha256=A)
MADE = Built(name="maker", version="1", sdist_url="u", sdist_sha256=B, filename="maker-1-own.whl", sha256=A)


def pin(version: str = "1", kind: str = "wheel", name: str = "maker") -> Pinned:
    return Pinned(name, version, kind, "maker-1-py3-none-any.whl", "https://x/maker.whl", A)


def test_a_wheel_is_locked_as_it_is() -> None:
    assert locked(pin(), [], whose="train: p", hint="h") == TOOL


def test_one_without_a_wheel_is_the_one_that_was_built() -> None:
    found = locked(pin(kind="sdist"), [MADE], whose="train: p", hint="h")
    assert found == Tool(name="maker", version="1", filename="maker-1-own.whl", sha256=A)


def test_one_that_nobody_builds_is_named() -> None:
    with pytest.raises(WardianError, match="train: p is built with maker 1, which has no wheel itself") as caught:
        locked(pin(kind="sdist"), [], whose="train: p", hint="another version")
    assert caught.value.hint == "another version"


@pytest.mark.parametrize(
    ("pins", "built", "right"),
    [
        ([], [], True),
        ([pin()], [], True),
        ([pin(name="other", version="9")], [], True),
        ([pin("2")], [], False),
        ([pin(kind="sdist")], [MADE], True),
        ([pin(kind="sdist")], [MADE.model_copy(update={"sha256": B})], False),
    ],
)
def test_tools_are_right_while_the_image_has_the_same(pins: list[Pinned], built: list[Built], right: bool) -> None:
    assert agree([TOOL], pins, built) is right
