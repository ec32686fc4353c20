"""What an engine's container gets from this machine, and what is known to be wrong before anything starts."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.images import FOLDER, add_image, layer
from wardian.errors import EngineFailed
from wardian.hosts.local import LocalHost
from wardian.plan.containers import Bind, Container, User
from wardian.runtimes.base import Missing, Place
from wardian.runtimes.inside import Inside, inside
from wardian.store.store import Store

ADA = User("host", os.getuid() or 1000, os.getgid() or 1000, "ada", "/home/ada")
ROOT = User("root", 0, 0, "root", "/root")
PASSWD = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/sbin/nologin\n"


@dataclass
class Engine:
    """An engine of which only these are asked."""

    name: str = "docker"
    tmpfs_owner: bool = True
    here: bool = True
    ours: bool = True

    def same_files(self) -> bool:
        return self.here

    def owns(self, uid: int) -> bool:
        return self.ours


Made = Callable[..., Inside]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(LocalHost(), Store(tmp_path / "store"))


@pytest.fixture
def image(place: Place) -> str:
    content = layer(
        {
            "etc/passwd": PASSWD.encode(),
            "etc/group": b"root:x:0:\n",
            "root": FOLDER,
            "bin/sh": b"\x7fELF",
            "opt/link": "/data/real",
            "data/real": FOLDER,
            "data/file": b"x",
            "work": FOLDER,
            "loop": "pool",
            "pool": "loop",
        },
        modes={"bin/sh": 0o755},
    )
    return add_image(place.store, "demo/train:latest", [content]).digest


def container(image: str, *argv: str, **more: Any) -> Container:
    known = {"user": ADA, "env": {"PATH": "/bin"}, "workdir": "/work", **more}
    return Container(image, argv or ("sh",), **known)


def texts(found: Inside) -> dict[str, str]:
    return {bind.target: Path(bind.source).read_text() for bind in found.binds if bind.target.startswith("/etc/")}


def test_the_user_is_in_front_and_all_others_stay(place: Place, image: str) -> None:
    with inside(Engine(), container(image), place) as found:
        written = texts(found)
        assert written["/etc/passwd"] == f"ada:x:{ADA.uid}:{ADA.gid}::/home/ada:/bin/sh\n{PASSWD}"
        assert written["/etc/group"] == f"ada:x:{ADA.gid}:\nroot:x:0:\n"
        assert all(Path(bind.source).stat().st_mode & 0o444 == 0o444 for bind in found.binds if "/etc/" in bind.target)
    assert found.missing is None


def test_for_root_the_images_own_files_do(place: Place, image: str) -> None:
    with inside(Engine(), container(image, user=ROOT), place) as found:
        assert (found.binds, found.tmpfs) == ((), ())


def test_a_home_is_made_for_the_user_alone_and_all_of_it_goes(place: Place, image: str) -> None:
    with inside(Engine(), container(image, workdir="/new/place"), place) as found:
        made = {bind.target: Path(bind.source) for bind in found.binds if not bind.target.startswith("/etc/")}
        assert {target: path.stat().st_mode & 0o777 for target, path in made.items()} == {
            "/home/ada": 0o700,
            "/new/place": 0o755,
        }
        if os.getuid() == 0:
            assert {path.stat().st_uid for path in made.values()} == {ADA.uid}
        (made["/home/ada"] / ".cache").mkdir(mode=0o500)
        scratch = made["/home/ada"].parent
    assert not scratch.exists()
    assert list(place.store.scratch.iterdir()) == []


def test_nothing_is_left_when_the_block_fails(place: Place, image: str) -> None:
    with pytest.raises(ZeroDivisionError), inside(Engine(), container(image), place):
        raise ZeroDivisionError
    assert list(place.store.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (Engine(ours=False), f"/home/ada:rw,exec,uid={ADA.uid},gid={ADA.gid},mode=700"),
        (Engine(ours=False, tmpfs_owner=False), "/home/ada:rw,exec,mode=1777"),
        (Engine(here=False), f"/home/ada:rw,exec,uid={ADA.uid},gid={ADA.gid},mode=700"),
    ],
)
def test_a_home_that_we_could_not_give_away_is_in_memory(place: Place, image: str, engine: Engine, words: str) -> None:
    with inside(engine, container(image), place) as found:
        assert found.tmpfs == (words,)
        assert [bind.target for bind in found.binds] == (["/etc/passwd", "/etc/group"] if engine.here else [])


def test_a_daemon_elsewhere_gets_no_folder_of_ours(place: Place, image: str, tmp_path: Path) -> None:
    bound = container(image, binds=(Bind(str(tmp_path), "/data"),))
    with (
        pytest.raises(EngineFailed, match=f"docker runs on another machine: {tmp_path} of this one cannot be bound"),
        inside(Engine(here=False), bound, place),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("nothing", "/data", "it does not exist"),
        ("file", "/data", "only one of them is a folder"),
        ("folder", "/data/file", "only one of them is a folder"),
        ("file", "/opt/link", "only one of them is a folder"),
        ("folder", "/loop/x", "is a loop of symlinks"),
    ],
)
def test_a_bind_that_cannot_be(  # noqa: PLR0917 - a table and its fixtures
    place: Place, image: str, tmp_path: Path, source: str, target: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    bound = container(image, binds=(Bind(str(tmp_path / source), target),))
    with pytest.raises(EngineFailed, match=why), inside(Engine(), bound, place):
        raise AssertionError
    assert not place.store.scratch.exists() or list(place.store.scratch.iterdir()) == []


def test_a_program_is_looked_for_through_the_binds(place: Place, image: str, tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    for folder in (outer / "sub", inner):
        folder.mkdir(parents=True)
    for path in (outer / "tool", inner / "tool"):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (outer / "link").symlink_to("/opt/link/sub/tool")  # of the container, not of this machine
    (outer / "foreign").write_text("#!/opt/python\n")
    (outer / "foreign").chmod(0o755)
    binds = (Bind(str(inner), "/data/real/sub"), Bind(str(outer), "/opt/link"))

    def wrong(program: str) -> Missing | None:
        with inside(Engine(), container(image, program, binds=binds), place) as found:
            return found.missing

    assert [wrong(f"/{path}") for path in ("opt/link/tool", "data/real/tool", "data/real/sub/tool")] == [None] * 3
    assert wrong("/data/real/link") is None
    assert wrong("/data/real/nothing") == Missing("/data/real/nothing: command not found in the image", 127)
    assert wrong("/data/real/foreign") == Missing(
        "/data/real/foreign: its interpreter /opt/python is not in the image", 127
    )
    assert wrong("/dev/null") is None, "only the container has that"


def test_outer_binds_come_before_inner_ones(place: Place, image: str, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    binds = tuple(
        Bind(str(tmp_path / name), target) for name, target in zip("abc", ("/x/y/z", "/x", "/x/y"), strict=True)
    )
    with inside(Engine(), container(image, user=ROOT, binds=binds), place) as found:
        assert [bind.target for bind in found.binds] == ["/x", "/x/y", "/x/y/z"]


def test_a_passwd_that_leads_out_is_read_inside_the_image(place: Place, tmp_path: Path) -> None:
    """An image of strangers: its links lead to its own files, whatever this machine has there."""
    content = layer({"etc/passwd": "../../../../../../etc/hostname", "etc/group": "/proc/self/environ", "work": FOLDER})
    digest = add_image(place.store, "strange/thing:1", [content]).digest
    with inside(Engine(), container(digest), place) as found:
        assert texts(found) == {
            "/etc/passwd": f"ada:x:{ADA.uid}:{ADA.gid}::/home/ada:/bin/sh\n",
            "/etc/group": f"ada:x:{ADA.gid}:\n",
        }
