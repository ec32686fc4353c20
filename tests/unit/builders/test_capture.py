"""An upper folder → a layer: what is kept, what is marked as removed. Device nodes are tested with engines."""

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from wardian.builders.capture import main, write
from wardian.errors import WardianError

EPOCH = 1_577_836_800


def captured(upper: Path, skip: tuple[str, ...] = (), lowers: tuple[Path, ...] = ()) -> dict[str, tarfile.TarInfo]:
    out = io.BytesIO()
    count = write(upper, out, epoch=EPOCH, skip=skip, lowers=lowers)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        members = archive.getmembers()
    assert count == len(members)
    return {member.name: member for member in members}


def test_files_folders_and_links_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o750)
    (tmp_path / "a" / "b").write_bytes(b"x" * 2_000_000)
    (tmp_path / "a" / "b").chmod(0o4755)
    (tmp_path / "a" / "c").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "a" / "d")
    found = captured(tmp_path)
    assert [*found] == ["a", "a/b", "a/c", "a/d"]
    assert (found["a"].mode, found["a/b"].mode, found["a/b"].size) == (0o750, 0o4755, 2_000_000)
    assert found["a/c"].linkname == "/nowhere"
    assert found["a/d"].isfifo()
    assert {member.mtime for member in found.values()} == {EPOCH}


def test_hard_links_are_kept(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    (tmp_path / "a").hardlink_to(tmp_path / "b")
    found = captured(tmp_path)
    assert (found["a"].isreg(), found["b"].islnk(), found["b"].linkname) == (True, True, "a")


def test_sockets_are_dropped(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert captured(tmp_path) == {}


def test_what_a_bind_left_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "resolv.conf").touch()
    (tmp_path / "run" / "wardian").mkdir(parents=True)
    assert list(captured(tmp_path, ("etc/resolv.conf",))) == ["etc"]


def test_a_folder_that_is_as_it_was_is_left_out(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for name in ("usr/lib/old/__pycache__", "usr/lib/new/__pycache__", "usr/lib/empty", "usr/lib/changed"):
        (upper / name).mkdir(parents=True)
    (upper / "usr/lib/old/__pycache__/x.pyc").write_text("x")
    (upper / "usr/lib/new/x.py").write_text("x")
    for name in ("usr/lib/old", "usr/lib/changed"):
        (lower / name).mkdir(parents=True)
    (upper / "usr/lib/changed").chmod(0o700)
    assert list(captured(upper, lowers=(lower,))) == [
        *("usr", "usr/lib", "usr/lib/changed", "usr/lib/empty", "usr/lib/new", "usr/lib/new/x.py"),
    ]


def test_a_folder_that_was_removed_beneath_is_new(tmp_path: Path) -> None:
    """What an opaque folder of an upper layer hides does not count."""
    upper, middle, lower = tmp_path / "upper", tmp_path / "middle", tmp_path / "lower"
    for folder in (upper / "a" / "b", middle / "a", lower / "a" / "b"):
        folder.mkdir(parents=True)
    assert list(captured(upper, lowers=(middle, lower))) == []
    try:
        os.setxattr(middle / "a", "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    assert list(captured(upper, lowers=(middle, lower))) == ["a", "a/b"]


def test_a_users_attributes_are_kept_and_overlays_are_not(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    try:
        os.setxattr(file, "user.color", b"\0red\xff")
        os.setxattr(file, "user.overlay.origin", b"x")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    assert {*captured(tmp_path)["a"].pax_headers} == {"SCHILY.xattr.user.color"}


def test_an_opaque_folder_is_marked_when_it_hides_something(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    (upper / "a").mkdir(parents=True)
    (upper / "a" / "b").touch()
    lower.mkdir()
    try:
        os.setxattr(upper / "a", "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    assert list(captured(upper, lowers=(lower,))) == ["a", "a/b"]
    (lower / "a").mkdir()
    assert list(captured(upper, lowers=(lower,))) == ["a", "a/.wh..wh..opq", "a/b"]


@pytest.mark.parametrize("kind", ["redirect", "metacopy"])
def test_a_reference_to_a_lower_layer_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").mkdir()
    try:
        os.setxattr(tmp_path / "a", f"user.overlay.{kind}", b"/x")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    with pytest.raises(WardianError, match="redirect_dir or metacopy"):
        captured(tmp_path)


def test_a_name_that_means_deletion_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wh.x").touch()
    with pytest.raises(WardianError, match="cannot have a name"):
        captured(tmp_path)


def test_names_may_be_long_and_not_utf8(tmp_path: Path) -> None:
    long = "é" * 100
    (tmp_path / long).mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / long) + b"/\xff\n")).write_text("x")
    (tmp_path / "link").symlink_to("x" * 300)
    found = captured(tmp_path)
    assert [os.fsencode(name) for name in found] == [b"link", long.encode(), long.encode() + b"/\xff\n"]
    assert found["link"].linkname == "x" * 300


def test_the_program_says_what_is_wrong(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".wh.x").touch()
    assert main([str(tmp_path), "--epoch", "0"]) == 1
    assert "/.wh.x" in capfd.readouterr().err
