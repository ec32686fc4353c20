"""Layers from anywhere: unpacked as the image specification says, and never outside their folder."""

import gzip
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.hosts.local import LocalHost
from wardian.hosts.sandbox import Namespace, namespace
from wardian.oci.digest import sha256
from wardian.oci.tar import Entry
from wardian.store import unpacked
from wardian.store.contents import Contents
from wardian.store.store import Store
from wardian.store.unpack import main, measure, unpack

ROOT = os.getuid() == 0
XATTR = "trusted" if ROOT else "user"
OPAQUE = f"{XATTR}.overlay.opaque"
DIR, SYM, LINK, CHR, BLK, FIFO = (
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)


def entry(
    path: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(path)
    found.type, found.size, found.mtime = kind, len(content), 1577836800
    found.mode = 0o755 if kind == DIR else 0o644
    for name, value in fields.items():
        setattr(found, name, value)
    return found, content


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as target:
        for found, content in entries:
            target.addfile(found, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Unpack entries; the folder they went to lies beside a folder that nothing may touch."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("untouched")
    (outside / "precious").chmod(0o600)
    os.utime(outside, (1, 1))

    def run(*entries: tuple[tarfile.TarInfo, bytes], **settings: Any) -> Path:
        blob, target = tmp_path / "blob", tmp_path / "tree"
        blob.write_bytes(gzip.compress(tar(*entries)))
        target.mkdir()
        try:
            unpack(blob, target, xattr=XATTR, **{"owners": ROOT, **settings})
        finally:
            assert {path.name for path in tmp_path.iterdir()} <= {"blob", "tree", "outside"}
            assert [path.name for path in outside.iterdir()] == ["precious"]
            assert (outside / "precious").read_text() == "untouched"
            assert stat.S_IMODE((outside / "precious").stat().st_mode) == 0o600
            assert outside.stat().st_mtime == 1
        return target

    return run


def names(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))


def is_whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return OPAQUE in os.listxattr(path) and os.getxattr(path, OPAQUE) == b"y"


def test_files_folders_and_links(put: Callable[..., Path]) -> None:
    tree = put(
        entry("./", kind=DIR),
        entry("./usr/", kind=DIR, mode=0o750, mtime=1_000_000_000),
        entry("./usr/a", b"hello", mode=0o640),
        entry("usr/b", kind=SYM, linkname="/usr/a"),
        entry("usr/c", kind=LINK, linkname="./usr/a"),
        entry("deep/er/d", b"x" * 3_000_000),
        entry("usr/pipe", kind=FIFO),
        entry("ünï/" + "n" * 200, b"1"),
    )
    assert (tree / "usr/a").read_bytes() == b"hello"
    assert str((tree / "usr/b").readlink()) == "/usr/a"
    assert (tree / "usr/a").samefile(tree / "usr/c")
    assert (tree / "deep/er/d").stat().st_size == 3_000_000
    assert stat.S_IMODE((tree / "usr").stat().st_mode) == 0o750
    assert stat.S_IMODE((tree / "deep/er").stat().st_mode) == 0o755
    assert stat.S_ISFIFO((tree / "usr/pipe").stat().st_mode)
    assert (tree / "usr").stat().st_mtime == 1_000_000_000
    assert (tree / "usr/a").stat().st_mtime == (tree / "usr/b").lstat().st_mtime == 1577836800
    assert (tree / "ünï" / ("n" * 200)).exists()


def test_setuid_owners_and_attributes_are_kept(put: Callable[..., Path]) -> None:
    note = {
        "SCHILY.xattr.user.note": "kept",
        "SCHILY.xattr.user.overlay.redirect": "/x",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
    }
    tree = put(
        entry("su", b"x", mode=0o4755, uid=0 if not ROOT else 1234, gid=0 if not ROOT else 5678),
        entry("d", kind=DIR, mode=0o1777),
        entry("n", b"", pax_headers=note),
    )
    assert stat.S_IMODE((tree / "su").stat().st_mode) == 0o4755
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o1777
    if ROOT:
        assert ((tree / "su").stat().st_uid, (tree / "su").stat().st_gid) == (1234, 5678)
    assert [name for name in os.listxattr(tree / "n") if not name.startswith("security.")] == ["user.note"]


def test_file_capabilities_are_kept_for_root(put: Callable[..., Path]) -> None:
    if not ROOT:
        pytest.skip("needs root: only root sets capabilities")
    value = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    tree = put(entry("ping", b"x", pax_headers={"SCHILY.xattr.security.capability": value.decode("latin1")}))
    assert os.getxattr(tree / "ping", "security.capability") == value


@pytest.mark.skipif(not ROOT, reason="whiteouts are devices: a plain user makes them in a namespace, tested below")
class TestWhiteouts:
    def test_a_whiteout_hides_what_lies_beneath(self, put: Callable[..., Path]) -> None:
        tree = put(entry("etc/.wh.passwd"), entry(".wh.var"))
        assert is_whiteout(tree / "etc/passwd")
        assert is_whiteout(tree / "var")
        assert names(tree) == ["etc", "etc/passwd", "var"]

    def test_it_does_not_hide_what_its_own_layer_brings(self, put: Callable[..., Path]) -> None:
        tree = put(
            entry("a", b"1"), entry(".wh.a"), entry(".wh.b"), entry("b", b"2"), entry("c/x", b"3"), entry(".wh.c")
        )
        assert (tree / "a").read_bytes() == b"1"
        assert (tree / "b").read_bytes() == b"2"
        assert (tree / "c/x").read_bytes() == b"3"
        assert is_opaque(tree / "c")

    @pytest.mark.parametrize("listed", [True, False])
    def test_a_folder_that_replaces_a_hidden_one_is_opaque(self, put: Callable[..., Path], *, listed: bool) -> None:
        folder = [entry("d", kind=DIR, mode=0o700)] if listed else []
        tree = put(entry(".wh.d"), *folder, entry("d/x", b"1"))
        assert is_opaque(tree / "d")
        assert (tree / "d/x").read_bytes() == b"1"
        assert stat.S_IMODE((tree / "d").stat().st_mode) == (0o700 if listed else 0o755)

    def test_opaque_folders(self, put: Callable[..., Path]) -> None:
        tree = put(entry("d/x", b"1"), entry("d/.wh..wh..opq"), entry("e/.wh..wh..opq"), entry(".wh..wh.plnk", b""))
        assert is_opaque(tree / "d")
        assert is_opaque(tree / "e")
        assert names(tree) == ["d", "d/x", "e"]

    @pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..."])
    def test_whiteouts_of_nothing_are_refused(self, put: Callable[..., Path], name: str) -> None:
        with pytest.raises(WardianError, match="whiteout of"):
            put(entry(name))

    def test_the_kernel_reads_them(self, tmp_path: Path, put: Callable[..., Path], need: Callable[..., None]) -> None:
        need("unshare")
        lower = tmp_path.parent / f"{tmp_path.name}-lower"
        for name in ("gone", "kept", "d/old", "e/old"):
            (lower / name).parent.mkdir(parents=True, exist_ok=True)
            (lower / name).write_text("lower")
        tree = put(
            entry(".wh.gone"), entry("d/.wh..wh..opq"), entry("d/new", b"1"), entry(".wh.e"), entry("e/new", b"2")
        )
        mount = 'mkdir m && mount -t overlay -o lowerdir="$1:$2" overlay m && cd m && find . -type f | LC_ALL=C sort'
        argv = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tree), str(lower)]
        seen = subprocess.run(argv, cwd=lower.parent, capture_output=True, text=True, check=True).stdout.split()
        (lower.parent / "m").rmdir()
        assert seen == ["./d/new", "./e/new", "./kept"]

    def test_devices_are_made(self, put: Callable[..., Path]) -> None:
        tree = put(
            entry("null", kind=CHR, devmajor=1, devminor=3, mode=0o666), entry("sda", kind=BLK, devmajor=8, devminor=0)
        )
        assert (tree / "null").stat().st_rdev == os.makedev(1, 3)
        assert stat.S_ISBLK((tree / "sda").stat().st_mode)


ESCAPES: Mapping[str, tuple[tuple[tarfile.TarInfo, bytes], ...]] = {
    "through an absolute link": (entry("a", kind=SYM, linkname="{outside}"), entry("a/evil", b"x")),
    "through a relative link": (entry("a", kind=SYM, linkname="../outside"), entry("a/evil", b"x")),
    "through many links": (
        entry("a", kind=SYM, linkname="b/../../outside"),
        entry("b", kind=SYM, linkname="."),
        entry("a/evil", b"x"),
    ),
    "a folder through a link": (entry("a", kind=SYM, linkname="../outside"), entry("a/evil", kind=DIR)),
    "a folder's mode and time through a link": (
        entry("a", kind=SYM, linkname="../outside"),
        entry("a/", kind=DIR, mode=0o777),
    ),
    "over a link to a file": (entry("a", kind=SYM, linkname="../outside/precious"), entry("a", b"evil")),
    "a hard link's content": (
        entry("a", kind=SYM, linkname="../outside"),
        entry("b", kind=LINK, linkname="a/precious"),
        entry("b", b"evil"),
    ),
    "a hard link up": (entry("b", kind=LINK, linkname="../outside/precious"), entry("b", b"evil")),
    "a whiteout through a link": (entry("a", kind=SYM, linkname="../outside"), entry("a/.wh.precious")),
    "an opaque mark through a link": (entry("a", kind=SYM, linkname="../outside"), entry("a/.wh..wh..opq")),
    "a time set late": (
        entry("d", kind=DIR),
        entry("d/outside", kind=DIR, mtime=7),
        entry("d", kind=SYM, linkname=".."),
    ),
    "a link that changes its mind": (
        entry("a", kind=DIR),
        entry("a/x", b"1"),
        entry("a", kind=SYM, linkname="../outside"),
        entry("a/x", b"2"),
    ),
    "a device through a link": (entry("a", kind=SYM, linkname="../outside"), entry("a/null", kind=FIFO)),
    "dots": (entry("../outside/evil", b"x"),),
    "dots inside": (entry("a/../../outside/evil", b"x"),),
    "an absolute path": (entry("{outside}/evil", b"x"),),
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_leaves_the_folder(escape: str, put: Callable[..., Path], tmp_path: Path) -> None:
    def aimed(found: tarfile.TarInfo) -> tarfile.TarInfo:
        found.name = found.name.replace("{outside}", str(tmp_path / "outside"))
        found.linkname = found.linkname.replace("{outside}", str(tmp_path / "outside"))
        return found

    try:
        put(*((aimed(found), content) for found, content in ESCAPES[escape]))
    except WardianError:
        pass  # the fixture has looked at what lies outside


def test_links_are_followed_inside_as_if_the_folder_were_the_root(put: Callable[..., Path]) -> None:
    tree = put(
        entry("usr/lib", kind=DIR),
        entry("lib", kind=SYM, linkname="/usr/lib"),
        entry("lib/a", b"1"),
        entry("up", kind=SYM, linkname="../../../usr"),
        entry("up/lib/b", b"2"),
        entry("c", kind=LINK, linkname="lib/a"),
    )
    assert (tree / "usr/lib/a").read_bytes() == b"1"
    assert (tree / "usr/lib/b").read_bytes() == b"2"
    assert (tree / "c").samefile(tree / "usr/lib/a")


def test_later_entries_replace_earlier_ones(put: Callable[..., Path]) -> None:
    tree = put(
        entry("a", b"1"),
        entry("a", b"22"),
        entry("b/x/y", b"1"),
        entry("b", b"now a file"),
        entry("c", b"1"),
        entry("c", kind=DIR),
        entry("d", b"1"),
        entry("d", kind=SYM, linkname="a"),
        entry("e", kind=DIR, mode=0o700),
        entry("e/x", b"1"),
        entry("e", kind=DIR, mode=0o711),
        entry("f", b""),
        entry("f", kind=LINK, linkname="a"),
    )
    assert (tree / "a").read_bytes() == b"22"
    assert (tree / "b").read_bytes() == b"now a file"
    assert (tree / "c").is_dir()
    assert (tree / "d").is_symlink()
    assert (tree / "e/x").exists()
    assert stat.S_IMODE((tree / "e").stat().st_mode) == 0o711
    assert (tree / "f").samefile(tree / "a")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((entry("a", b""), entry("a/b", b"")), "under what is not a folder"),
        ((entry("a", kind=LINK, linkname="nowhere"),), "hard link to nothing"),
        ((entry("d", kind=DIR), entry("a", kind=LINK, linkname="d")), "hard link to a folder"),
        ((entry("a", kind=SYM, linkname="a"), entry("a/b", b"")), "too many links"),
        ((entry("a", kind=SYM, linkname="b"), entry("b", kind=SYM, linkname="a"), entry("a/b", b"")), "too many links"),
        ((entry("x" * 300, b""),), "cannot be written"),
    ],
)
def test_what_cannot_be_is_said(entries: Any, said: str, put: Callable[..., Path]) -> None:
    with pytest.raises(WardianError, match=said) as caught:
        put(*entries)
    assert "layer blob" in caught.value.message


def test_bombs_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.store.unpack._FLOOR", 1 << 20)
    blob, target = tmp_path / "blob", tmp_path / "tree"
    blob.write_bytes(gzip.compress(tar(entry("zeros", bytes(50_000_000)))))
    target.mkdir()
    with pytest.raises(WardianError, match=r"unpacks to more than \d+ bytes: refused"):
        unpack(blob, target, xattr=XATTR, owners=False)


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_every_compression_and_its_digest(form: str, tmp_path: Path) -> None:
    content = tar(entry("a", b"hello"))
    packed = {"plain": content, "gzip": gzip.compress(content), "zstd": zstandard.compress(content)}[form]
    (tmp_path / "blob").write_bytes(packed)
    (tmp_path / "tree").mkdir()
    done = unpack(tmp_path / "blob", tmp_path / "tree", xattr=XATTR, owners=False, diff_id=sha256(content))
    assert (done.entries, done.size, done.diff_id) == (1, len(content), sha256(content))
    (tmp_path / "other").mkdir()
    with pytest.raises(DigestMismatch, match="instead of"):
        unpack(tmp_path / "blob", tmp_path / "other", xattr=XATTR, owners=False, diff_id=sha256(b"other"))


def test_rubbish_is_one_line_of_json_from_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "blob").write_bytes(b"rubbish" * 200)
    (tmp_path / "tree").mkdir()
    assert main([str(tmp_path / "blob"), str(tmp_path / "tree"), "--xattr", XATTR]) == 1
    assert '"error": "WardianError"' in capsys.readouterr().out


def test_a_fingerprint_changes_with_any_edit(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "a").write_text("one")
    os.utime(tree / "d" / "a", (5, 5))
    seen = {measure(tree)["fingerprint"]}
    assert measure(tree)["fingerprint"] in seen
    for edit in (
        lambda: (tree / "d" / "a").write_text("two"),
        lambda: (tree / "d" / "a").chmod(0o600),
        lambda: (tree / "d" / "b").write_text(""),
        lambda: (tree / "d" / "b").rename(tree / "d" / "c"),
        (tree / "d" / "c").unlink,
    ):
        edit()
        assert measure(tree)["fingerprint"] not in seen
        seen.add(measure(tree)["fingerprint"])


# ── once for all images ──


@pytest.fixture(scope="module")
def inside() -> Namespace:
    try:
        return namespace(LocalHost())
    except Unavailable as missing:
        pytest.skip(missing.message)


def stored(store: Store, *entries: tuple[tarfile.TarInfo, bytes]) -> unpacked.Layer:
    content = tar(*entries)
    return unpacked.Layer(store.put(gzip.compress(content, mtime=0), "x").digest, sha256(content))


def test_layers_are_unpacked_once(tmp_path: Path, inside: Namespace) -> None:
    store, host = Store(tmp_path / "s t'o\nre"), LocalHost()
    layers = [stored(store, entry("a", b"1")), stored(store, entry("b", b"2"), entry(".wh.x"), entry("d/.wh..wh..opq"))]
    paths = unpacked.ensure(store, host, inside, [*layers, layers[0]])
    assert paths[0] == paths[2] != paths[1]
    assert (paths[0] / "a").read_bytes() == b"1"
    before = [path.stat().st_ino for path in paths]
    assert [path.stat().st_ino for path in unpacked.ensure(store, host, inside, [*layers, layers[0]])] == before
    assert is_whiteout(paths[1] / "x")
    assert list(store.scratch.iterdir()) == []
    assert unpacked.changed(host, inside, paths[1]) is None
    (paths[0] / "a").write_bytes(b"touched")
    assert "was changed" in str(unpacked.changed(host, inside, paths[0]))


def test_the_stack_has_each_layer_once_and_ends_with_one_that_hides_all_beneath(
    tmp_path: Path, inside: Namespace
) -> None:
    store, host = Store(tmp_path), LocalHost()
    one, two = stored(store, entry("a", b"1")), stored(store, entry("b", b"2"))
    opaque = stored(store, entry(".wh..wh..opq"), entry("c", b"3"))
    where = {layer: str(unpacked.folder(store, inside, layer.diff_id)) for layer in (one, two, opaque)}
    assert unpacked.stack(store, host, inside, [one, two, one]) == (where[one], where[two])
    assert unpacked.stack(store, host, inside, [one, opaque, two]) == (where[two], where[opaque])
    whole = Contents()
    for at, name in enumerate(("a", "c", "b")):
        whole.lay([Entry(name), *([Entry(".wh..wh..opq")] if name == "c" else [])], at)
    assert sorted(whole.entries) == ["b", "c"], "as what looks into images without unpacking them sees it"


def test_a_layer_that_is_not_what_it_says_leaves_nothing(tmp_path: Path, inside: Namespace) -> None:
    store, host = Store(tmp_path), LocalHost()
    layer = stored(store, entry("a", b"1"))
    with pytest.raises(DigestMismatch, match="instead of"):
        unpacked.ensure(store, host, inside, [(layer.digest, sha256(b"other"))])
    with pytest.raises(WardianError, match="is not in the store"):
        unpacked.ensure(store, host, inside, [(sha256(b"absent"), sha256(b"other"))])
    assert list(store.scratch.iterdir()) == list(store.unpacked.iterdir()) == []


def test_what_is_in_use_is_not_pruned(tmp_path: Path, inside: Namespace) -> None:
    store, host = Store(tmp_path), LocalHost()
    layer = stored(store, entry("a", b"1"))
    running = Store(tmp_path)
    [path] = unpacked.ensure(running, host, inside, [layer])
    assert not unpacked.removed_if_free(store, host, inside, path)
    assert path.exists()
    del running
    assert unpacked.removed_if_free(store, host, inside, path)
    assert not path.exists()
    assert list(store.unpacked.iterdir()) == []


def test_a_half_made_tree_is_made_again(tmp_path: Path, inside: Namespace) -> None:
    store, host = Store(tmp_path), LocalHost()
    layer = stored(store, entry("a", b"1"))
    path = unpacked.folder(store, inside, layer.diff_id)
    path.mkdir()
    (path / "half").write_text("")
    unpacked.ensure(store, host, inside, [layer])
    assert names(path) == ["a"]
