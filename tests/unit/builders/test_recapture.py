"""What an engine's layer becomes: the stream that the sandbox would have written."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.builders.recapture import recaptured
from wardian.errors import WardianError
from wardian.oci.tar import Entry

ETC = Entry("etc", "dir", 0o755)
BENEATH = {
    "etc": ETC,
    "etc/plain": Entry("etc/plain"),
    "data": Entry("data", "dir", 0o755),
    "data/a": Entry("data/a"),
    "tmp": Entry("tmp", "dir", 0o1777),
}


def told(given: Sequence[Entry], skip: Sequence[str] = ()) -> list[tuple[str, str]]:
    return [(entry.path, entry.kind) for entry, _ in recaptured(given, BENEATH, epoch=7, skip=skip)]


def test_every_entry_has_the_fixed_time_and_its_own_bytes() -> None:
    layer = [Entry("etc", "dir", mtime=99), Entry("etc/new", size=3, mtime=99, uid=33)]

    found = list(recaptured(layer, BENEATH, epoch=7))

    assert [(entry.path, entry.mtime, at) for entry, at in found] == [("etc", 7, None), ("etc/new", 7, 1)]
    assert found[1][0].uid == 33


def test_a_folder_that_was_only_walked_through_is_left_out() -> None:
    layer = [ETC, Entry("tmp", "dir", 0o1777), Entry("tmp/x"), Entry("etc/resolv.conf"), Entry("run", "dir")]

    assert told([*layer, Entry("run/wardian", "dir")], skip=["etc/resolv.conf"]) == []


@pytest.mark.parametrize(
    "changed", [Entry("etc", "dir", 0o700), Entry("etc", "dir", uid=5), Entry("etc", "dir", xattrs=(("user.a", b"1"),))]
)
def test_a_folder_that_was_changed_is_kept(changed: Entry) -> None:
    assert told([Entry(changed.path, "dir", 0o755 if changed.mode == 0o644 else changed.mode, uid=changed.uid,
                       xattrs=changed.xattrs)]) == [("etc", "dir")]  # fmt: skip


def test_a_folder_above_a_change_has_the_attributes_of_the_one_beneath() -> None:
    ((folder, _), _) = recaptured([Entry("etc/new")], {"etc": Entry("etc", "dir", 0o750, uid=3)}, epoch=7)

    assert (folder.path, folder.mode, folder.uid) == ("etc", 0o750, 3)


def test_whiteouts_come_first_and_hide_what_is_there() -> None:
    layer = [ETC, Entry("etc/a"), Entry("etc/.wh.plain", mode=0o600)]

    assert told(layer) == [("etc", "dir"), ("etc/.wh.plain", "file"), ("etc/a", "file")]


def test_a_whiteout_of_what_an_image_must_not_hold_is_left_out() -> None:
    assert told([ETC, Entry("etc/.wh.machine-id")]) == []


def test_a_folder_made_anew_hides_the_one_beneath() -> None:
    opaque = [Entry("data", "dir", 0o755), Entry("data/.wh..wh..opq"), Entry("data/b")]
    removed = [Entry(".wh.data"), Entry("data", "dir", 0o755), Entry("data/b")]

    assert told(opaque) == told(removed) == [("data", "dir"), ("data/.wh..wh..opq", "file"), ("data/b", "file")]


def test_a_new_folder_hides_nothing_though_the_engine_says_so() -> None:
    assert told([Entry("new", "dir"), Entry("new/.wh..wh..opq"), Entry("new/x")]) == [("new", "dir"), ("new/x", "file")]


def test_a_name_that_means_deletion_is_refused() -> None:
    with pytest.raises(WardianError, match="cannot have a name that starts with"):
        told([ETC, Entry("etc/.wh.nothing")])


def test_the_first_name_of_hard_links_has_the_bytes() -> None:
    layer = [
        Entry("z", "dir"),
        Entry("z/one", size=5, mode=0o600, xattrs=(("user.a", b"1"), ("trusted.x", b"2"))),
        Entry("a", "hardlink", link="z/one"),
        Entry("b", "hardlink", link="a"),
    ]

    found = list(recaptured(layer, {}, epoch=7))

    assert [(entry.path, entry.kind, entry.link, entry.size, at) for entry, at in found] == [
        ("a", "file", "", 5, 1),
        ("b", "hardlink", "a", 0, None),
        ("z", "dir", "", 0, None),
        ("z/one", "hardlink", "a", 0, None),
    ]
    assert {entry.mode for entry, _ in found if entry.kind != "dir"} == {0o600}
    assert [entry.xattrs for entry, _ in found] == [(("user.a", b"1"),), (), (), ()]


def test_a_hard_link_to_nothing_is_refused() -> None:
    with pytest.raises(WardianError, match="hard link to nothing"):
        told([Entry("a", "hardlink", link="b")])


def test_hard_links_in_a_circle_are_refused() -> None:
    with pytest.raises(WardianError, match="hard link to nothing"):
        told([Entry("a", "hardlink", link="b"), Entry("b", "hardlink", link="a")])


@given(st.permutations(["etc", "etc/new", "etc/.wh.plain", "opt", "opt/a", "opt/a/b", "data", "data/.wh.a"]))
def test_the_order_of_the_engine_is_of_no_account(paths: list[str]) -> None:
    folders = {"etc", "opt", "opt/a", "data"}
    layer = [Entry(path, "dir", 0o755) if path in folders else Entry(path) for path in paths]

    assert told(layer) == [
        ("data", "dir"),
        ("data/.wh.a", "file"),
        ("etc", "dir"),
        ("etc/.wh.plain", "file"),
        ("etc/new", "file"),
        ("opt", "dir"),
        ("opt/a", "dir"),
        ("opt/a/b", "file"),
    ]
