"""What the sandbox reads of an image of strangers before anything runs in it."""

import os
from pathlib import Path

import pytest

from wardian.errors import EngineFailed
from wardian.hosts.rootfs import Tree
from wardian.runtimes.sandbox import _text


@pytest.fixture
def image(tmp_path: Path) -> Tree:
    (tmp_path / "image/etc").mkdir(parents=True)
    return Tree((str(tmp_path / "image"),))


def place(image: Tree, path: str = "etc/passwd") -> Path:
    return Path(image.lowers[0], path)


def test_a_file_is_read_whatever_its_bytes_are(image: Tree) -> None:
    place(image).write_bytes(b"root:x:0:0::/root:\xff\n")
    assert _text(image, "/etc/passwd") == "root:x:0:0::/root:\udcff\n"
    assert _text(image, "/etc/group") == ""


def test_a_link_leads_to_a_file_of_the_image_and_not_of_this_machine(image: Tree) -> None:
    place(image).symlink_to("/etc/hostname")
    assert _text(image, "/etc/passwd") == ""
    place(image, "etc/hostname").write_text("the image's own")
    assert _text(image, "/etc/passwd") == "the image's own"


def test_a_fifo_is_not_waited_for_and_a_folder_is_no_file(image: Tree) -> None:
    os.mkfifo(place(image))
    place(image, "etc/group").mkdir()
    assert _text(image, "/etc/passwd") == _text(image, "/etc/group") == ""


def test_a_file_without_end_is_refused(image: Tree) -> None:
    with place(image).open("wb") as file:
        file.truncate(1 << 40)  # a hole: no disk is filled
    with pytest.raises(EngineFailed, match=r"/etc/passwd of the image has 1099511627776 bytes: too many to read"):
        _text(image, "/etc/passwd")
