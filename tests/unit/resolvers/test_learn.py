"""What a build backend told, and what uv wants to know of it."""

from collections.abc import Sequence

import pytest

from wardian.errors import WardianError
from wardian.lock.pylock import Target
from wardian.resolvers.learn import static, version_of
from wardian.resolvers.python import Static, Wanted, to_build

METADATA = """\
Metadata-Version: 2.1
Name: My_Thing
Version: 1.0
Requires-Python: >=3.8
Requires-Dist: numpy>=1; python_version < "3.12"
Requires-Dist: torch; extra == "gpu"
Provides-Extra: gpu

A long story: Name: other
"""
WANTED = Wanted("train", Target("3.11", "linux/amd64"))


def said(what: str) -> str:
    return f"error: Failed to download and build `{what}`\n  cause: failed to create directory\n `/c/builds-v0`"


def test_metadata_is_what_uv_is_told() -> None:
    found = static(METADATA, "my-thing", "1.0")
    requires = ('numpy>=1; python_version < "3.12"', 'torch; extra == "gpu"')
    assert found == Static("my-thing", "1.0", "", requires, ">=3.8", ("gpu",))


def test_a_version_may_be_written_in_two_ways() -> None:
    assert static(METADATA, "my-thing", "1").version == "1.0"


def test_an_address_has_the_version_that_its_backend_tells() -> None:
    found = static(METADATA, "my-thing", "https://example.org/main.zip")
    assert (found.version, found.address) == ("1.0", "https://example.org/main.zip")


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        (METADATA, "other", "1.0"),
        (METADATA, "my-thing", "2.0"),
        (METADATA, "my-thing", "not-a-version"),
        ("", "my-thing", "1.0"),
        ("Metadata-Version: 2.1\nName: my-thing\n", "my-thing", "https://example.org/x.zip"),
    ],
)
def test_metadata_of_something_else(text: str, name: str, place: str) -> None:
    with pytest.raises(WardianError, match=f"the build backend of {name} {place} tells of"):
        static(text, name, place)


@pytest.mark.parametrize(
    ("address", "version"),
    [
        ("https://example.org/a/p-1.5.tar.gz#sha256=00", "1.5"),
        ("file:///links/my_thing-2.0rc1.zip", "2.0rc1"),
        ("https://example.org/archive/refs/heads/main.tar.gz", "0"),
    ],
)
def test_the_version_in_an_address(address: str, version: str) -> None:
    assert version_of(address) == version


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("My.Thing==1.0", ("my-thing", "1.0")),
        ("dyn @ https://example.org/a==b/dyn.tar.gz", ("dyn", "https://example.org/a==b/dyn.tar.gz")),
        ("dyn @ file:///a b/dyn-2.0.zip", ("dyn", "file:///a b/dyn-2.0.zip")),
    ],
)
def test_what_uv_wants_to_build(what: str, found: tuple[str, str]) -> None:
    assert to_build(WANTED, said(what), ()) == found


@pytest.mark.parametrize(
    "text",
    [
        said("dyn @ git+https://example.org/dyn@0000"),
        "error: failed to create directory `/c/builds-v0`: File exists (os error 17)",
    ],
)
def test_a_repository_and_a_working_tree_cannot_be_locked(text: str) -> None:
    with pytest.raises(WardianError, match=r"train: .* is a working tree or a repository, which cannot be locked"):
        to_build(WANTED, text, ())


@pytest.mark.parametrize("known", [[Static("dyn", "1.0")], [Static("dyn", "3.0", "https://x/dyn.zip")]])
def test_nothing_is_asked_twice(known: Sequence[Static]) -> None:
    """Uv was told, and wants to build all the same: that would never end."""
    with pytest.raises(WardianError, match=r"train: dyn .* when built, and uv hears another"):
        to_build(WANTED, said("dyn @ https://x/dyn.zip" if known[0].address else "dyn==1.0"), known)
