"""Source distributions → wheels, compiled inside the image's own system layers, without a network.

The build environment is made of locked wheels alone, at fixed paths and times, and the wheel is packed again in a fixed
order without compression: another machine that builds it gets the same bytes, or says that it did not.
"""

import hashlib
import os
import stat
import tarfile
import tomllib
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardian.builders.base import Site
from wardian.builders.system import PATH, root
from wardian.command import Command
from wardian.errors import CommandFailed, DigestMismatch, WardianError
from wardian.hosts.sandbox import Sandbox, command, folder
from wardian.lock.model import Built, Tool
from wardian.lock.pylock import normalised
from wardian.plan.containers import Bind
from wardian.plan.keys import EPOCH
from wardian.resolvers.fetch import Fetcher, File, sdist_file
from wardian.resolvers.python import program
from wardian.store.store import LayerRecord

BUILD = "/build"  # where everything of a build lies, on every machine: paths end up in compiled files
DEFAULT_REQUIRES = ("setuptools>=40.8.0",)  # Source: PEP 517, "Source trees"
_SCRIPT = r"""
set -e
uv venv --quiet --python "$1" /build/env
if [ -n "$(ls /build/wheels)" ]; then
  uv pip install --quiet --no-deps --no-index --python /build/env/bin/python /build/wheels/*.whl
fi
exec uv build --wheel --no-build-isolation --python /build/env/bin/python --out-dir /build/dist /build/source
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a wheel is made of and with."""

    name: str
    version: str
    source: File
    tools: tuple[Tool, ...]
    interpreter: str  # in the image
    env: Mapping[str, str]


def recipe(built: Built, interpreter: str) -> Recipe:
    """The recipe of a wheel that was built before."""
    return Recipe(built.name, built.version, sdist_file(built), built.build, interpreter, built.env)


def make(
    wanted: Recipe, layers: Sequence[LayerRecord], site: Site, fetcher: Fetcher, say: Callable[[str], None]
) -> File:
    """Build a wheel over ``layers``, put it into the store, and say what it is.

    Raises ``CommandFailed`` with the last lines of a build that failed.
    """
    say("fetching what it is built with")
    tools = [tool_file(tool) for tool in wanted.tools]
    paths = fetcher.fetch_all([wanted.source, *tools])
    with site.temporary() as work:
        work.chmod(0o755)
        for name in ("build/home", "build/tmp", "wheels"):
            (work / name).mkdir(parents=True)
        extract(paths[wanted.source.sha256], work / "build" / "source")
        for tool in tools:
            os.link(paths[tool.sha256], work / "wheels" / tool.filename)
        _run(wanted, layers, site, work, say)
        made = sorted((work / "build" / "dist").glob("*.whl"))
        if len(made) != 1:
            raise WardianError(f"building {wanted.name} made {len(made)} wheels, not one")
        _named_rightly(made[0].name, wanted)
        packed = work / made[0].name
        repack(made[0], packed)
        with packed.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found = File(packed.name, digest, "", packed.stat().st_size, "wheel", wanted.name, wanted.version)
        fetcher.keep(found, packed)
    return found


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


def build_requires(archive: Path) -> tuple[str, ...]:
    """What a source distribution says that it is built with. Source: PEP 518."""
    text = _read(archive, "pyproject.toml")
    try:
        data = tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise WardianError(f"the pyproject.toml of {archive.name} is not TOML: {error}") from error
    requires = data.get("build-system", {}).get("requires")
    return tuple(requires) if requires is not None else DEFAULT_REQUIRES


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


def repack(made: Path, target: Path) -> None:
    """The wheel with its files in one order, of one time, with modes 644 or 755, stored as they are."""
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        files = [member for member in old.infolist() if not member.is_dir()]
        for member in sorted(files, key=lambda one: (".dist-info/" in one.filename, one.filename)):
            plain = zipfile.ZipInfo(member.filename)
            runs = (member.external_attr >> 16) & 0o111 != 0
            plain.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
            with old.open(member) as source, new.open(plain, "w", force_zip64=member.file_size >= 1 << 31) as out:
                while chunk := source.read(1 << 20):
                    out.write(chunk)


def _run(wanted: Recipe, layers: Sequence[LayerRecord], site: Site, work: Path, say: Callable[[str], None]) -> None:
    inside = site.namespace()
    say("unpacking what lies beneath")
    lowers = root(site.store, site.host, inside, layers)
    binds = (
        Bind(str(work / "build"), BUILD),
        Bind(str(work / "wheels"), f"{BUILD}/wheels", read_only=True),
        Bind(program(), f"{BUILD}/bin/uv", read_only=True),
    )
    env = {
        "PATH": f"{BUILD}/env/bin:{BUILD}/bin:{PATH}",
        "HOME": f"{BUILD}/home",
        "TMPDIR": f"{BUILD}/tmp",  # noqa: S108 - inside the sandbox
        "VIRTUAL_ENV": f"{BUILD}/env",
        "UV_CACHE_DIR": f"{BUILD}/cache",
        **dict.fromkeys(("UV_OFFLINE", "UV_NO_CONFIG", "UV_NO_PROGRESS", "PIP_NO_INDEX", "NO_COLOR"), "1"),
        "UV_PYTHON_DOWNLOADS": "never",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **wanted.env,
    }
    with folder(lowers) as run_dir:
        argv = ("sh", "-c", _SCRIPT, "sh", wanted.interpreter)
        sandbox = Sandbox(lowers=lowers, run_dir=run_dir, argv=argv, env=env, workdir=BUILD, binds=binds, network=False)
        _perform(command(sandbox, inside), wanted, site, say)


def _perform(started: Command, wanted: Recipe, site: Site, say: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=12)

    def heard(text: str) -> None:
        if text.strip():
            last.append(text.rstrip())
            say(text.strip())

    ended = site.host.stream(started, line=heard)
    if ended.code:
        site.check()
        shown = "".join(f"\n    {line}" for line in last)
        raise CommandFailed(
            f"{wanted.name} {wanted.version} cannot be built from its source distribution{shown}",
            code=ended.code,
            hint=f"what the build needs goes into [images.NAME.sdists.{wanted.name}]: apt, requires, env",
        )


def _named_rightly(filename: str, wanted: Recipe) -> None:
    name, version = filename.split("-")[:2]
    if normalised(name) != wanted.name or version.replace("_", "-") != wanted.version.replace("_", "-"):
        raise WardianError(f"building {wanted.name} {wanted.version} made {filename}, which is something else")


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
