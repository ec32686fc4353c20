"""Debian's own apt, asked with folders of our own about Debian's real archive."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wardian.errors import Unavailable, WardianError
from wardian.hosts.local import LocalHost
from wardian.hosts.machine import Machine
from wardian.lock.model import Deb
from wardian.plan.debian import DEBIAN
from wardian.resolvers.apt import Apt, glibc_in, python_in
from wardian.resolvers.suites import suite_of

BOOKWORM = suite_of("bootstrap:debian:bookworm", "linux/amd64")


def never(deb: Deb) -> Path:
    raise AssertionError(f"{deb.name} was fetched")


Make = Callable[..., Apt]


@pytest.fixture(scope="module")
def lists(session_folder: Path, need: Callable[..., None]) -> Path:
    """Package lists that were brought up to date once."""
    from filelock import FileLock

    need("apt-get", "dpkg-deb")
    folder = session_folder / "apt-lists"
    with FileLock(session_folder / "apt-lists.lock"):
        if not folder.exists():
            Apt(LocalHost(), Machine(), folder, BOOKWORM, Path(BOOKWORM.keyring), never).solve(("tree",))
    return folder


@pytest.fixture
def apt(lists: Path, tmp_path: Path) -> Make:
    def make(fetch: Callable[[Deb], Path] = never, **values: object) -> Apt:
        folder = tmp_path / "apt"
        if not folder.exists():
            shutil.copytree(lists, folder)
        given = {"suite": BOOKWORM, "keyring": Path(BOOKWORM.keyring), **values}
        return Apt(LocalHost(), Machine(), folder, fetch=fetch, **given)  # type: ignore[arg-type]

    return make


def by_name(debs: tuple[Deb, ...]) -> dict[str, Deb]:
    return {deb.name: deb for deb in debs}


def test_a_root_file_system(apt: Make) -> None:
    plain, python = apt().bootstrap(python=False), apt().bootstrap(python=True)
    assert {"apt", "bash", "ca-certificates", "libc6", "tzdata"} <= by_name(plain).keys()
    assert "python3" not in by_name(plain)
    assert python_in(plain) is None
    assert python_in(python) == ("3.11", "/usr/bin/python3.11")
    assert glibc_in(python) == 36
    assert set(by_name(plain)) <= set(by_name(python))
    assert [deb.name for deb in python] == sorted(deb.name for deb in python)
    assert all(deb.url.startswith(DEBIAN) and deb.size > 0 for deb in python)


def test_packages_over_a_root_file_system(apt: Make) -> None:
    base = apt().bootstrap(python=False)
    added = by_name(apt().solve(("tree", "git"), installed=base))
    assert {"tree", "git", "git-man", "libcurl3-gnutls"} <= added.keys()
    assert not added.keys() & by_name(base).keys(), "what is there is not installed again"
    assert apt().solve(("git",), installed=(*base, *added.values())) == ()


def test_recommendations_are_left_out(apt: Make) -> None:
    assert "openssh-client" not in by_name(apt().solve(("git",), installed=apt().bootstrap(python=False)))


def test_a_dpkg_status_of_a_foreign_base(apt: Make) -> None:
    stanza = "Package: {}\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: {}\n{}\n"
    status = stanza.format("libc6", "2.36-9+deb12u7", "Depends: libgcc-s1\n")
    status += stanza.format("libgcc-s1", "12.2.0-14+deb12u1", "Depends: gcc-12-base, libc6\n")
    status += stanza.format("gcc-12-base", "12.2.0-14+deb12u1", "")
    assert set(by_name(apt().solve(("tree",), status=status))) == {"tree"}


def test_versions_stay(apt: Make) -> None:
    tree = by_name(apt().solve(("tree",)))
    assert apt().solve(("tree",), keep=tuple(tree.values())) == tuple(tree.values())


@pytest.mark.parametrize("pattern", ["tree=2.1.0-1", "tree=2.1.*"])
def test_a_version_that_is_asked_for(apt: Make, pattern: str) -> None:
    assert by_name(apt().solve((pattern,)))["tree"].version == "2.1.0-1"


def older(folder: Path) -> tuple[Deb, Path]:
    """A package that the archive does not have any more."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: tree\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: a <a@b>\nDepends: libc6\nDescription: old\n"
    )
    path = folder / "tree_1.0-1_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", str(tree), str(path)], check=True, capture_output=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    url = f"{DEBIAN}/pool/main/t/tree/tree_1.0-1_amd64.deb"
    return Deb(
        name="tree", version="1.0-1", architecture="amd64", url=url, sha256=digest, size=path.stat().st_size
    ), path


def test_a_package_that_left_the_archive_stays_locked(apt: Make, tmp_path: Path) -> None:
    deb, path = older(tmp_path)
    found = apt(lambda _: path).solve(("tree", "less"), keep=(deb,))
    assert by_name(found)["tree"] == deb
    assert "less" in by_name(found)


def test_a_base_package_that_left_the_archive_still_counts_as_installed(apt: Make, tmp_path: Path) -> None:
    deb, path = older(tmp_path)
    found = apt(lambda _: path).solve(("less",), installed=(*apt().bootstrap(python=False), deb))
    assert "tree" not in by_name(found)


def test_an_unknown_package(apt: Make) -> None:
    with pytest.raises(WardianError, match="bookworm has no package gitt") as caught:
        apt().solve(("gitt",))
    assert caught.value.hint
    assert "git" in caught.value.hint


def test_an_unknown_version(apt: Make) -> None:
    with pytest.raises(WardianError, match=r"bookworm has no tree 9; it has 2\.1\.0-1"):
        apt().solve(("tree=9",))


def test_a_virtual_package(apt: Make) -> None:
    with pytest.raises(WardianError, match="mail-transport-agent is a virtual package") as caught:
        apt().solve(("mail-transport-agent",))
    assert caught.value.hint
    assert caught.value.hint.startswith("name one of these: ")


def test_packages_that_exclude_each_other(apt: Make) -> None:
    with pytest.raises(WardianError, match=r"bookworm cannot install systemd-sysv .*Conflicts: sysvinit-core"):
        apt().solve(("systemd-sysv", "sysvinit-core"))


def test_a_mirror_is_asked_and_not_written(apt: Make) -> None:
    upstream, mirror = DEBIAN.removesuffix("/debian"), "http://cdn.example.org"
    asked = apt(substitute=lambda url: url.replace(upstream, mirror))
    assert f"{mirror}/debian bookworm main" in asked._sources()
    assert f"{mirror}/debian-security bookworm-security main" in asked._sources()
    for path in ("debian/pool/x.deb", "debian-security/pool/x.deb"):
        assert asked._canonical(f"{mirror}/{path}") == f"{upstream}/{path}"


def test_keys_that_are_missing(apt: Make, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the keys of debian's archive are not on this machine") as caught:
        apt(keyring=tmp_path / "none.gpg").solve(("tree",))
    assert caught.value.hint == "type: sudo apt-get install debian-archive-keyring"


def test_keys_that_are_the_wrong_ones(tmp_path: Path, need: Callable[..., None]) -> None:
    need("apt-get")
    wrong = next(path for path in Path("/usr/share/keyrings").glob("*bullseye-security*.gpg"))
    asked = Apt(LocalHost(), Machine(), tmp_path / "apt", BOOKWORM, wrong, never)
    with pytest.raises(Unavailable, match=r"the packages of bookworm cannot be listed from deb\.debian\.org") as caught:
        asked.solve(("tree",))
    assert caught.value.hint
    assert "debian-archive-keyring" in caught.value.hint


def test_an_archive_that_does_not_answer(tmp_path: Path, need: Callable[..., None]) -> None:
    need("apt-get")
    place = "http://127.0.0.1:9/debian"
    folder, keys = tmp_path / "apt", Path(BOOKWORM.keyring)
    asked = Apt(LocalHost(), Machine(), folder, BOOKWORM, keys, never, substitute=lambda _: place)
    with pytest.raises(Unavailable, match=r"cannot be listed from 127\.0\.0\.1:9") as caught:
        asked.solve(("tree",))
    assert caught.value.hint == "look at the network and the proxy; a mirror goes into [substitutes]"


def test_no_apt_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = Apt(LocalHost(), Machine(), tmp_path / "apt", BOOKWORM, Path(BOOKWORM.keyring), never)
    with pytest.raises(Unavailable, match="apt is not on this machine") as caught:
        asked.solve(("tree",))
    assert caught.value.hint
    assert "Debian or Ubuntu" in caught.value.hint
