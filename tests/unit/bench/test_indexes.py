"""The index that all contestants read: what uv, pip and httpx get from it."""

import hashlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

import indexes
from tests.indexes import make_wheel
from wardian.hosts.machine import Machine, read_machine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of wheels as find-links has them, and an index of files beside it."""
    flat = tmp_path / "wheels"
    flat.mkdir()
    make_wheel(flat, "big", "1.0+cpu", files={"big/data": bytes(range(256)) * 500}, requires=["small"])
    files, page = tmp_path / "index" / "files", tmp_path / "index" / "simple" / "small"
    files.mkdir(parents=True)
    page.mkdir(parents=True)
    wheel = make_wheel(files, "small", "2.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (page / "index.html").write_text(f'<a href="../../files/{wheel.name}#sha256={digest}">{wheel.name}</a>')
    (tmp_path / "secret").write_text("x")
    return tmp_path


@pytest.fixture
def served(folder: Path) -> Iterator[indexes.Served]:
    made = indexes.Served([str(folder / "wheels"), str(folder / "index" / "simple")])
    yield made
    made.stop()


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False)


def big(served: indexes.Served, folder: Path) -> tuple[str, bytes]:
    wheel = next((folder / "wheels").iterdir())
    return f"{flat(served, folder)}/{quote(wheel.name)}", wheel.read_bytes()


def flat(served: indexes.Served, folder: Path) -> str:
    return served.url(str(folder / "wheels")).removesuffix("/simple")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=5-", 5, None), ("bytes=-22", -22, None), ("bytes=100-99999999", 100, None)],
)
def test_a_range_is_what_was_asked(
    served: indexes.Served, folder: Path, asked: str, start: int, end: int | None
) -> None:
    url, content = big(served, folder)
    answer = get(url, Range=asked)
    assert (answer.status_code, answer.content) == (206, content[start:end])
    begin = start if start >= 0 else len(content) + start
    assert answer.headers["Content-Range"] == f"bytes {begin}-{begin + len(answer.content) - 1}/{len(content)}"


def test_a_range_past_the_end_is_refused(served: indexes.Served, folder: Path) -> None:
    assert get(big(served, folder)[0], Range="bytes=99999999-").status_code == 416


def test_a_file_is_whole_and_may_be_kept_for_ever(served: indexes.Served, folder: Path) -> None:
    url, content = big(served, folder)
    answer = get(url)
    assert answer.content == content
    assert answer.headers["Cache-Control"] == "max-age=365000000, immutable, public"
    head = httpx.head(url, trust_env=False)
    assert (head.headers["Content-Length"], head.headers["Accept-Ranges"]) == (str(len(content)), "bytes")


def test_a_page_names_hashes_and_metadata_and_may_be_kept_ten_minutes(served: indexes.Served, folder: Path) -> None:
    url = served.url(str(folder / "wheels")) + "/big/"
    answer = get(url)
    digest = hashlib.sha256(big(served, folder)[1]).hexdigest()
    assert f'href="../../big-1.0%2Bcpu-py3-none-any.whl#sha256={digest}" data-core-metadata="true"' in answer.text
    assert answer.headers["Cache-Control"] == "max-age=600, public"
    assert get(url, **{"If-None-Match": answer.headers["ETag"]}).status_code == 304
    own = get(served.url(f"file://{folder / 'index' / 'simple'}") + "/small/")
    assert 'data-core-metadata="true"' in own.text


def test_metadata_lies_beside_each_wheel(served: indexes.Served, folder: Path) -> None:
    assert "Requires-Dist: small" in get(big(served, folder)[0] + ".metadata").text
    assert get(f"{flat(served, folder)}/none-1.0-py3-none-any.whl.metadata").status_code == 404


def test_nothing_else_is_served(served: indexes.Served, folder: Path) -> None:
    root = flat(served, folder).removesuffix(f"{folder}/wheels")
    for path in (f"{folder}/secret", f"{folder}/wheels/../secret", f"{folder}/wheels/simple/none/", "/etc/passwd", "/"):
        assert get(f"{root}{path}").status_code == 404


def test_a_client_that_hangs_up_is_no_news(
    served: indexes.Served, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = int(served.url(str(folder / "wheels")).split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        client.sendall(b"GET ")
    assert get(big(served, folder)[0]).status_code == 200
    assert capfd.readouterr().err == ""


def test_settings_name_the_server_and_leave_other_words(served: indexes.Served, folder: Path) -> None:
    simple = f"file://{folder}/index/simple"
    machine = Machine(extra_indexes=(simple, "https://example.org/simple"), find_links=(str(folder / "wheels"),))
    settings = served.environment(machine, "/run/ca.crt")
    assert (
        settings["UV_INDEX"] == f"{served.url(str(folder / 'wheels'))} {served.url(simple)} https://example.org/simple"
    )
    assert (settings["PIP_FIND_LINKS"], settings["UV_INDEX_STRATEGY"]) == ("", "unsafe-best-match")
    assert settings["SSL_CERT_FILE"] == "/run/ca.crt"


def test_without_folders_nothing_is_started() -> None:
    served = indexes.Served(())
    assert served.environment(Machine(extra_indexes=("https://example.org/simple",)))["UV_INDEX"] == (
        "https://example.org/simple"
    )
    served.stop()


def test_uv_locks_from_it_with_hashes(served: indexes.Served, folder: Path, tmp_path: Path) -> None:
    machine = Machine(index=f"file://{folder}/index/simple", find_links=(str(folder / "wheels"),))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    env = {**clean, **served.environment(machine), "UV_CACHE_DIR": str(tmp_path / "cache")}
    uv = str(Path(sys.executable).with_name("uv"))
    words = [uv, "pip", "compile", "-q", "--no-header", "--no-annotate", "--generate-hashes", "-"]
    done = subprocess.run(words, input="big", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if "==" in line] == ["big==1.0+cpu", "small==2.0"]
    assert done.stdout.count("--hash=sha256:") == 2


def test_wardian_reads_the_same_places(served: indexes.Served, folder: Path) -> None:
    """What the machine's own files name, folders, is out of the way."""
    machine = Machine(extra_indexes=(f"file://{folder}/index/simple",), find_links=(str(folder / "wheels"),))
    found = read_machine({"PIP_FIND_LINKS": str(folder), **served.environment(machine)})
    assert found.find_links == ()
    assert found.extra_indexes == (served.url(str(folder / "wheels")), served.url(f"{folder}/index/simple"))
