"""Locked files – wheels, source distributions, Debian packages – into the store: by hash, wherever they are found.

Asked in this order: the store, an archive folder, the machine's find-links folders, the locked address (through
``[substitutes]``), then the places that may still have a file its address has lost: the machine's package indexes for
Python files, Debian's snapshots for Debian ones. Whatever comes is only kept when its SHA-256 is the locked one.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.hosts.machine import Machine, bare, local_path
from wardian.lock.model import Built, Deb
from wardian.lock.pylock import Pinned, filename_of
from wardian.lock.wheel import Wheel
from wardian.plan.debian import SNAPSHOT
from wardian.registry.faults import cut, unreachable
from wardian.registry.transport import Transport
from wardian.resolvers import index
from wardian.store.files import explained
from wardian.store.store import Store

if TYPE_CHECKING:
    import httpx

WORKERS = 8
FOLDERS = {"wheel": "wheels", "sdist": "sdists", "deb": "debs"}  # of an archive
_CHUNK = 1 << 20
_ALWAYS_PYPI = "https://pypi.org/simple"

Advance = Callable[[float], None]
Substitute = Callable[[str], str | None]  # an address → what this machine uses in its place


@dataclass(frozen=True, slots=True)
class File:
    """A locked file: its name, its hash, and where it was when it was locked ("" when that says nothing elsewhere)."""

    filename: str
    sha256: str
    url: str = ""
    size: int | None = None
    kind: Literal["wheel", "sdist", "deb"] = "wheel"
    name: str = ""
    version: str = ""


def wheel_file(wheel: Wheel) -> File:
    """The file of a wheel. One that was built from a source distribution has no address."""
    return File(wheel.filename, wheel.sha256, wheel.url, wheel.size, "wheel", wheel.name, wheel.version)


def pinned_file(one: Pinned) -> File:
    """The file of a pin of a pylock."""
    kind: Literal["wheel", "sdist"] = "sdist" if one.kind == "sdist" else "wheel"
    return File(one.filename, one.sha256, one.url, one.size, kind, one.name, one.version)


def sdist_file(built: Built) -> File:
    """The source distribution that a wheel was built from."""
    filename = filename_of(built.sdist_url)
    url = built.sdist_url if "://" in built.sdist_url else ""
    return File(filename, built.sdist_sha256, url, None, "sdist", built.name, built.version)


def deb_file(deb: Deb) -> File:
    """The file of a Debian package, under the name that dpkg gives it."""
    version = quote(deb.version, safe="+~.-")
    return File(
        f"{deb.name}_{version}_{deb.architecture}.deb", deb.sha256, deb.url, deb.size, "deb", deb.name, deb.version
    )


@dataclass(frozen=True)
class Fetcher:
    """Brings locked files into ``store``. Safe to use from threads, and beside other processes.

    With ``archive`` that folder is asked first; with ``offline`` nothing else than the store and the archive is.
    """

    store: Store
    machine: Machine
    transport: Transport
    substitute: Substitute = lambda _: None
    archive: Path | None = None
    offline: bool = False
    indexes: tuple[str, ...] = ()  # of the project, before the machine's
    pages: dict[str, list[index.Link]] = field(default_factory=dict, repr=False)  # what indexes answered

    def fetch(self, file: File, advance: Advance | None = None) -> Path:
        """The file in the store, verified. Raises ``DigestMismatch`` or ``Unavailable``, naming the file."""
        target = self.store.download_path(file.sha256, file.filename)
        if _intact(target, file):
            return target
        with self.store.lock(f"download-{file.sha256}"):
            if _intact(target, file):
                return target
            target.unlink(missing_ok=True)  # somebody touched it: it is fetched again
            return self._bring(file, target, advance)

    def fetch_all(self, files: Sequence[File], advance: Advance | None = None) -> dict[str, Path]:
        """All files by SHA-256, eight at a time, the big ones first; the first failure ends it, what came is kept."""
        files = sorted({file.sha256: file for file in files}.values(), key=lambda file: -(file.size or 0))
        stopping = Event()

        def moved(amount: float) -> None:
            if stopping.is_set():
                raise _Stopped("the download was stopped")
            if advance:
                advance(amount)

        with ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch") as pool:
            started = {pool.submit(self.fetch, file, moved): file for file in files}
            try:
                done, _ = wait(started, return_when=FIRST_EXCEPTION)
                failed = [future for future in done if future.exception()]
                return {started[future].sha256: future.result() for future in failed or done}
            except BaseException:
                stopping.set()  # a failure, or Ctrl-C, does not wait for what is under way
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def has(self, file: File) -> bool:
        """Whether the store has the file; its hash is not computed."""
        try:
            size = self.store.download_path(file.sha256, file.filename).stat().st_size
        except OSError:
            return False
        return file.size is None or size == file.size

    def size_of(self, file: File) -> int | None:
        """The size in bytes of a file that is not fetched yet, from the first place that tells; None when none does."""
        try:
            for place in self._places(file):
                path = local_path(place)
                size = path.stat().st_size if path else self._announced(place)
                if size is not None:
                    return size
        except (OSError, WardianError):
            pass  # who fetches it says why it cannot be had
        return None

    def keep(self, file: File, path: Path) -> Path:
        """Put a file that was made here into the store, under its locked name."""
        target = self.store.download_path(file.sha256, file.filename)
        self._copy(path, file, target)
        return target

    def _bring(self, file: File, target: Path, advance: Advance | None) -> Path:
        tried: list[str] = []
        wrong: DigestMismatch | None = None
        for place in self._places(file):
            try:
                path = local_path(place)
                if path is None:
                    self._download(place, file, target, advance)
                else:
                    self._copy(path, file, target)
            except _Absent as error:
                tried.append(str(error))
            except DigestMismatch as error:
                wrong = wrong or error
            except Unavailable as error:
                tried.append(error.message)
            else:
                return target
        if wrong:
            raise wrong
        where = "; ".join(dict.fromkeys(tried)) or (
            "nowhere to look" if not self.offline else "it is not in the archive"
        )
        raise Unavailable(
            f"{file.filename} cannot be fetched: {where}",
            hint="another machine can keep it: wardian lock --archive DIR, then here: wardian build --from DIR",
        )

    def _places(self, file: File) -> Iterator[str]:
        """Where to look, the nearest place first. Local places are paths; only those that hold the name are given."""
        if self.archive:
            folder = self.archive / FOLDERS[file.kind]
            yield from (
                str(path)
                for path in (folder / file.sha256[:12] / file.filename, folder / file.filename)
                if path.is_file()
            )
        if self.offline:
            return
        if file.kind != "deb":
            local = (local_path(place) for place in self.machine.find_links)
            yield from (str(path / file.filename) for path in local if path and (path / file.filename).is_file())
        if file.url:
            yield self.substitute(file.url) or file.url
        if file.kind == "deb":
            yield from self._snapshot(file)
        elif file.name:
            yield from self._in_indexes(file)

    def _in_indexes(self, file: File) -> Iterator[str]:
        """Addresses that indexes give for a file of this name; a hash that contradicts rules one out."""
        indexes = dict.fromkeys(
            (*self.indexes, *self.machine.indexes, *(() if self.machine.no_index else (_ALWAYS_PYPI,)))
        )
        pages = [
            *(f"{place.rstrip('/')}/{file.name}/" for place in indexes),
            *(place for place in self.machine.find_links if "://" in place),
        ]
        for page in pages:
            if page not in self.pages:
                self.pages[page] = list(index.links(self.substitute(page) or page, self._read))
            for link in self.pages[page]:
                if link.filename == file.filename and link.sha256 in {None, file.sha256}:
                    yield link.url

    def _snapshot(self, file: File) -> Iterator[str]:
        """Debian keeps every package that it ever published. Source: its snapshots' machine-usable interface."""
        address = f"{SNAPSHOT}/mr/binary/{quote(file.name)}/{quote(file.version)}/binfiles"
        architecture = file.filename.rpartition("_")[2].removesuffix(".deb")
        try:
            answer = json.loads(self._read(self.substitute(address) or address))
            found = [entry["hash"] for entry in answer["result"] if entry["architecture"] == architecture]
        except (Unavailable, ValueError, LookupError, TypeError):
            return
        for sha1 in found:
            place = f"{SNAPSHOT}/file/{sha1}"
            yield self.substitute(place) or place

    def _copy(self, path: Path, file: File, target: Path) -> None:
        """Copy a local file, hashing what is copied."""
        partial = self.store.scratch / f"{file.sha256}.copy"
        digest = hashlib.sha256()
        try:
            with path.open("rb") as source, explained(self.store.root), partial.open("wb") as out:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
        except OSError as error:
            raise _Absent(f"{path}: {error.strerror}") from error
        self._accept(partial, digest.hexdigest(), file, target, str(path))

    def _download(self, url: str, file: File, target: Path, advance: Advance | None) -> None:
        """Download, continuing what an earlier attempt or process left."""
        partial = self.store.scratch / f"{file.sha256}.partial"
        have = partial.stat().st_size if partial.exists() else 0
        idle = 0
        while True:
            before = have
            have, total, failure = self._receive(url, partial, have, advance)
            if failure is None and (total is None or have >= total):
                break
            idle = 0 if have > before else idle + 1
            if idle >= self.transport.attempts:
                if failure:
                    raise unreachable(failure, urlsplit(url).netloc)
                raise Unavailable(
                    f"{urlsplit(url).netloc} ends {file.filename} after {have} of {total} bytes", hint="try again"
                )
            if idle:
                self.transport.pause(idle - 1)
        with partial.open("rb") as done:
            digest = hashlib.file_digest(done, "sha256").hexdigest()
        self._accept(partial, digest, file, target, bare(url))

    def _receive(
        self, url: str, partial: Path, have: int, advance: Advance | None
    ) -> "tuple[int, int | None, httpx.HTTPError | None]":
        """One request; (bytes now there, bytes in all if known, what cut it)."""
        response = self._open(url, have)
        failure: httpx.HTTPError | None = None
        try:
            if response.status_code == 416:  # nothing comes after what is there
                return have, have, None
            if response.status_code == 200:
                have = 0
            length = response.headers.get("content-length", "")
            total = have + int(length) if length.isdigit() else None
            with explained(self.store.root), partial.open("r+b" if have else "wb") as out:
                out.seek(have)
                out.truncate()
                for chunk in response.iter_raw():  # as it comes: what was there before a cut is kept
                    out.write(chunk)
                    have += len(chunk)
                    if advance:
                        advance(len(chunk))
        except cut() as error:
            failure = error
        finally:
            response.close()
        return have, total, failure

    def _open(self, url: str, offset: int = 0) -> "httpx.Response":
        headers = {"Accept-Encoding": "identity", **index.authorization(self.machine, url)}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        response = self.transport.get(bare(url), headers)
        if response.status_code in {200, 206, 416}:
            return response
        response.close()
        if response.status_code in {401, 403}:
            host = urlsplit(url).hostname
            said = (
                f"{host} answers {response.status_code}; its credentials come from the index URL, UV_INDEX_… or netrc"
            )
            raise _Absent(said)
        raise _Absent(f"{bare(url)} answers {response.status_code}")

    def _announced(self, url: str) -> int | None:
        """What a server says of a file's size when it is asked for one byte of it."""
        headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0", **index.authorization(self.machine, url)}
        response = self.transport.get(bare(url), headers)
        response.close()
        if response.status_code == 206:
            total = response.headers.get("content-range", "").rpartition("/")[2]
        else:
            total = response.headers.get("content-length", "") if response.status_code == 200 else ""
        return int(total) if total.isdigit() else None

    def _read(self, url: str) -> bytes:
        """A page of an index."""
        import httpx

        headers = {"Accept": index.ACCEPT, **index.authorization(self.machine, url)}
        response = self.transport.get(bare(url), headers)
        try:
            if response.status_code != 200:
                raise Unavailable(f"{bare(url)} answers {response.status_code}")
            return response.read()
        except httpx.HTTPError as error:
            raise unreachable(error, urlsplit(url).netloc) from error
        finally:
            response.close()

    def _accept(self, partial: Path, digest: str, file: File, target: Path, place: str) -> None:
        if digest != file.sha256:
            partial.unlink(missing_ok=True)
            raise DigestMismatch(
                f"{place} is not the locked {file.filename}: its SHA-256 is {digest[:12]}…, not {file.sha256[:12]}…",
                hint="if the new file is the right one, type: wardian lock --upgrade " + (file.name or file.filename),
            )
        with explained(self.store.root):
            partial.chmod(0o444)
            partial.replace(target)


class _Stopped(WardianError):
    """Another file of the same call failed, or the person at the terminal had enough."""


class _Absent(WardianError):
    """This place does not have the file; another may."""


def archive_files(files: Mapping[str, Path], wanted: Sequence[File], folder: Path) -> int:
    """Copy fetched files into an archive, by kind; how many were new. A taken name goes into a folder of its own."""
    new = 0
    for file in wanted:
        if archive_path(folder, file):
            continue
        target = folder / FOLDERS[file.kind] / file.filename
        if target.exists():
            target = target.parent / file.sha256[:12] / file.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.part")
        shutil.copyfile(files[file.sha256], temporary)
        temporary.replace(target)
        new += 1
    return new


def archive_path(folder: Path, file: File) -> Path | None:
    """Where an archive has a file, whole; None when it has not."""
    place = folder / FOLDERS[file.kind]
    return next(
        (path for path in (place / file.filename, place / file.sha256[:12] / file.filename) if _intact(path, file)),
        None,
    )


def _intact(path: Path, file: File) -> bool:
    """Whether the file is there with the locked hash."""
    try:
        if file.size is not None and path.stat().st_size != file.size:
            return False
        with path.open("rb") as found:
            return hashlib.file_digest(found, "sha256").hexdigest() == file.sha256
    except OSError:
        return False
