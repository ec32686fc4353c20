"""Source distributions and wheels as files: unpacked safely, packed again in one way."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.indexes import make_sdist
from tests.wheels import wheel
from wardian.builders.backend import repack
from wardian.errors import WardianError
from wardian.lock.requirements import BuildSystem
from wardian.oci.wheel import WheelFile
from wardian.resolvers.sdist import build_system_of, extract


def zip_of(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
    return path


def tar_of(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name in names:
            out.addfile(tarfile.TarInfo(name))
    return path


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_source_distribution_is_one_folder(tmp_path: Path, kind: str) -> None:
    archive = (
        make_sdist(tmp_path, "p", "1", {"src/p.py": "x = 1\n"})
        if kind == "tar"
        else zip_of(tmp_path / "p-1.zip", {"p-1/src/p.py": "x = 1\n"})
    )
    extract(archive, tmp_path / "out" / "source")
    assert (tmp_path / "out" / "source" / "src" / "p.py").read_text() == "x = 1\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["source"]


@pytest.mark.parametrize("names", [("a/x", "b/x"), ("x",), ("p/../../evil",)])
def test_what_is_no_source_distribution_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(WardianError, match=r"p-1\.tar\.gz"):
        extract(tar_of(tmp_path / "p-1.tar.gz", *names), tmp_path / "out" / "source")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc"),
        (tarfile.SYMTYPE, "../../etc"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.FIFOTYPE, ""),
    ],
)
@pytest.mark.parametrize("filtered", [True, False])
def test_a_member_that_leaves_is_refused_also_by_an_old_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes, target: str, *, filtered: bool
) -> None:
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)  # Python 3.11.2, which Debian 12 has
    with tarfile.open(tmp_path / "p-1.tar.gz", "w:gz") as out:
        member = tarfile.TarInfo("p-1/link")
        member.type, member.linkname = kind, target
        out.addfile(member)
    with pytest.raises(WardianError, match="would leave the folder or is no file"):
        extract(tmp_path / "p-1.tar.gz", tmp_path / "out" / "source")


@pytest.mark.parametrize("name", ["p-1.tar.gz", "p-1.zip"])
def test_a_damaged_one_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"rubbish")
    with pytest.raises(WardianError, match=f"{name} cannot be unpacked"):
        extract(tmp_path / name, tmp_path / "out")
    with pytest.raises(WardianError, match=f"{name} cannot be read"):
        build_system_of(tmp_path / name)


@pytest.mark.parametrize(
    ("files", "requires"),
    [
        ({}, BuildSystem().requires),
        ({"pyproject.toml": "[tool.x]\n"}, BuildSystem().requires),
        (
            {"pyproject.toml": '[build-system]\nrequires = ["hatchling", "torch==2.9.0"]\n'},
            ("hatchling", "torch==2.9.0"),
        ),
        ({"sub/pyproject.toml": '[build-system]\nrequires = ["no"]\n'}, BuildSystem().requires),
        ({"pyproject.toml": "[build-system]\nrequires = []\n"}, ()),
    ],
)
def test_build_requirements(tmp_path: Path, files: dict[str, str], requires: tuple[str, ...]) -> None:
    assert build_system_of(make_sdist(tmp_path, "p", "1", files)).requires == requires
    packed = zip_of(tmp_path / "p-1.zip", {f"p-1/{name}": text for name, text in {"PKG-INFO": "", **files}.items()})
    assert build_system_of(packed).requires == requires


def test_a_broken_pyproject_is_named(tmp_path: Path) -> None:
    with pytest.raises(WardianError, match=r"the pyproject\.toml of p-1\.tar\.gz: not TOML"):
        build_system_of(make_sdist(tmp_path, "p", "1", {"pyproject.toml": "["}))


def test_a_wheel_is_packed_in_one_way(tmp_path: Path) -> None:
    """Two builds that differ in order, time, compression and extra mode bits give the same bytes."""
    files = {"thing/__init__.py": b"x" * 1000, "thing/run": b"#!/bin/sh\n"}
    modes = {"thing/run": 0o100755, "thing/__init__.py": 0o100664}
    one, two = tmp_path / "one.whl", tmp_path / "two.whl"
    one.write_bytes(wheel(files=files, modes=modes))
    with zipfile.ZipFile(one) as old, zipfile.ZipFile(two, "w", zipfile.ZIP_STORED) as new:
        for member in reversed(old.infolist()):
            turned = zipfile.ZipInfo(member.filename, (2026, 11, 21, 3, 2, 1))
            turned.external_attr = member.external_attr | 0o022 << 16
            new.writestr(turned, old.read(member))
        new.writestr(zipfile.ZipInfo("thing/"), b"")
    hashes = set()
    for path in (one, two):
        repack(path, tmp_path / "out.whl")
        hashes.add(hashlib.sha256((tmp_path / "out.whl").read_bytes()).hexdigest())
    assert len(hashes) == 1
    with zipfile.ZipFile(tmp_path / "out.whl") as packed:
        assert packed.namelist() == [
            "thing/__init__.py",
            "thing/run",
            *sorted(n for n in packed.namelist() if "dist-info" in n),
        ]
        assert [member.external_attr >> 16 & 0o777 for member in packed.infolist()[:2]] == [0o644, 0o755]


def test_what_is_packed_is_still_a_wheel_that_is_accepted(tmp_path: Path) -> None:
    from wardian.oci.splice import write_wheels

    (tmp_path / "one.whl").write_bytes(wheel())
    repack(tmp_path / "one.whl", tmp_path / "thing-1.0-py3-none-any.whl")
    with (tmp_path / "thing-1.0-py3-none-any.whl").open("rb") as file:
        found = WheelFile("thing-1.0-py3-none-any.whl", file, requested=False)
        assert write_wheels(io.BytesIO(), [found], prefix="/opt/env", python="3.11", mtime=0).size > 0
