"""The passwd and group files that a container gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.plan.containers import User
from wardian.plan.identity import group, passwd

BASE = (
    "root:x:0:0:root:/root:/bin/bash\n"
    "www-data:x:33:33::/var/www:/sbin/nologin\n"
    "ubuntu:x:1000:1000::/home/ubuntu:/bin/sh\n"
)
GROUPS = "root:x:0:\nwww-data:x:33:anna\nusers:x:100:\n"
ANNA = User("host", 1234, 5678, "anna", "/home/anna")


def by_uid(text: str, uid: int) -> list[str]:
    """The entry that getpwuid(3) finds: the first."""
    return next(line.split(":") for line in text.splitlines() if line.split(":")[2] == str(uid))


def test_the_user_is_added_and_all_others_stay() -> None:
    made = passwd(BASE, ANNA, "/bin/bash")
    assert made.startswith("anna:x:1234:5678::/home/anna:/bin/bash\n")
    assert made.endswith(BASE)


def test_a_uid_that_the_image_has_means_the_user_and_the_other_name_still_works() -> None:
    made = passwd(BASE, User("host", 1000, 1000, "anna", "/home/anna"))
    assert by_uid(made, 1000)[0] == "anna"
    assert "ubuntu:x:1000:1000" in made


def test_a_name_that_the_image_has_means_the_user() -> None:
    made = passwd(BASE, User("host", 1234, 1234, "www-data", "/home/www-data"))
    assert next(line for line in made.splitlines() if line.startswith("www-data:")).split(":")[2] == "1234"


def test_root_is_the_images_own() -> None:
    root = User("root", 0, 0, "root", "/root")
    assert passwd(BASE, root) == BASE
    assert group(GROUPS, root) == GROUPS


@pytest.mark.parametrize("text", ["", "\n", "broken\n", "a:b\n"])
def test_a_file_without_entries(text: str) -> None:
    assert by_uid(
        passwd(text, User("root", 0, 0, "root", "/root")).replace("broken\n", "").replace("a:b\n", "").strip(), 0
    )
    assert passwd(text, ANNA).startswith("anna:x:1234:5678:")


def test_a_last_line_without_an_end_is_not_joined() -> None:
    assert passwd("root:x:0:0::/:/bin/sh", ANNA).splitlines()[1:] == ["root:x:0:0::/:/bin/sh"]


def test_a_group_that_the_image_has_keeps_its_name() -> None:
    assert group(GROUPS, User("host", 1234, 100, "anna", "/home/anna")) == GROUPS
    assert group(GROUPS, ANNA) == "anna:x:5678:\n" + GROUPS


@given(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2))
def test_any_ids_are_found_again(uid: int, gid: int) -> None:
    user = User("ids", uid, gid, f"u{uid}", f"/home/u{uid}")
    assert by_uid(passwd(BASE, user), uid)[2] == str(uid)
    assert any(line.split(":")[2] == str(gid) for line in group(GROUPS, user).splitlines())
