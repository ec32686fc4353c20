"""Fetching locked files over real sockets: resumed, verified, from wherever they are."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.indexes import PASSWORD, USER, Index, make_sdist, make_wheel, serve, sha256
from tests.serving import served
from wardian.errors import DigestMismatch, Unavailable
from wardian.hosts.machine import Machine
from wardian.lock.model import Built, Deb
from wardian.lock.wheel import Wheel
from wardian.plan.debian import SNAPSHOT
from wardian.registry.transport import Transport
from wardian.resolvers.fetch import Fetcher, File, archive_files, archive_path, deb_file, sdist_file, wheel_file
from wardian.store.store import Store

BIG = {"thing/data.bin": bytes(range(256)) * 4000}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "served"
    folder.mkdir()
    with serve(Index(folder)) as served:
        yield served


@pytest.fixture
def offline_machine() -> Machine:
    return Machine(no_index=True)


Make = Callable[..., Fetcher]


@pytest.fixture
def fetcher(tmp_path: Path, offline_machine: Machine) -> Iterator[Make]:
    with Transport({}, sleep=lambda _: None, attempts=3) as transport:

        def make(machine: Machine = offline_machine, store: str = "store", **values: Any) -> Fetcher:
            return Fetcher(Store(tmp_path / store), machine, transport, **values)

        yield make


def file_of(path: Path, url: str = "", version: str = "1.0") -> File:
    return File(path.name, sha256(path), url, path.stat().st_size, "wheel", "thing", version)


def big(index: Index) -> tuple[Path, File]:
    path = make_wheel(index.folder, "thing", "1.0", files=BIG)
    return path, file_of(path, f"{index.url}/files/{path.name}")


def test_a_file_is_fetched_once(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    moved: list[float] = []
    found = fetcher().fetch(file, moved.append)
    assert found.read_bytes() == path.read_bytes()
    assert found.name == path.name
    assert sum(moved) == path.stat().st_size
    assert fetcher().fetch(file) == found
    assert len(index.asked) == 1
    assert fetcher().has(file)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_a_cut_body_is_continued(index: Index, fetcher: Make, *, ranges: bool, sized: bool) -> None:
    path, file = big(index)
    index.cut, index.cuts, index.ranges = path.stat().st_size // 3, 2, ranges
    found = fetcher().fetch(file if sized else dataclasses.replace(file, size=None))
    assert sha256(found) == file.sha256
    assert len(index.asked) == 3
    assert index.asked[1][1] is not None, "a range was asked for, whatever the server made of it"


def test_a_body_that_is_always_cut_is_given_up_and_kept(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    index.cut, index.cuts, index.ranges = 100, 10**6, False
    with pytest.raises(Unavailable, match=f"{path.name} cannot be fetched: 127.0.0.1:"):
        fetcher().fetch(file)
    index.cut, index.ranges = None, True
    assert sha256(fetcher().fetch(file)) == file.sha256
    assert index.asked[-1][1] is not None, "the next run goes on where the last one stopped"


def test_a_body_without_a_length_that_ends_early_is_no_file(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    index.cut, index.lengths = path.stat().st_size // 2, False
    with pytest.raises(DigestMismatch, match=f"is not the locked {path.name}"):
        fetcher().fetch(dataclasses.replace(file, size=None))
    assert list(fetcher().store.scratch.iterdir()) == []


def test_other_bytes_are_refused_by_name(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    other = make_wheel(index.folder, "thing", "1.0", files={"thing/evil.py": b""})
    assert other == path
    with pytest.raises(DigestMismatch) as caught:
        fetcher().fetch(file)
    assert file.sha256[:12] in caught.value.message
    assert caught.value.hint
    assert "wardian lock --upgrade thing" in caught.value.hint
    assert not fetcher().has(file)


def test_a_file_touched_by_hand_is_fetched_again(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    found = fetcher().fetch(file)
    found.chmod(0o644)
    found.write_bytes(b"x" * path.stat().st_size)
    assert sha256(fetcher().fetch(file)) == file.sha256


def test_a_leftover_that_is_not_a_beginning_is_not_trusted(index: Index, fetcher: Make) -> None:
    _, file = big(index)
    one = fetcher()
    one.store.prepare()
    (one.store.scratch / f"{file.sha256}.partial").write_bytes(b"rubbish")
    with pytest.raises(DigestMismatch):
        one.fetch(file)
    assert sha256(one.fetch(file)) == file.sha256


@pytest.mark.parametrize(
    ("status", "said"), [(404, "answers 404"), (403, "answers 403; its credentials"), (410, "answers 410")]
)
def test_a_refusal_is_named(index: Index, fetcher: Make, status: int, said: str) -> None:
    path, file = big(index)
    index.status = status
    with pytest.raises(Unavailable, match=said) as caught:
        fetcher().fetch(file)
    assert path.name in caught.value.message
    assert caught.value.hint
    assert "--archive" in caught.value.hint


def test_a_server_that_is_gone(fetcher: Make, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "thing", "1.0")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 cannot be reached"):
        fetcher().fetch(file_of(path, "http://127.0.0.1:9/x.whl"))


def test_no_place_at_all(fetcher: Make, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "thing", "1.0")
    with pytest.raises(Unavailable, match="nowhere to look"):
        fetcher().fetch(file_of(path))


def test_a_lost_address_is_found_in_an_index(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    machine = Machine(index=index.simple)
    found = fetcher(machine).fetch(dataclasses.replace(file, url=f"{index.url}/gone/nothing.whl"))
    assert sha256(found) == file.sha256
    assert [asked for asked, _ in index.asked] == ["/gone/nothing.whl", f"/files/{path.name}"]


def test_a_bare_name_is_found_in_an_index_without_hashes(index: Index, fetcher: Make) -> None:
    path, _ = big(index)
    index.hashes = False
    assert sha256(fetcher(Machine(index=index.simple)).fetch(file_of(path))) == sha256(path)


def test_an_index_whose_hash_is_another_is_not_asked(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    wanted = dataclasses.replace(file, url="", sha256="0" * 64)
    with pytest.raises(Unavailable):
        fetcher(Machine(index=index.simple, extra_indexes=(index.simple,))).fetch(wanted)
    assert [asked for asked, _ in index.asked if path.name in asked] == []


def test_the_projects_indexes_are_asked_too(index: Index, fetcher: Make) -> None:
    path, _ = big(index)
    assert fetcher(indexes=(index.simple,)).fetch(file_of(path)).name == path.name


def test_find_links_folders_and_file_indexes(tmp_path: Path, fetcher: Make) -> None:
    links, simple = tmp_path / "links", tmp_path / "pypi" / "simple" / "other"
    links.mkdir()
    simple.mkdir(parents=True)
    path = make_wheel(links, "thing", "1.0")
    other = make_wheel(tmp_path / "pypi", "other", "2.0")
    (simple / "index.html").write_text(f'<a href="../../{other.name}">x</a>')
    machine = Machine(find_links=(str(links),), index=(tmp_path / "pypi" / "simple").as_uri())
    assert sha256(fetcher(machine).fetch(file_of(path))) == sha256(path)
    wanted = File(other.name, sha256(other), "", None, "wheel", "other", "2.0")
    assert sha256(fetcher(machine).fetch(wanted)) == sha256(other)
    relative = dataclasses.replace(wanted, url=other.as_uri())
    assert sha256(fetcher(store="s2").fetch(relative)) == sha256(other)


def test_a_find_links_page(index: Index, fetcher: Make) -> None:
    path, _ = big(index)
    machine = Machine(find_links=(f"{index.simple}/thing/",), no_index=True)
    assert sha256(fetcher(machine).fetch(file_of(path))) == sha256(path)


def test_a_mirror_takes_the_place_of_the_address(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    canonical = dataclasses.replace(file, url=f"https://files.example.org/{path.name}")
    mirror = fetcher(
        substitute=lambda url: (
            url.replace("https://files.example.org", f"{index.url}/files") if "example" in url else None
        )
    )
    assert sha256(mirror.fetch(canonical)) == file.sha256


@pytest.mark.parametrize("where", ["index url", "uv variables", "netrc"])
def test_credentials(index: Index, fetcher: Make, tmp_path: Path, where: str) -> None:
    _, file = big(index)
    index.auth = True
    with pytest.raises(Unavailable, match="answers 401"):
        fetcher().fetch(file)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    netrc.chmod(0o600)
    machine = {
        "index url": Machine(index=index.simple.replace("http://", f"http://{USER}:{PASSWORD}@")),
        "uv variables": Machine(index=index.simple, credentials=((index.simple, USER, PASSWORD),)),
        "netrc": Machine(no_index=True, netrc=str(netrc)),
    }[where]
    assert sha256(fetcher(machine).fetch(file)) == file.sha256


def test_credentials_go_to_their_own_host_alone(index: Index, fetcher: Make) -> None:
    _, file = big(index)
    machine = Machine(index=f"http://{USER}:{PASSWORD}@elsewhere.example/simple")
    fetcher(machine).fetch(file)
    assert set(index.authorizations) == {""}


def test_many_at_once(index: Index, fetcher: Make) -> None:
    files = []
    for at in range(20):
        path = make_wheel(index.folder, "thing", f"1.{at}")
        files.append(file_of(path, f"{index.url}/files/{path.name}", version=f"1.{at}"))
    found = fetcher().fetch_all([*files, files[0]])
    assert {name: sha256(path) for name, path in found.items()} == {file.sha256: file.sha256 for file in files}
    assert len(index.asked) == 20


def test_one_failure_is_told_and_the_rest_is_kept(index: Index, fetcher: Make) -> None:
    path, file = big(index)
    gone = dataclasses.replace(
        file, sha256="0" * 64, filename="gone-1-py3-none-any.whl", url=f"{index.url}/files/gone", size=1
    )
    with pytest.raises(Unavailable, match=r"gone-1-py3-none-any\.whl"):
        fetcher().fetch_all([file, gone])
    assert sha256(fetcher().fetch(file)) == sha256(path)


def test_a_failure_does_not_wait_for_big_files(index: Index, fetcher: Make) -> None:
    import random

    big_one = make_wheel(index.folder, "thing", "2.0", files={"thing/noise": random.Random(1).randbytes(4 << 20)})
    index.pause = 1.0  # for each piece of 64 KiB: more than a minute
    gone = File("gone-1-py3-none-any.whl", "0" * 64, f"{index.url}/files/gone", 1, "wheel", "gone", "1")
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"gone-1-py3-none-any\.whl cannot be fetched"):
        fetcher().fetch_all([file_of(big_one, f"{index.url}/files/{big_one.name}", "2.0"), gone])
    assert time.monotonic() - start < 30


def test_two_processes_worth_of_threads_fetch_once(index: Index, fetcher: Make) -> None:
    _, file = big(index)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetcher().fetch(file))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(index.asked) == 1


# ── archives ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_archive_needs_no_network(index: Index, fetcher: Make, tmp_path: Path) -> None:
    path, file = big(index)
    sdist = make_sdist(index.folder, "other", "1", {})
    source = File(sdist.name, sha256(sdist), f"{index.url}/files/{sdist.name}", None, "sdist", "other", "1")
    files = fetcher().fetch_all([file, source])
    archive = tmp_path / "archive"
    assert archive_files(files, [file, source], archive) == 2
    assert archive_files(files, [file, source], archive) == 0
    assert sorted(str(one.relative_to(archive)) for one in archive.rglob("*") if one.is_file()) == [
        f"sdists/{sdist.name}",
        f"wheels/{path.name}",
    ]
    asked = len(index.asked)
    offline = fetcher(store="other", archive=archive, offline=True)
    assert sha256(offline.fetch(file)) == file.sha256
    assert sha256(offline.fetch(source)) == source.sha256
    assert len(index.asked) == asked


def test_an_archive_holds_two_files_of_one_name(fetcher: Make, tmp_path: Path) -> None:
    links, archive = tmp_path / "links", tmp_path / "archive"
    links.mkdir()
    files = []
    for content in (b"1", b"2"):
        path = make_wheel(links, "thing", "1.0", files={"thing/x": content})
        file = file_of(path)
        files.append(file)
        archive_files(fetcher(Machine(find_links=(str(links),), no_index=True)).fetch_all([file]), [file], archive)
    assert archive_path(archive, files[1]) == archive / "wheels" / files[1].sha256[:12] / files[1].filename
    offline = fetcher(store="other", archive=archive, offline=True)
    assert [sha256(offline.fetch(file)) for file in files] == [file.sha256 for file in files]


def test_what_an_archive_lacks_is_named(index: Index, fetcher: Make, tmp_path: Path) -> None:
    path, file = big(index)
    with pytest.raises(Unavailable, match=f"{path.name} cannot be fetched: it is not in the archive"):
        fetcher(archive=tmp_path, offline=True).fetch(file)
    assert index.asked == []


def test_a_damaged_archive_is_refused(index: Index, fetcher: Make, tmp_path: Path) -> None:
    path, file = big(index)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / path.name).write_bytes(b"x")
    with pytest.raises(DigestMismatch, match=r"wheels/thing-1\.0-py3-none-any\.whl is not the locked"):
        fetcher(archive=tmp_path, offline=True).fetch(file)


# ── Debian packages ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_package_that_left_its_mirror_comes_from_snapshot(fetcher: Make, tmp_path: Path) -> None:
    content = b"!<arch>\n"
    package = tmp_path / "x"
    package.write_bytes(content)
    deb = Deb(
        name="git", version="1:2.39-1+b1", architecture="amd64", url="", sha256=sha256(package), size=len(content)
    )
    asked: list[str] = []

    class Snapshot(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            asked.append(self.path)
            answers = {
                "/mr/binary/git/1%3A2.39-1%2Bb1/binfiles": json.dumps(
                    {"result": [{"architecture": "arm64", "hash": "aa"}, {"architecture": "amd64", "hash": "bb"}]}
                ).encode(),
                "/file/bb": content,
            }
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Snapshot)
    with served(server):
        place = f"http://127.0.0.1:{server.server_port}"
        gone = deb.model_copy(update={"url": f"{place}/pool/git.deb"})
        found = fetcher(substitute=lambda url: url.replace(SNAPSHOT, place)).fetch(deb_file(gone))
    assert found.read_bytes() == content
    assert found.name == "git_1%3A2.39-1+b1_amd64.deb"
    assert asked == ["/pool/git.deb", "/mr/binary/git/1%3A2.39-1%2Bb1/binfiles", "/file/bb"]


def test_files_of_locked_things() -> None:
    zeros = "0" * 64
    wheel = Wheel("a", "1", "a-1-py3-none-any.whl", "https://h/a", zeros, 7)
    assert wheel_file(wheel) == File("a-1-py3-none-any.whl", zeros, "https://h/a", 7, "wheel", "a", "1")
    built = Built(
        name="a", version="1", sdist_url="https://h/a%2B1.tar.gz", sdist_sha256=zeros, filename="f", sha256=zeros
    )
    assert sdist_file(built) == File("a+1.tar.gz", zeros, "https://h/a%2B1.tar.gz", None, "sdist", "a", "1")
    bare = built.model_copy(update={"sdist_url": "a-1.tar.gz"})
    assert sdist_file(bare) == File("a-1.tar.gz", zeros, "", None, "sdist", "a", "1")
