"""`wardian lock` over Debian's real archive: what is locked stays, what is new joins it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from wardian.lock.file import read, write
from wardian.lock.model import Lock
from wardian.store.store import Store

Wardian = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, with_base: Path, base_project: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(base_project, folder)
    return folder


def lock_of(project: Path) -> Lock:
    return read((project / "wardian.lock").read_text(), "wardian.lock")


def add(project: Path, text: str) -> None:
    path = project / "wardian.toml"
    path.write_text(path.read_text() + text)


def test_an_image_on_the_same_base_gets_the_same_packages(project: Path, wardian: Wardian) -> None:
    """Also when the archive has moved on: the lock says which packages the base is made of."""
    lock = lock_of(project)
    base = lock.images["base"].base
    assert base is not None
    older = base.model_copy(update={"debs": tuple(deb for deb in base.debs if deb.name != "netbase")})
    entry = lock.images["base"].model_copy(update={"base": older})
    (project / "wardian.lock").write_text(write(Lock(images={"base": entry})))
    add(project, '[images.other]\nfrom = "bootstrap:debian:bookworm"\npython = "3.11"\napt = ["tree"]\n')
    wardian("lock", cwd=project)
    other = lock_of(project).images["other"]
    assert other.base == older
    assert [deb.name for deb in other.debs] == ["tree"]


def test_a_child_with_packages_and_one_without(project: Path, wardian: Wardian) -> None:
    add(
        project,
        '[images.tools]\nfrom = "@base"\napt = ["tree"]\n[images.more]\nfrom = "@tools"\napt = ["tree", "less"]\n',
    )
    wardian("lock", cwd=project)
    images = lock_of(project).images
    assert [deb.name for deb in images["tools"].debs] == ["tree"]
    assert [deb.name for deb in images["more"].debs] == ["less"], "what the parent has is not installed again"
    assert images["more"].python == "3.11"
    text = (project / "wardian.toml").read_text()
    (project / "wardian.toml").write_text(text.replace('apt = ["tree", "less"]', 'apt = ["less"]'))
    assert "more: apt changed" in wardian("lock", "--check", cwd=project, code=1).err
    assert wardian("lock", cwd=project).out.splitlines() == ["nothing moved", "written: wardian.lock"]


def test_python_comes_where_it_is_first_needed(project: Path, wardian: Wardian) -> None:
    add(project, '[images.bare]\nfrom = "bootstrap:debian:bookworm"\n[images.with]\nfrom = "@bare"\npython = "3.11"\n')
    wardian("lock", cwd=project)
    images = lock_of(project).images
    bare = images["bare"].base
    assert bare is not None
    assert images["bare"].python is None
    assert "python3" not in {deb.name for deb in bare.debs}
    assert images["with"].interpreter == "/usr/bin/python3.11"
    assert "python3" in {deb.name for deb in images["with"].debs}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (
            'from = "bootstrap:debian:bookworm"\npython = "3.12"',
            2,
            "bootstrap:debian:bookworm has Python 3.11, not 3.12",
        ),
        ('from = "bootstrap:debian:bokworm"', 2, "debian has no suite 'bokworm'"),
        ('from = "@base"\napt = ["gitt"]', 1, "wrong: bookworm has no package gitt"),
        ('from = "@base"\napt = ["git-"]', 2, "images.wrong.apt: 'git-' is not a package"),
        ('from = "@base"\napt = ["-o=x"]', 2, "'-o=x' is not the name of a package"),
    ],
)
def test_what_cannot_be_had_is_named(project: Path, wardian: Wardian, text: str, code: int, said: str) -> None:
    before = (project / "wardian.lock").read_text()
    add(project, f"[images.wrong]\n{text}\n")
    assert said in wardian("lock", cwd=project, code=code).err
    assert (project / "wardian.lock").read_text() == before


def test_a_substitute_takes_the_place_of_a_base(project: Path, wardian: Wardian) -> None:
    add(project, '[images.cuda]\nfrom = "nvidia/cuda:12.4.1-base"\npython = "3.11"\n')
    add(project, '[substitutes]\n"docker.io/nvidia/cuda:*" = "bootstrap:debian:bookworm"\n')
    wardian("lock", cwd=project)
    base = lock_of(project).images["cuda"].base
    assert base is not None
    assert (base.reference, base.substitute) == ("nvidia/cuda:12.4.1-base", "bootstrap:debian:bookworm")
    assert len(base.debs) > 80


def test_packages_over_a_base_that_others_built(tmp_path: Path, home: Path, wardian: Wardian) -> None:
    stanza = "Package: {}\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: {}\n\n"
    status = stanza.format("libc6", "2.36-9+deb12u7") + stanza.format("libgcc-s1", "12.2.0-14")
    files = {"etc/os-release": b"ID=debian\nVERSION_CODENAME=bookworm\n", "var/lib/dpkg/status": status.encode()}
    add_image(Store(home / "store"), "example.org/debian:12", [layer(files)])
    toml = '[project]\nname = "p"\n[images.x]\nfrom = "example.org/debian:12"\napt = ["tree"]\n'
    (tmp_path / "wardian.toml").write_text(toml + '[images.y]\nfrom = "@x"\npython = "3.11"\n')
    wardian("lock", cwd=tmp_path)
    images = lock_of(tmp_path).images
    assert [deb.name for deb in images["x"].debs] == ["tree"]
    assert images["x"].python is None
    assert "python3.11" in {deb.name for deb in images["y"].debs}
    assert images["y"].interpreter == "/usr/bin/python3.11"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"etc/os-release": b'ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n', "var/lib/dpkg/status": b"x"},
            "this base is Alpine",
        ),
        (
            {"etc/os-release": b"ID=debian\nVERSION_CODENAME=bookworm\n"},
            "x: packages can be added to Debian and Ubuntu",
        ),
    ],
)
def test_a_base_that_has_no_packages(
    tmp_path: Path, home: Path, wardian: Wardian, files: dict[str, bytes], said: str
) -> None:
    add_image(Store(home / "store"), "example.org/other:1", [layer(files)])
    (tmp_path / "wardian.toml").write_text(
        '[project]\nname = "p"\n[images.x]\nfrom = "example.org/other:1"\napt = ["tree"]\n'
    )
    assert said in wardian("lock", cwd=tmp_path, code=1).err


def test_a_missing_mmdebstrap_is_named_with_its_package(
    project: Path, wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in reversed(os.get_exec_path()):
        for program in Path(folder).glob("*"):
            (programs / program.name).unlink(missing_ok=True)
            (programs / program.name).symlink_to(program)
    (programs / "mmdebstrap").unlink()
    monkeypatch.setenv("PATH", str(programs))
    said = wardian("build", "--no-cache", cwd=project, code=1).err
    assert "wardian: image base, base bootstrap:debian:bookworm" in said
    assert "mmdebstrap is not on this machine" in said
    assert "apt-get install mmdebstrap" in said
