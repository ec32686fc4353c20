"""Links inside an image: the kernel, in a folder that is the root, is the oracle."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.oci.links import MOST, followed

LINKS = {"a": "b", "b": "/c/d", "up": "../../c", "here": ".", "c/back": "..", "c/d/e": "../../here/a", "loop": "loop/x"}


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("", ""),
        ("/", ""),
        ("x//y/./z/", "x/y/z"),
        ("../../x", "x"),
        ("a/x", "c/d/x"),
        ("up/d", "c/d"),
        ("here/here/a", "c/d"),
        ("c/back/b", "c/d"),
        ("c/d/e/f", "c/d/f"),
        ("loop", None),
        ("x/loop", "x/loop"),
    ],
)
def test_links_are_followed_and_nothing_leads_out(path: str, leads: str | None) -> None:
    assert followed(path, LINKS.get) == leads


@pytest.mark.parametrize(("path", "leads"), [("a", "a"), ("a/", "a"), ("b/.", "b"), ("here/a", "a"), ("a/x", "c/d/x")])
def test_the_last_link_may_stay(path: str, leads: str) -> None:
    assert followed(path, LINKS.get, last=False) == leads


def test_as_many_links_as_the_kernel_follows() -> None:
    chain = {str(at): str(at + 1) for at in range(MOST)}
    assert followed("0", chain.get) == str(MOST)
    assert followed("0", {**chain, "-": "0"}.get) == str(MOST)
    assert followed("-", {**chain, "-": "0"}.get) is None


words = st.lists(st.sampled_from(["a", "b", "c", "..", ".", "", "d"]), max_size=6).map("/".join)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d/a", "d/b"]), words, max_size=4), words)
def test_it_never_leaves_and_is_done_once(links: dict[str, str], path: str) -> None:
    leads = followed(path, links.get)
    if leads is not None:
        assert not {"..", ".", ""} & set(leads.split("/")) or leads == ""
        assert followed(leads, links.get) == leads


@pytest.mark.skipif(os.getuid() != 0, reason="chroot needs root")
def test_the_kernel_follows_the_same(tmp_path: Path, need: Callable[..., None]) -> None:
    need("busybox", "chroot")
    busybox = subprocess.run(["which", "busybox"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "c" / "d").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "busybox").write_bytes(Path(busybox).read_bytes())
    (tmp_path / "bin" / "busybox").chmod(0o755)
    for path, target in LINKS.items():
        (tmp_path / path).symlink_to(target)
    for path in ("a", "b/e", "up/d", "here/here/a", "c/back/c/d/e", "c/../../../c"):
        argv = ["chroot", str(tmp_path), "/bin/busybox", "sh", "-c", 'cd "/$1" && /bin/busybox pwd -P', "sh", path]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
        assert f"/{followed(path, LINKS.get)}" == said
