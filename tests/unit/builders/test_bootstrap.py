"""What mmdebstrap made, written anew."""

import io
import tarfile
from collections.abc import Mapping, Sequence

import pytest

from wardian.builders.bootstrap import rewritten
from wardian.errors import WardianError

EPOCH = 1_577_836_800


def member(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.mtime = kind, len(content), 1_700_000_000
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


def stream(members: Sequence[tuple[tarfile.TarInfo, bytes]], own: Mapping[str, bytes | None]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for made, content in members:
            archive.addfile(made, io.BytesIO(content))
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        return b"".join(rewritten(archive, own, EPOCH))


def again(
    members: Sequence[tuple[tarfile.TarInfo, bytes]], own: Mapping[str, bytes | None] | None = None
) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(stream(members, own or {})))


def read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file
    return file.read()


def test_members_are_sorted_and_have_one_time() -> None:
    made = again(
        [
            member("./", tarfile.DIRTYPE),
            member("./usr/", tarfile.DIRTYPE, mode=0o755),
            member("./etc/", tarfile.DIRTYPE, mode=0o755),
            member("./usr/b", content=b"b", mode=0o4755, gid=42),
            member("./etc/a", content=b"a"),
        ]
    )
    assert made.getnames() == ["etc", "etc/a", "usr", "usr/b"]
    assert {one.mtime for one in made.getmembers()} == {EPOCH}
    assert (made.getmember("usr/b").mode, made.getmember("usr/b").gid, read(made, "usr/b")) == (0o4755, 42, b"b")


def test_traces_and_devices_are_left_out() -> None:
    made = again(
        [
            member("./dev/", tarfile.DIRTYPE),
            member("./dev/null", tarfile.CHRTYPE),
            member("./var/log/dpkg.log", content=b"x"),
            member("./etc/machine-id"),
        ]
    )
    assert made.getnames() == ["dev"]


def test_our_files_replace_and_are_added() -> None:
    made = again(
        [member("./etc/hostname", content=b"this-machine"), member("./etc/gone", content=b"x")],
        {"etc/hostname": b"", "etc/gone": None, "etc/apt/sources.list": b"deb x\n"},
    )
    assert made.getnames() == ["etc/apt/sources.list", "etc/hostname"]
    assert read(made, "etc/hostname") == b""
    assert read(made, "etc/apt/sources.list") == b"deb x\n"


def test_hard_links_point_to_the_name_that_sorts_first() -> None:
    made = again(
        [
            member("./usr/bin/perl5.36", content=b"perl", mode=0o755),
            member("./usr/bin/perl", tarfile.LNKTYPE, linkname="./usr/bin/perl5.36", mode=0o755),
        ]
    )
    assert made.getmember("usr/bin/perl").isreg()
    assert made.getmember("usr/bin/perl5.36").linkname == "usr/bin/perl"
    assert read(made, "usr/bin/perl") == b"perl"


def test_a_link_whose_first_name_is_left_out_keeps_its_content() -> None:
    made = again(
        [
            member("./var/log/dpkg.log", content=b"log"),
            member("./var/log/mine", tarfile.LNKTYPE, linkname="./var/log/dpkg.log"),
        ]
    )
    assert made.getnames() == ["var/log/mine"]
    assert read(made, "var/log/mine") == b"log"


def test_capabilities_are_kept_and_other_attributes_are_not() -> None:
    headers = {"SCHILY.xattr.security.capability": "\x01\0", "SCHILY.xattr.security.selinux": "x"}
    made = again([member("./usr/bin/ping", content=b"x", pax_headers=headers)])
    assert {*made.getmember("usr/bin/ping").pax_headers} == {"SCHILY.xattr.security.capability"}


def test_the_order_of_members_does_not_matter() -> None:
    members = [member(f"./etc/{name}", content=name.encode()) for name in "abc"]
    assert stream(members, {}) == stream(list(reversed(members)), {})


def test_an_unknown_kind_of_member_is_an_error() -> None:
    with pytest.raises(WardianError, match="unknown type: etc/x"):
        again([member("./etc/x", b"Z")])
