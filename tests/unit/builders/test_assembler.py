"""Layers without an engine, read back with the standard library's tarfile."""

import io
import tarfile
from pathlib import Path

import pytest

from wardian.builders.assembler import stream
from wardian.errors import WardianError
from wardian.plan.layers import Entry

EPOCH = 1_577_836_800


def members(entries: list[Entry], texts: dict[str, bytes] | None = None) -> dict[str, tarfile.TarInfo]:
    raw = b"".join(stream(entries, EPOCH, texts))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_entries_are_sorted_with_their_folders() -> None:
    found = members([Entry("/w/b", "file", 0o644, ""), Entry("/w/a/c", "symlink", 0o777, "../b")], {"w/b": b"hello"})
    assert list(found) == ["w", "w/a", "w/a/c", "w/b"]
    assert (found["w/a/c"].linkname, found["w/b"].size) == ("../b", 5)


def test_everything_belongs_to_root_at_one_time() -> None:
    for member in members([Entry("/w/b", "file", 0o755, "")], {"w/b": b""}).values():
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", EPOCH)
        assert member.mode == 0o755


@pytest.mark.parametrize("folder", ["etc", "usr/local/bin", "tmp", "root", "var/lib"])
def test_folders_of_the_base_keep_their_attributes(folder: str) -> None:
    found = members([Entry(f"/{folder}/x/y", "file", 0o644, "")], {f"{folder}/x/y": b""})
    assert list(found) == [f"{folder}/x", f"{folder}/x/y"]


def test_a_file_is_read_from_the_project(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"x" * 3_000_000)
    raw = b"".join(stream([Entry("/w/a", "file", 0o644, "", str(source))], EPOCH))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        file = archive.extractfile("w/a")
        assert file
        assert file.read() == b"x" * 3_000_000
    assert len(raw) % 512 == 0


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"x" * 100)
    pieces = stream([Entry("/w/a", "file", 0o644, "", str(source))], EPOCH)
    next(pieces)
    next(pieces)
    source.write_bytes(b"")
    with pytest.raises(WardianError, match="became shorter"):
        list(pieces)


def test_the_order_of_entries_does_not_matter() -> None:
    entries = [Entry(f"/w/{name}", "dir", 0o755, "") for name in ("a", "a-b", "a/b", "b")]
    assert b"".join(stream(entries, EPOCH)) == b"".join(stream(list(reversed(entries)), EPOCH))
