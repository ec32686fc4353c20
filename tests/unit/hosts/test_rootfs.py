"""Where a path in a container lies before anything is mounted."""

import os
from pathlib import Path

import pytest

from wardian.errors import EngineFailed
from wardian.hosts.rootfs import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    for folder in (top / "etc", bottom / "etc", bottom / "usr/bin", bottom / "a/b"):
        folder.mkdir(parents=True)
    (bottom / "bin").symlink_to("usr/bin")
    (bottom / "var").mkdir()
    (bottom / "run").mkdir()
    (bottom / "var/run").symlink_to("/run")
    (bottom / "usr/bin/tool").touch()
    (bottom / "etc/name").write_text("bottom")
    (top / "etc/name").write_text("top")
    (bottom / "up").symlink_to("../../../../etc")
    (bottom / "a/b/rel").symlink_to("../c/./d")
    (bottom / "loop").symlink_to("pool")
    (bottom / "pool").symlink_to("loop")
    (bottom / "nowhere").symlink_to("/not/there")
    return Tree((str(top), str(bottom)))


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/", "/"),
        ("", "/"),
        ("//etc/./name/", "/etc/name"),
        ("/bin/tool", "/usr/bin/tool"),
        ("/var/run/x/y", "/run/x/y"),
        ("/up/name", "/etc/name"),
        ("/a/b/rel/e", "/a/c/d/e"),
        ("/../../etc", "/etc"),
        ("/new/folder", "/new/folder"),
        ("/new/../etc", "/etc"),
        ("/nowhere/x", "/not/there/x"),
        ("/etc/name/under-a-file", "/etc/name/under-a-file"),
    ],
)
def test_a_path_is_resolved_inside_the_image(tree: Tree, path: str, resolved: str) -> None:
    assert tree.resolve(path) == resolved


def test_the_last_symlink_may_stay(tree: Tree) -> None:
    assert tree.resolve("/var/run", follow=False) == "/var/run"
    assert tree.resolve("/var/run/x", follow=False) == "/run/x"


def test_a_loop_is_an_error_and_no_hang(tree: Tree) -> None:
    with pytest.raises(EngineFailed, match="loop"):
        tree.resolve("/loop/x")


def test_the_upper_layer_wins(tree: Tree) -> None:
    found = tree.find("/etc/name")
    assert found is not None
    assert found.read_text() == "top"
    assert tree.find("/etc/none") is None
    assert tree.find("/nowhere") is None


def test_a_whiteout_hides_what_lies_beneath(tree: Tree) -> None:
    if os.getuid():
        pytest.skip("only root can make a device node")
    os.mknod(f"{tree.lowers[0]}/bin", 0o020000, 0)
    assert tree.find("/bin") is None
    assert tree.resolve("/bin/tool") == "/bin/tool"


def test_a_bind_covers_the_image_and_its_links_stay_inside(tree: Tree, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (outside / "link").symlink_to("/etc/name")
    bound = tree.over("/usr", str(outside))
    assert bound.find("/usr/file") == outside / "file"
    assert bound.find("/usr/bin/tool") is None
    assert bound.resolve("/usr/link") == "/etc/name"
    assert bound.resolve("/bin") == "/usr/bin"
    assert bound.find("/etc/name") == Path(tree.lowers[0]) / "etc/name"


def test_a_bind_inside_a_bind(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "one/x").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    (tmp_path / "two/deep").touch()
    bound = tree.over("/w", str(tmp_path / "one")).over("/w/x", str(tmp_path / "two"))
    assert bound.find("/w/x/deep") == tmp_path / "two/deep"
    assert bound.find("/w") == tmp_path / "one"
    assert bound.find("/wx") is None
