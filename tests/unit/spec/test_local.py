"""wardian.local.toml: values change, everything else stays byte for byte."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.spec.local import HEADING, changed

BEFORE = """\
# mine
[run]   # by hand
user = 'root'

[mounts.a]  # the package I work on
source = "old"   # not the other one
"x y" = 1

[mounts.b]
source = "b"
"""


def test_a_new_file_says_what_it_is() -> None:
    assert changed("", "a", {"source": "/x", "enabled": True}) == (
        f'{HEADING}\n[mounts.a]\nsource = "/x"\nenabled = true\n'
    )


def test_only_the_value_changes() -> None:
    after = changed(BEFORE, "a", {"source": "new"})
    assert after == BEFORE.replace('"old"', '"new"')


def test_a_new_key_and_a_new_mount_leave_the_rest() -> None:
    after = changed(changed(BEFORE, "a", {"enabled": False}), "c", {"source": "/c"})
    assert [line for line in after.splitlines() if line not in BEFORE.splitlines()] == [
        "enabled = false",
        "[mounts.c]",
        'source = "/c"',
    ]
    assert [line for line in BEFORE.splitlines() if line not in after.splitlines()] == []


@pytest.mark.parametrize(
    "document",
    [
        'mounts.a.source = "old" # keep\n',
        'mounts = { a = { source = "old" }, b = { source = "b" } } # keep\n',
        '[mounts]\na.source = "old" # keep\n[run]\nuser = "root"\n',
        '[mounts]\na = { source = "old" } # keep\n',
        '[mounts.a]\nsource = "old"\n[run]\nshm = 1 # keep\n[mounts.b]\nsource = "b"\n',
        '[mounts.b]\nsource = "b" # keep',
        "# keep\r\n[mounts.a]\r\nsource = 'old'\r\n",
        '\ufeff# keep\n[mounts.a]\nsource = "old"\n',
    ],
)
def test_however_it_is_written(document: str) -> None:
    after = changed(document, "a", {"source": "new", "enabled": True})
    before = tomllib.loads(document.removeprefix("\ufeff"))
    before.setdefault("mounts", {})["a"] = {"source": "new", "enabled": True}
    assert tomllib.loads(after) == before
    assert "keep" in after


def test_nothing_new_changes_nothing() -> None:
    assert changed(BEFORE, "a", {"source": "old"}) == BEFORE


@pytest.mark.parametrize("document", ["[mounts", "mounts = 3\n", "[[mounts]]\na = 1\n", "[mounts]\na = 1\n"])
def test_what_cannot_be_changed_says_what_to_write_by_hand(document: str) -> None:
    with pytest.raises(WardianError, match="cannot be changed") as caught:
        changed(document, "a", {"source": "x"})
    assert caught.value.hint == 'write into [mounts.a] by hand: source = "x"'


@given(st.text(st.characters(codec="utf-8")))
def test_any_source_comes_back(source: str) -> None:
    assert tomllib.loads(changed(BEFORE, "a", {"source": source}))["mounts"]["a"]["source"] == source
