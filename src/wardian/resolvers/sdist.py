"""Source distributions as files, and the wheels that are made of them: the same ones again on another machine."""

import hashlib
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wardian.builders import backend
from wardian.builders.base import Site
from wardian.errors import DigestMismatch, WardianError
from wardian.lock.model import Built, Tool
from wardian.lock.requirements import BuildSystem, build_system
from wardian.resolvers.fetch import Fetcher, File, sdist_file
from wardian.store.store import LayerRecord


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a wheel is made of and with."""

    name: str
    version: str
    source: File
    tools: tuple[Tool, ...]
    interpreter: str  # in the image
    env: Mapping[str, str]

    def tree(self, failed: str) -> backend.Tree:
        """The source tree, for its backend."""
        hint = f"what the build needs goes into [images.NAME.sdists.{self.name}]: apt, requires, env"
        return backend.Tree(
            self.name, self.version, self.interpreter, f"{self.name} {self.version} {failed}", hint, self.env
        )


def recipe(built: Built, interpreter: str) -> Recipe:
    """The recipe of a wheel that was built before."""
    return Recipe(built.name, built.version, sdist_file(built), built.build, interpreter, built.env)


def make(
    wanted: Recipe, layers: Sequence[LayerRecord], site: Site, fetcher: Fetcher, say: Callable[[str], None]
) -> File:
    """Build a wheel over ``layers``, put it into the store, and say what it is.

    Raises ``CommandFailed`` with the last lines of a build that failed.
    """
    with _unpacked(wanted, site, fetcher, say) as (work, tools):
        tree = wanted.tree("cannot be built from its source distribution")
        packed = backend.wheel(tree, tools, layers, work=work, site=site, say=say)
        with packed.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        made = File(packed.name, digest, "", packed.stat().st_size, "wheel", wanted.name, wanted.version)
        fetcher.keep(made, packed)
    return made


def metadata(
    wanted: Recipe,
    system: BuildSystem,
    layers: Sequence[LayerRecord],
    *,
    site: Site,
    fetcher: Fetcher,
    say: Callable[[str], None],
) -> str:
    """The METADATA of a source distribution that has none which can be trusted, from its backend over ``layers``."""
    with _unpacked(wanted, site, fetcher, say) as (work, tools):
        tree = wanted.tree("does not tell what it requires")
        return backend.metadata(tree, system, tools, layers, work=work, site=site, say=say)


@contextmanager
def _unpacked(
    wanted: Recipe, site: Site, fetcher: Fetcher, say: Callable[[str], None]
) -> Iterator[tuple[Path, list[Path]]]:
    """A folder in which the source lies unpacked at ``build/source``, and the wheels that build it."""
    say("fetching what it is built with")
    tools = [tool_file(tool) for tool in wanted.tools]
    paths = fetcher.fetch_all([wanted.source, *tools])
    with site.temporary() as work:
        extract(paths[wanted.source.sha256], work / "build" / "source")
        yield work, [paths[tool.sha256] for tool in tools]


def again(
    built: Built,
    layers: Sequence[LayerRecord],
    *,
    interpreter: str,
    site: Site,
    fetcher: Fetcher,
    say: Callable[[str], None],
) -> Path:
    """Build a locked wheel on a machine that lacks it. Raises ``DigestMismatch`` when other bytes come out."""
    made = make(recipe(built, interpreter), layers, site, fetcher, say)
    if made.sha256 != built.sha256:
        raise DigestMismatch(
            f"building {built.name} {built.version} here gives another wheel than the locked one "
            f"({made.sha256[:12]}…, not {built.sha256[:12]}…)",
            hint="archive it where it was locked (wardian lock --archive DIR; wardian build --from DIR), or lock again",
        )
    return fetcher.store.download_path(made.sha256, made.filename)


def tool_file(tool: Tool) -> File:
    """The file of a build requirement."""
    return File(tool.filename, tool.sha256, tool.url, None, "wheel", tool.name, tool.version)


def build_system_of(archive: Path) -> BuildSystem:
    """What a source distribution says that it is built with."""
    return build_system(_read(archive, "pyproject.toml") or "", f"the pyproject.toml of {archive.name}")


def extract(archive: Path, target: Path) -> None:
    """Unpack a source distribution so that ``target`` is its one folder. Refuses what would leave it."""
    inner = target.with_name(target.name + ".unpacked")
    inner.mkdir(parents=True)
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(inner)  # noqa: S202 - zipfile drops what would leave the folder
        else:
            with tarfile.open(archive) as tar:
                # Python before 3.11.4 (Debian 12 has 3.11.2) has no filter; newer ones warn without.
                tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
                tar.extractall(inner, members=_inside(tar))  # noqa: S202 - each member was looked at
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise WardianError(f"{archive.name} cannot be unpacked: {error}") from error
    found = list(inner.iterdir())
    if len(found) != 1 or not found[0].is_dir():
        raise WardianError(f"{archive.name} is not a source distribution: it does not hold one folder")
    found[0].replace(target)
    inner.rmdir()


def _inside(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a source distribution, after a look at each: files, folders, and links that stay beside them."""
    for member in tar:
        targets = [member.name, *([member.linkname] if member.issym() or member.islnk() else [])]
        plain = member.isfile() or member.isdir() or member.issym() or member.islnk()
        if not plain or any(name.startswith("/") or ".." in name.split("/") for name in targets):
            raise tarfile.TarError(f"{member.name!r} would leave the folder or is no file")
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        yield member


def _read(archive: Path, name: str) -> str | None:
    """The text of a file at the top of a source distribution."""
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                found = next(
                    (one for one in packed.namelist() if one.count("/") == 1 and one.endswith(f"/{name}")), None
                )
                return packed.read(found).decode("utf-8", errors="replace") if found else None
        with tarfile.open(archive) as tar:
            for member in tar:
                if (
                    member.isfile()
                    and member.name.removeprefix("./").count("/") == 1
                    and member.name.endswith(f"/{name}")
                ):
                    file = tar.extractfile(member)
                    return file.read().decode("utf-8", errors="replace") if file else None
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise WardianError(f"{archive.name} cannot be read: {error}") from error
    return None
