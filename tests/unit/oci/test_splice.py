"""Wheel layers: right content, the same bytes always, nothing that a wheel lied about."""

import base64
import gzip
import hashlib
import io
import itertools
import os
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wheels import Raw, as_file, hashed, raw_members, raw_zip, wheel, wheel_files, zipped
from wardian.errors import WheelRefused
from wardian.oci.digest import sha256
from wardian.oci.layer import LayerBlob
from wardian.oci.splice import write_wheels
from wardian.oci.wheel import WheelFile

SITE = "opt/env/lib/python3.11/site-packages"


def layer(*wheels: WheelFile, **settings: int) -> tuple[bytes, LayerBlob]:
    out = io.BytesIO()
    told = write_wheels(out, wheels, prefix="/opt/env", python="3.11", **settings)
    return out.getvalue(), told


def content(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        files = ((found.name, tar.extractfile(found)) for found in tar if found.isfile())
        return {name: file.read() for name, file in files if file}


def test_the_blob_is_what_is_told() -> None:
    data, told = layer(as_file(wheel()))
    tar = gzip.decompress(data)
    assert told == LayerBlob(sha256(data), sha256(tar), len(data), len(tar), told.brought)
    assert [name for name, _ in told.brought] == ["thing==1.0"]


names = st.text("abcé-_.", min_size=1, max_size=8).filter(
    lambda name: name.strip(".") != "" and not name.startswith(".wh.")
)
trees = st.dictionaries(names.map("pkg/{}".format), st.binary(max_size=100_000), max_size=5)


@given(trees, st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
@settings(max_examples=50)
def test_every_file_arrives_as_it_was(files: dict[str, bytes], method: int) -> None:
    found = content(layer(as_file(wheel(files=files, method=method)))[0])
    assert {name: found[f"{SITE}/{name}"] for name in files} == files


def test_large_files_and_large_generated_files() -> None:
    files = {"thing/big": os.urandom(3_000_000), "thing/zeros": bytes(5_000_000)}
    files |= {f"thing/{at:05}": b"" for at in range(3000)}  # RECORD becomes larger than one stored block
    data, _ = layer(as_file(wheel(files=files)))
    found = content(data)
    assert found[f"{SITE}/thing/big"] == files["thing/big"]
    assert found[f"{SITE}/thing/zeros"] == files["thing/zeros"]
    assert len(found[f"{SITE}/thing-1.0.dist-info/RECORD"]) > 65535


def test_the_order_of_wheels_does_not_matter() -> None:
    made = {name: wheel(name, files={f"{name}/a.py": name.encode()}) for name in ("one", "two", "three")}
    layers = {layer(*(as_file(made[name], name) for name in order))[0] for order in itertools.permutations(made)}
    assert len(layers) == 1


def test_folders_come_once_and_first_with_plain_modes() -> None:
    data, _ = layer(
        as_file(wheel("one", files={"shared/one.py": b""}), "one"),
        as_file(wheel("two", files={"shared/two.py": b""}), "two"),
    )
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        members = tar.getmembers()
    paths = [found.name for found in members]
    assert paths == sorted(paths)
    assert len(set(paths)) == len(paths)
    assert paths[:2] == ["opt", "opt/env"]
    assert all(
        (found.mode, found.uid, found.gid, found.mtime) == (0o755, 0, 0, 1577836800)
        for found in members
        if found.isdir()
    )
    for path in paths:
        assert "/" not in path or path.rpartition("/")[0] in paths


def test_the_time_of_files_can_be_chosen() -> None:
    data, _ = layer(as_file(wheel()), mtime=1_000_000_000)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        assert {found.mtime for found in tar} == {1_000_000_000}


def test_of_two_wheels_with_one_file_the_later_name_wins() -> None:
    one, two = wheel("one", files={"tests/a.py": b"one"}), wheel("two", files={"tests/a.py": b"two"})
    for order in ([("one", one), ("two", two)], [("two", two), ("one", one)]):
        assert content(layer(*(as_file(data, name) for name, data in order))[0])[f"{SITE}/tests/a.py"] == b"two"


def test_no_wheel_makes_an_empty_layer() -> None:
    data, told = layer()
    assert gzip.decompress(data) == bytes(1024)
    assert told.unpacked_size == 1024


def test_a_file_and_a_folder_of_one_name_are_refused() -> None:
    with pytest.raises(WheelRefused, match="a file and a folder at once") as caught:
        layer(as_file(wheel("one", files={"x": b""}), "one"), as_file(wheel("two", files={"x/y": b""}), "two"))
    assert caught.value.member == f"{SITE}/x"
    with pytest.raises(WheelRefused, match="a file and a folder at once"):
        layer(as_file(wheel(files={"x": b"", "x/y": b""})))


@pytest.mark.parametrize("size", [10, 100_000, 5_000_000])
def test_content_that_is_not_what_record_tells_is_refused(size: int) -> None:
    files = wheel_files("thing", "1.0", {"thing/a.bin": b"x" * size})
    with pytest.raises(WheelRefused, match="does not have the sha256 that RECORD tells") as caught:
        layer(as_file(zipped({**files, "thing/a.bin": b"y" * size})))
    assert caught.value.member == "thing/a.bin"
    script = "thing-1.0.data/scripts/run"
    lying = wheel_files("thing", "1.0", {script: b"#!python\nhonest"})
    with pytest.raises(WheelRefused, match="RECORD tells"):
        layer(as_file(zipped({**lying, script: b"#!python\nworse!"})))


def test_other_strong_hashes_are_checked_too() -> None:
    files = wheel_files("thing", "1.0", {"thing/a": b"hello"})
    value = base64.urlsafe_b64encode(hashlib.sha512(b"hello").digest()).decode().rstrip("=")
    own = "thing-1.0.dist-info/RECORD"
    listed = {**files, own: files[own].decode().replace(hashed(b"hello"), f"sha512={value}").encode()}
    assert content(layer(as_file(zipped(listed)))[0])[f"{SITE}/thing/a"] == b"hello"
    with pytest.raises(WheelRefused, match="sha512"):
        layer(as_file(zipped({**listed, "thing/a": b"HELLO"})))


@pytest.mark.parametrize("spoil", [{"crc": 5}, {"size": 99, "local_size": 99}, {"body": b"\xff\xff\xff"}])
def test_damage_inside_a_member_is_refused(spoil: dict[str, object]) -> None:
    members = raw_members(wheel_files("thing", "1.0", {"thing/a": b"x" * 100}))
    bad = [Raw(**{**vars(member), **spoil}) if member.name == b"thing/a" else member for member in members]
    with pytest.raises(WheelRefused):
        layer(as_file(raw_zip(bad)))


def test_the_bytes_of_a_layer_stay_the_same_for_ever() -> None:
    """The digest of one small layer. It may change only with the layer format, and then the version in the keys too."""
    members = raw_members(
        wheel_files("thing", "1.0", {"thing/__init__.py": b"value = 1\n", "thing-1.0.data/scripts/run": b"#!python\n"})
    )
    stored = [Raw(member.name, member.content, method=0) for member in members]
    assert (
        layer(as_file(raw_zip(stored)))[1].digest
        == "sha256:4f882b91a2a6435041dd7ed2e6e86f5da14a0cac83b7c67ade79dcc9ac993515"
    )
