"""One blob into a repository, whatever happens on the way: it arrives whole, or an error is said, and soon."""

import re
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry.scripted import exchange
from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.oci.digest import sha256
from wardian.oci.model import LAYER_GZIP, Descriptor
from wardian.oci.reference import Reference
from wardian.registry.upload import Upload

TARGET = Reference.parse("registry.example/acme/image:1")
PIECE = 1000
FAULTS = (
    "refuse",  # 500, nothing is taken
    "take and refuse",  # 500, though the piece was taken
    "cut",  # the connection ends, nothing is taken
    "take and cut",
    "forget",  # the upload is gone
    "half",  # half of the piece is kept, and the answer says so
    "none",  # nothing is kept, and the answer says so
    "nonsense",  # the answer's Range cannot be read
)


class Uploads:
    """A registry that takes uploads as docker's does; each request that brings bytes meets the next fault."""

    def __init__(self, faults: Iterator[str] | list[str] | None = None, *, smallest: str = "") -> None:
        self.faults = iter(faults or [])
        self.smallest = smallest
        self.open: dict[str, bytearray] = {}
        self.blobs: dict[str, bytes] = {}
        self.pieces: list[tuple[str, int]] = []
        self.requests = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        assert self.requests < 500, "it never ends"
        path, query = urlsplit(str(request.url)).path, parse_qs(urlsplit(str(request.url)).query)
        if request.method == "POST":
            name = str(len(self.open) + 1)
            self.open[name] = bytearray()
            more = {"oci-chunk-min-length": self.smallest} if self.smallest else {}
            return httpx.Response(202, headers={"location": f"/v2/acme/image/blobs/uploads/{name}", **more})
        if request.method == "HEAD":
            return httpx.Response(200 if path.rpartition("/")[2] in self.blobs else 404)
        upload = self.open.get(name := path.rpartition("/")[2])
        if upload is None:
            return httpx.Response(404)
        if request.method == "GET":
            return self._stands(204, name, len(upload))
        return self._bytes(request, name, upload, query)

    def _bytes(
        self, request: httpx.Request, name: str, upload: bytearray, query: dict[str, list[str]]
    ) -> httpx.Response:
        body, fault = request.read(), next(self.faults, None)
        self.pieces.append((request.method, len(body)))
        if fault == "forget":
            del self.open[name]
            return httpx.Response(404)
        if fault not in ("refuse", "cut", "none"):
            upload += body[: len(body) // 2] if fault == "half" else body
        if fault in ("cut", "take and cut"):
            raise httpx.ReadError("cut")
        if fault in ("refuse", "take and refuse"):
            return httpx.Response(500)
        if request.method == "PATCH":
            start = re.fullmatch(r"([0-9]+)-[0-9]+", request.headers["content-range"])
            assert start
            return self._stands(202, name, len(upload), "x" if fault == "nonsense" else None)
        [digest] = query["digest"]
        if sha256(bytes(upload)) != digest:
            del self.open[name]
            return httpx.Response(400, json={"errors": [{"code": "DIGEST_INVALID"}]})
        self.blobs[digest] = bytes(self.open.pop(name))
        return httpx.Response(201, headers={"docker-content-digest": digest})

    @staticmethod
    def _stands(code: int, name: str, size: int, said: str | None = None) -> httpx.Response:
        where = said or f"0-{max(size - 1, 0)}"
        return httpx.Response(code, headers={"location": f"/v2/acme/image/blobs/uploads/{name}", "range": where})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


def send(folder: Path, uploads: Uploads, content: bytes) -> list[int]:
    """Send these bytes; how far the display was at the end, and at its furthest."""
    path = folder / "blob"
    path.write_bytes(content)
    shown = [0]

    def advance(amount: float) -> None:
        shown.append(shown[-1] + int(amount))

    blob = Descriptor(LAYER_GZIP, sha256(content), len(content))
    with mock.patch("wardian.registry.upload.CHUNK", PIECE):
        assert Upload(exchange(uploads), TARGET, blob, path, advance).send() == "sent"
    return [shown[-1], max(shown)]


@given(
    size=st.integers(0, 4 * PIECE + 1),
    faults=st.lists(st.sampled_from((*FAULTS, None)), max_size=4),
)
def test_some_faults_keep_no_blob_away(folder: Path, size: int, faults: list[str | None]) -> None:
    content = bytes(at % 251 for at in range(size))
    uploads = Uploads([fault or "" for fault in faults])
    assert send(folder, uploads, content) == [size, size]
    assert uploads.blobs == {sha256(content): content}


@given(size=st.integers(PIECE + 1, 3 * PIECE), fault=st.sampled_from([one for one in FAULTS if one != "nonsense"]))
def test_a_fault_that_lasts_ends_with_an_error(folder: Path, size: int, fault: str) -> None:
    uploads = Uploads(iter(lambda: fault, ""))
    if fault in ("take and refuse", "take and cut", "half"):  # bytes move all the same
        with mock.patch.object(uploads, "faults", iter([fault] * 4)):
            send(folder, uploads, b"x" * size)
        return
    with pytest.raises(WardianError):
        send(folder, uploads, b"x" * size)
    assert uploads.blobs == {}
    assert uploads.requests < 60


def test_a_registry_that_keeps_nothing_is_named(folder: Path) -> None:
    """It says 202 to every piece but the first, and each time that it has no more: without end."""
    with pytest.raises(Unavailable, match=r"registry\.example takes pieces of blob sha256:.* and keeps none of them"):
        send(folder, Uploads(chain([""], repeat("none"))), b"x" * (3 * PIECE))


@pytest.mark.parametrize("said", ["0-" + "9" * 5000, "9" * 5000, "0--1", "1-999", "bytes=0-99999999999999999999"])
def test_a_range_that_is_no_range_is_taken_for_none(folder: Path, said: str) -> None:
    uploads = Uploads()
    stands = uploads._stands

    def lying(code: int, name: str, size: int, _: str | None = None) -> httpx.Response:
        return stands(code, name, size, said)

    with mock.patch.object(uploads, "_stands", lying):
        assert send(folder, uploads, b"y" * (2 * PIECE + 1)) == [2 * PIECE + 1] * 2


@pytest.mark.parametrize(
    ("smallest", "pieces"),
    [
        ("", [("PATCH", 1000), ("PATCH", 1000), ("PATCH", 500), ("PUT", 0)]),
        ("2000", [("PATCH", 2000), ("PATCH", 500), ("PUT", 0)]),
        ("2500", [("PUT", 2500)]),
        ("9" * 5000, [("PATCH", 1000), ("PATCH", 1000), ("PATCH", 500), ("PUT", 0)]),
        ("-5", [("PATCH", 1000), ("PATCH", 1000), ("PATCH", 500), ("PUT", 0)]),
    ],
)
def test_pieces_are_as_large_as_the_registry_wants_them(
    folder: Path, smallest: str, pieces: list[tuple[str, int]]
) -> None:
    uploads = Uploads(smallest=smallest)
    send(folder, uploads, b"z" * 2500)
    assert uploads.pieces == pieces


def test_an_empty_blob_goes_too(folder: Path) -> None:
    uploads = Uploads()
    assert send(folder, uploads, b"") == [0, 0]
    assert uploads.blobs == {sha256(b""): b""}


def test_a_file_that_became_shorter_is_named(folder: Path) -> None:
    path = folder / "short"
    path.write_bytes(b"x")
    upload = Upload(exchange(Uploads()), TARGET, Descriptor(LAYER_GZIP, sha256(b"xy"), 2), path)
    with pytest.raises(DigestMismatch, match="is shorter than it was"):
        upload.send()


def test_whether_it_is_there_is_asked_and_not_guessed(folder: Path) -> None:
    uploads = Uploads()
    blob = Descriptor(LAYER_GZIP, sha256(b"here"), 4)
    assert not Upload(exchange(uploads), TARGET, blob, folder / "none").is_there()
    uploads.blobs[blob.digest] = b"here"
    assert Upload(exchange(uploads), TARGET, blob, folder / "none").is_there()
    with pytest.raises(Unavailable, match="500"):
        Upload(exchange(lambda _: httpx.Response(500)), TARGET, blob, folder / "none").is_there()
