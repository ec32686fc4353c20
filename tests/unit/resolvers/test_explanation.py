"""uv's words, shortened to one line that names the cause."""

import pytest

from wardian.errors import Unavailable, WardianError
from wardian.lock.pylock import Pinned, Target
from wardian.resolvers.python import LONGEST, Wanted, explanation
from wardian.resolvers.python import _explained as explained

NEW = """error: No solution found when resolving dependencies
  cause: Because there is no version of gymnasium==99 and you require gymnasium==99, we can conclude that your
  requirements are unsatisfiable.

hint: something else
"""
OLD = """  × No solution found when resolving dependencies:
  ╰─▶ Because gymnasium>=1.4.0 depends on numpy>=1.22 and you require gymnasium==1.4.0, we can conclude that
      numpy>=1.22.
      And because you require numpy<1.20, we can conclude that your requirements are unsatisfiable.
"""
TARGET = Target("3.11", "linux/amd64", 36)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (NEW, "there is no version of gymnasium==99 and you require gymnasium==99"),
        (OLD, "gymnasium>=1.4.0 depends on numpy>=1.22 and you require gymnasium==1.4.0; you require numpy<1.20"),
        ("error: File not found: `a.txt`\n", "File not found: `a.txt`"),
        (
            "error: Failed to fetch: `https://ada:s3cret@h/x`\n  Caused by: dns error\n",
            "Failed to fetch: `https://h/x`: dns error",
        ),
        ("error: a\n  cause: b\n\n  hint: c", "a: b"),
        ("", ""),
    ],
)
def test_one_line(said: str, line: str) -> None:
    assert explanation(said) == line


def test_long_ones_are_cut() -> None:
    assert len(explanation("error: " + "word " * 400)) <= LONGEST


def test_the_image_is_named() -> None:
    error = explained(Wanted("train[python=3.11]", TARGET), NEW)
    assert type(error) is WardianError
    assert error.message.startswith("train[python=3.11]: the requirements cannot be met: there is no version")
    assert error.hint == "change the requirements of images.train"


def test_a_clash_with_the_parent_is_named() -> None:
    numpy = Pinned("numpy", "2.4.6", "wheel", "n.whl", "", "0" * 64)
    said = "error: x\n  cause: Because you require numpy<2 and numpy==2.4.6, we can conclude that …"
    error = explained(Wanted("dev", TARGET, inherited=(numpy,), beneath="@base"), said)
    assert error.message == "dev: the requirements do not fit what @base has: you require numpy<2 and numpy==2.4.6"
    assert error.hint
    assert error.hint.startswith("numpy 2.4.6 comes from @base")


def test_an_index_that_does_not_answer() -> None:
    said = (
        "error: Request failed\n  cause: Failed to fetch: `http://127.0.0.1:9/x/`\n  Caused by: error sending request"
    )
    assert isinstance(explained(Wanted("train", TARGET), said), Unavailable)


def test_what_is_needed_to_build_is_told_apart() -> None:
    error = explained(Wanted("train, building p", TARGET, hint="`requires` in [images.train.sdists.p]"), NEW)
    assert error.message.startswith("train, building p: the build requirements cannot be met")
    assert error.hint
    assert "[images.train.sdists.p]" in error.hint
