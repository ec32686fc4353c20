"""What a wheel becomes, and every wheel that must be refused, by name."""

import hashlib
import io
import stat
from collections.abc import Mapping

import pytest

from tests.wheels import METADATA, Raw, as_file, hashed, raw_members, raw_zip, record, wheel, wheel_files, zipped
from wardian.errors import WheelRefused
from wardian.oci.wheel import Installed, Placed, WheelFile, install

SITE = "opt/env/lib/python3.11/site-packages"


def installed(content: bytes, name: str = "thing", version: str = "1.0", *, requested: bool = False) -> Installed:
    return install(as_file(content, name, version, requested=requested), prefix="/opt/env", python="3.11")


def placed(content: bytes) -> dict[str, Placed]:
    return {file.path: file for file in installed(content).files}


def test_a_plain_wheel_goes_to_site_packages() -> None:
    found = installed(wheel())
    assert (found.name, found.version) == ("thing", "1.0")
    assert [file.path for file in found.files] == [
        f"{SITE}/thing-1.0.dist-info/INSTALLER",
        f"{SITE}/thing-1.0.dist-info/METADATA",
        f"{SITE}/thing-1.0.dist-info/RECORD",
        f"{SITE}/thing-1.0.dist-info/WHEEL",
        f"{SITE}/thing/__init__.py",
    ]


def test_only_what_was_asked_for_is_marked_requested() -> None:
    paths = {file.path for file in installed(wheel(), requested=True).files}
    assert f"{SITE}/thing-1.0.dist-info/REQUESTED" in paths


def test_the_new_record_lists_all_files_sorted() -> None:
    files = placed(wheel(files={"thing/b,c.py": b"x", "thing/a.py": b"", "thing-1.0.data/scripts/run": b"#!python\n1"}))
    rows = (files[f"{SITE}/thing-1.0.dist-info/RECORD"].content or b"").decode().splitlines()
    assert rows == sorted(rows, key=lambda row: row.strip('"'))
    assert f'"thing/b,c.py",{hashed(b"x")},1' in rows
    assert "thing-1.0.dist-info/RECORD,," in rows
    assert f"thing-1.0.dist-info/INSTALLER,{hashed(b'wardian' + chr(10).encode())},8" in rows
    script = b"#!/opt/env/bin/python\n1"
    assert f"../../../bin/run,{hashed(script)},{len(script)}" in rows
    assert len(rows) == len(files)


def test_data_goes_to_its_schemes() -> None:
    files = {
        "thing-1.0.data/purelib/pure.py": b"1",
        "thing-1.0.data/platlib/plat.so": b"2",
        "thing-1.0.data/headers/thing.h": b"3",
        "thing-1.0.data/data/share/man/x.1": b"4",
        "thing-1.0.data/data/lib64/x.so": b"5",
        "thing-1.0.data/scripts/tool": b"\x7fELF",
        "other.data/kept": b"6",
    }
    paths = set(placed(wheel(files=files)))
    assert paths >= {
        f"{SITE}/pure.py",
        f"{SITE}/plat.so",
        "opt/env/include/site/python3.11/thing/thing.h",
        "opt/env/share/man/x.1",
        "opt/env/lib/x.so",
        "opt/env/bin/tool",
        f"{SITE}/other.data/kept",
    }


def test_modes_are_0644_or_0755() -> None:
    files = {"thing/a": b"1", "thing/b": b"2", "thing/c": b"3", "thing-1.0.data/scripts/s": b"4"}
    modes = {"thing/a": 0o100600, "thing/b": 0o100775, "thing/c": 0o755, "thing-1.0.data/scripts/s": 0o100644}
    found = {path.rpartition("/")[2]: file.mode for path, file in placed(wheel(files=files, modes=modes)).items()}
    assert (found["a"], found["b"], found["c"], found["s"]) == (0o644, 0o755, 0o644, 0o755)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"#!python\nx", b"#!/opt/env/bin/python\nx"),
        (b"#!pythonw\r\nx", b"#!/opt/env/bin/python\nx"),
        (b"#!python -u\nx", b"#!/opt/env/bin/python\nx"),
        (b"#!python", b"#!/opt/env/bin/python\n"),
        (b"#!/usr/bin/env python\nx", None),
        (b"#!/bin/sh\nx", None),
        (b"", None),
    ],
)
def test_first_lines_of_scripts(first: bytes, expected: bytes | None) -> None:
    script = placed(wheel(files={"thing-1.0.data/scripts/run": first}))["opt/env/bin/run"]
    assert script.content == expected
    assert (script.member is None) == (expected is not None)


def test_a_script_gives_way_to_an_entry_point_as_with_pip() -> None:
    files = {
        "thing-1.0.dist-info/entry_points.txt": b"[console_scripts]\nrun = thing:main\n",
        "thing-1.0.data/scripts/run": b"#!python\nold",
        "thing-1.0.data/scripts/run-script.py": b"#!python\nold",
        "thing-1.0.data/scripts/other": b"#!python\nnew",
    }
    found = placed(wheel(files=files))
    assert b"from thing import main" in (found["opt/env/bin/run"].content or b"")
    assert "opt/env/bin/run-script.py" not in found
    assert "opt/env/bin/other" in found


def test_another_prefix_and_python() -> None:
    found = install(as_file(wheel()), prefix="/srv/venv", python="3.13")
    assert found.files[-1].path == "srv/venv/lib/python3.13/site-packages/thing/__init__.py"


def test_folders_and_the_wheels_own_installer_are_left_out() -> None:
    files = wheel_files(
        "thing",
        "1.0",
        {"thing/a": b"", "thing-1.0.dist-info/INSTALLER": b"pip", "thing-1.0.dist-info/direct_url.json": b"{}"},
    )
    found = placed(zipped({"thing/": b"", **files}, modes={"thing/": 0o40755}))
    assert found[f"{SITE}/thing-1.0.dist-info/INSTALLER"].content == b"wardian\n"
    assert f"{SITE}/thing-1.0.dist-info/direct_url.json" not in found
    assert f"{SITE}/thing" not in found


@pytest.mark.parametrize(
    ("name", "version", "stem"),
    [
        ("Thing.Much_more", "1.0", "Thing.Much_more-1.0"),
        ("thing", "1.0.0", "thing-1.0"),
        ("thing", "1.0+cpu.1", "thing-1.0+cpu.1"),
    ],
)
def test_names_are_compared_as_names(name: str, version: str, stem: str) -> None:
    inner, _, inner_version = stem.partition("-")
    content = zipped(wheel_files(inner, inner_version, {"x.py": b""}))
    assert installed(content, name, version).files


def refused(content: bytes, said: str, name: str = "thing", version: str = "1.0") -> WheelRefused:
    with pytest.raises(WheelRefused, match=said) as caught:
        installed(content, name, version)
    assert f"{name}-{version}-py3-none-any.whl" in caught.value.message
    assert caught.value.exit_code == 1
    return caught.value


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("../evil", "leads out"),
        ("thing/../../evil", "leads out"),
        ("thing/..", "leads out"),
        ("/etc/passwd", "absolute"),
        ("C:/windows", "absolute"),
        ("c:evil", "absolute"),
        ("thing\\evil", "backslash"),
        ("thing/a\nb", "control character"),
        ("thing/\x7f", "control character"),
        ("thing//a", "not a normal path"),
        ("./thing/a", "not a normal path"),
        ("thing/./a", "not a normal path"),
        (".wh.thing", "deletion"),
        ("thing/.wh..wh..opq", "deletion"),
        ("thing/" + "x" * 256, "no file system"),
        ("thing-1.0.data/scripts/../../../evil", "leads out"),
        ("thing-1.0.data/data//etc", "not a normal path"),
        ("thing-1.0.data/elsewhere/x", "wants to go to 'elsewhere'"),
        ("thing-1.0.data/x", "wants to go to 'x'"),
        ("thing-1.0.data/data/bin/python3.11", "a part of the environment"),
        ("thing-1.0.data/data/pyvenv.cfg", "a part of the environment"),
        ("thing-1.0.data/scripts/python", "a part of the environment"),
        ("thing-1.0.data/scripts/python/tool", "a part of the environment"),
        ("thing-1.0.data/data/pyvenv.cfg/x", "a part of the environment"),
        ("thing-1.0.data/data/bin", "a part of the environment"),
        ("thing-1.0.data/data/lib64", "a part of the environment"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(member: str, said: str) -> None:
    error = refused(wheel(files={member: b"x"}), said)
    assert error.member is not None


@pytest.mark.parametrize("name", ["e\u0301.py", "a\u2028b.py", "a\x85b.py", "a,b.py", 'a"b.py', " a.py"])
def test_names_are_kept_as_a_mac_and_others_write_them(name: str) -> None:
    assert f"{SITE}/thing/{name}" in placed(wheel(files={f"thing/{name}": b"1"}))


def test_a_name_with_a_nul_is_not_cut_there() -> None:
    members = raw_members(wheel_files("thing", "1.0", {}))
    error = refused(raw_zip([*members, Raw(b"thing/a.py\0.txt", b"x")]), "control character")
    assert error.member == "thing/a.py\0.txt"


@pytest.mark.parametrize(
    ("kind", "said"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFCHR, "neither"), (stat.S_IFIFO, "neither")]
)
def test_members_that_are_no_files_are_refused(kind: int, said: str) -> None:
    refused(wheel(files={"thing/a": b"/etc/passwd"}, modes={"thing/a": kind | 0o777}), said)


def test_a_folder_with_content_is_refused() -> None:
    members = raw_members(wheel_files("thing", "1.0", {}))
    assert refused(raw_zip([*members, Raw(b"thing/x/", b"hidden")]), "a folder with content").member == "thing/x/"


def test_a_member_that_is_there_twice_is_refused() -> None:
    members = raw_members(wheel_files("thing", "1.0", {"thing/a": b"1"}))
    error = refused(raw_zip([*members, members[2]]), "in it twice")
    assert error.member == "thing/a"
    composed, decomposed = "thing/\u00e9", "thing/e\u0301"
    refused(wheel(files={composed: b"1", decomposed: b"2"}), "in it twice")


def test_a_file_that_is_installed_twice_is_refused() -> None:
    refused(wheel(files={"a.py": b"1", "thing-1.0.data/purelib/a.py": b"2"}), "installed twice")


def spoilt(change: Mapping[str, bytes | None], files: Mapping[str, bytes] = {"thing/a.py": b"hello"}) -> bytes:
    whole: dict[str, bytes | None] = {**wheel_files("thing", "1.0", files), **change}
    return zipped({name: content for name, content in whole.items() if content is not None})


INFO = "thing-1.0.dist-info"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{INFO}/RECORD": None}, "has no thing-1.0.dist-info/RECORD"),
        ({f"{INFO}/WHEEL": None}, "has no thing-1.0.dist-info/WHEEL"),
        ({f"{INFO}/METADATA": None}, "has no thing-1.0.dist-info/METADATA"),
        ({"thing/b.py": b"unlisted"}, "'thing/b.py' is not in RECORD"),
        ({"thing/a.py": None}, "'thing/a.py' is in RECORD and not in the wheel"),
        ({"thing/a.py": b"hello!"}, "has 6 bytes and RECORD tells 5"),
        ({f"{INFO}/RECORD": b"\xff"}, "is damaged"),
        ({f"{INFO}/RECORD": b'"thing/a.py'}, "RECORD"),
        ({f"{INFO}/RECORD": b"thing/a.py,sha256=x,five\n"}, "is damaged"),
        ({f"{INFO}/RECORD": b"a,,\na,,\n"}, "is in RECORD twice"),
        ({"other-1.0.dist-info/METADATA": b""}, "has other-1.0.dist-info and thing-1.0.dist-info"),
    ],
)
def test_wheels_that_do_not_agree_with_themselves_are_refused(change: Mapping[str, bytes | None], said: str) -> None:
    refused(spoilt(change), said)


def test_a_wheel_that_was_given_other_tags_is_installed_with_the_row_that_is_right() -> None:
    """As textworld 1.7.0: the row of WHEEL is of the file that it was; what is installed agrees with itself."""
    about = wheel_files("thing", "1.0", {})[f"{INFO}/WHEEL"] + b"Tag: py3-none-manylinux_2_17_x86_64\n"
    files = placed(spoilt({f"{INFO}/WHEEL": about}))
    rows = (files[f"{SITE}/{INFO}/RECORD"].content or b"").decode().splitlines()
    assert f"{INFO}/WHEEL,{hashed(about)},{len(about)}" in rows


def rerecorded(files: Mapping[str, bytes]) -> bytes:
    plain = {name: content for name, content in files.items() if not name.endswith("/RECORD")}
    return zipped({**plain, f"{INFO}/RECORD": record(plain, f"{INFO}/RECORD")})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("WHEEL", b"Wheel-Version: 2.0\n", "Wheel-Version '2.0'"),
        ("WHEEL", b"", "Wheel-Version None"),
        (
            "METADATA",
            METADATA.format(name="other", version="1.0").encode(),
            "says in its METADATA that it is other 1.0",
        ),
        (
            "METADATA",
            METADATA.format(name="thing", version="1.1").encode(),
            "says in its METADATA that it is thing 1.1",
        ),
        ("METADATA", b"\xff\xfe", "says in its METADATA"),
        ("entry_points.txt", b"[console_scripts]\nx = nothing\n", "names no function"),
        ("entry_points.txt", b"[console_scripts]\n../x = a:b\n", "no file name"),
        ("entry_points.txt", b"[gui_scripts]\nx = a:b; import os\n", "names no function"),
        ("entry_points.txt", b"[console_scripts]\npython = a:b\n", "part of the environment"),
    ],
)
def test_metadata_that_is_wrong_is_refused(name: str, content: bytes, said: str) -> None:
    refused(rerecorded({**wheel_files("thing", "1.0", {}), f"{INFO}/{name}": content}), said)


@pytest.mark.parametrize("weak", ["md5=abc", "sha1=abc", ""])
def test_weak_hashes_in_record_are_refused(weak: str) -> None:
    files = wheel_files("thing", "1.0", {"thing/a.py": b"hello"})
    listed = files[f"{INFO}/RECORD"].decode().replace(hashed(b"hello"), weak).encode()
    refused(zipped({**files, f"{INFO}/RECORD": listed}), "no sha256 in RECORD")


def test_right_hashes_in_hexadecimal_are_taken_and_mended() -> None:
    """As in the wheels of gmsh."""
    files = wheel_files("thing", "1.0", {"thing/a.py": b"hello"})
    hexadecimal = f"sha256={hashlib.sha256(b'hello').hexdigest()}"
    listed = files[f"{INFO}/RECORD"].decode().replace(hashed(b"hello"), hexadecimal).encode()
    found = placed(zipped({**files, f"{INFO}/RECORD": listed}))
    assert f"thing/a.py,{hashed(b'hello')},5".encode() in (found[f"{SITE}/{INFO}/RECORD"].content or b"")


def test_the_file_name_must_fit() -> None:
    refused(wheel("other", "1.0"), "another distribution", "thing")
    refused(wheel("thing", "1.1"), "another distribution or version", "thing")
    with pytest.raises(WheelRefused, match="not the file name of a wheel"):
        install(WheelFile("thing.zip", io.BytesIO(wheel())), prefix="/opt/env", python="3.11")


def test_bombs_are_refused_before_they_go_off() -> None:
    huge = [
        Raw(b"thing/z%d" % at, b"", size=1 << 30, local_size=1 << 30, compressed=None, body=bytes(1 << 20))
        for at in range(3)
    ]
    refused(raw_zip([*raw_members(wheel_files("thing", "1.0", {})), *huge]), "claims to become")


def test_a_wheel_without_dist_info_is_refused() -> None:
    refused(zipped({"thing/a.py": b""}), "no .dist-info folder")
