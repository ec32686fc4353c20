"""``pylock.<image>.toml`` (PEP 751): from what uv resolved to one pinned file for each distribution, and back.

uv lists every file that fits; a lock of an image keeps the one that is installed. Addresses that only mean something on
one machine (``file://``) become a bare file name, and user names and passwords are left out: such a file is found again
by its name and hash.
"""

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from wardian.errors import Fault, SpecError, WardianError
from wardian.lock.model import Built
from wardian.lock.wheel import Wheel
from wardian.spec import toml

if TYPE_CHECKING:
    from packaging.markers import Environment
    from packaging.pylock import PackageArchive, PackageSdist, PackageWheel, Pylock
    from packaging.tags import Tag

GLIBC = 28  # taken when nothing tells: manylinux_2_28, which all that is maintained has
MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "ppc64le": "ppc64le", "s390x": "s390x"}
_OLDEST = {"x86_64": 5, "i686": 5}  # the first manylinux_2_N; 17 for the others. Source: PEP 600
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
_HEADING = "# Written by `wardian lock`. Commit it; do not edit it.\n"


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels are for: a Python, a platform as in OCI, and the newest glibc 2.N that they may need."""

    python: str  # "3.11"
    platform: str  # "linux/amd64"
    glibc: int = GLIBC

    @property
    def machine(self) -> str:
        """The processor as Python names it."""
        architecture = self.platform.split("/")[1]
        return MACHINES.get(architecture, architecture)

    @property
    def uv_platform(self) -> str:
        """The value of uv's ``--python-platform``: the newest that it knows and the image has."""
        known = (17, 28, *range(31, 41))
        return f"{self.machine}-manylinux_2_{max(minor for minor in known if minor <= max(self.glibc, 17))}"

    def environment(self) -> "Environment":
        """The values of environment markers (PEP 508)."""
        return {
            "implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix",
            "implementation_version": f"{self.python}.0", "python_full_version": f"{self.python}.0",
            "python_version": self.python, "sys_platform": "linux", "platform_system": "Linux",
            "platform_machine": self.machine, "platform_release": "", "platform_version": "",
        }  # fmt: skip

    def tags(self) -> "list[Tag]":
        """The wheel tags that fit, the best first."""
        from packaging.tags import compatible_tags, cpython_tags

        version = tuple(int(part) for part in self.python.split("."))
        nodot = self.python.replace(".", "")
        platforms = list(self._platforms())
        return [
            *cpython_tags(version, [f"cp{nodot}"], platforms),
            *compatible_tags(version, f"cp{nodot}", platforms),
        ]

    def _platforms(self) -> Iterator[str]:
        for minor in range(self.glibc, _OLDEST.get(self.machine, 17) - 1, -1):
            yield f"manylinux_2_{minor}_{self.machine}"
            if minor in _LEGACY:
                yield f"{_LEGACY[minor]}_{self.machine}"
        yield f"linux_{self.machine}"


@dataclass(frozen=True, slots=True)
class Pinned:
    """One distribution of a lock: the one file that stands for it. ``url`` is "" when only name and hash are known."""

    name: str
    version: str
    kind: str  # "wheel" | "sdist"
    filename: str
    url: str
    sha256: str
    size: int | None = None
    direct: bool = False  # a requirement named its address
    requested: bool = False


def select(
    text: str,
    target: Target,
    *,
    requested: Collection[str] = (),
    from_source: Collection[str] = (),
    canonical: Callable[[str], str] = str,
) -> tuple[Pinned, ...]:
    """The file of each distribution that uv's ``text`` gives for ``target``; those in ``from_source`` as their sdist.

    ``canonical`` turns a mirror's address into the one that everybody has. Raises ``WardianError`` for what cannot be
    pinned: a wheel for another platform, a working tree, a repository, a file without a SHA-256.
    """
    from packaging.pylock import PackageDirectory, PackageVcs, PylockSelectError

    lock = _parse(text, "uv's answer")
    tags = target.tags()
    try:
        chosen = list(
            lock.select(
                environment=target.environment(),
                tags=tags,
                prefer_sdist_predicate=lambda name: name in from_source,
            )
        )
    except PylockSelectError as error:
        raise WardianError(f"{_sentence(error)}: nothing fits Python {target.python} on {target.platform}") from error
    pinned = []
    for package, file in chosen:
        if isinstance(file, PackageVcs | PackageDirectory):
            raise WardianError(
                f"{package.name} is a working tree or a repository, which cannot be locked",
                hint=f"require a release of {package.name}, or an archive of it by its address",
            )
        one = _described(package.name, str(package.version or ""), file, canonical)
        if one.kind == "wheel":
            fits(one.filename, target, tags)
        pinned.append(replace(one, requested=one.name in requested, direct=package.archive is not None))
    return tuple(sorted(pinned, key=lambda one: one.name))


def write(pinned: Sequence[Pinned], target: Target) -> str:
    """The lock file of an image: each distribution with exactly one file."""
    marker = (
        f"python_version == '{target.python}' and sys_platform == 'linux' and platform_machine == '{target.machine}'"
    )
    lines = [
        _HEADING + 'lock-version = "1.0"',
        f"environments = {toml.value([marker])}",
        f'requires-python = "=={target.python}.*"',
        'created-by = "wardian"',
    ]
    for one in sorted(pinned, key=lambda one: one.name):
        lines.append(f"\n[[packages]]\nname = {toml.string(one.name)}\nversion = {toml.string(one.version)}")
        file = _file(one)
        if one.direct:
            lines.append(f"archive = {toml.value({key: file[key] for key in file if key != 'name'})}")
        elif one.kind == "wheel":
            lines.append(f"wheels = [{toml.value(file)}]")
        else:
            lines.append(f"sdist = {toml.value(file)}")
    requested = [one.name for one in pinned if one.requested]
    lines.append(f"\n[tool.wardian]\nglibc = {target.glibc}\nrequested = {toml.value(sorted(requested))}")
    return "\n".join(lines) + "\n"


def read(text: str, *, source: str = "pylock.toml") -> tuple[Pinned, ...]:
    """The pins of a lock that ``write`` wrote, by name. Raises ``SpecError`` when it is not one."""
    return _pins(_parse(text, source), source)


def _pins(lock: "Pylock", source: str) -> tuple[Pinned, ...]:
    requested = set((lock.tool or {}).get("wardian", {}).get("requested", ()))
    pinned = []
    for package in lock.packages:
        files: list[Any] = [*(package.wheels or ()), package.sdist, package.archive]
        file = next((file for file in files if file is not None), None)
        if file is None:
            raise SpecError([Fault(package.name, "has no file", source)], hint="type: wardian lock")
        one = _described(package.name, str(package.version or ""), file, str)
        pinned.append(replace(one, requested=one.name in requested, direct=package.archive is not None))
    return tuple(sorted(pinned, key=lambda one: one.name))


def wheels(
    text: str,
    *,
    python: str,
    platform: str,
    built: Sequence[Built] = (),
    inherited: Collection[str] = (),
    source: str = "pylock.toml",
) -> tuple[Wheel, ...]:
    """The wheels that a lock installs, by name; those of source distributions are the ones in ``built``.

    What a foreign base has already (``inherited``, "name==version") stands there as it is locked: nobody fetches it.

    Raises ``WardianError`` for a wheel that does not fit ``python`` and ``platform``.
    """
    lock = _parse(text, source)
    target = Target(python, platform, _glibc(lock))
    made = {one.name: one for one in built}
    found = []
    tags = frozenset(target.tags())
    for one in _pins(lock, source):
        wheel = Wheel(one.name, one.version, one.filename, one.url, one.sha256, one.size, one.requested)
        if one.kind == "wheel":
            fits(one.filename, target, tags)
        elif instead := made.get(one.name):
            wheel = replace(wheel, filename=instead.filename, url="", sha256=instead.sha256, size=None, built=instead)
        elif f"{one.name}=={one.version}" not in inherited:
            raise WardianError(
                f"{one.name} is locked as a source distribution, but no wheel of it is", hint="type: wardian lock"
            )
        found.append(wheel)
    return tuple(found)


def glibc_of(text: str, *, source: str = "pylock.toml") -> int:
    """N of the glibc 2.N that a lock's wheels may need."""
    return _glibc(_parse(text, source))


def _glibc(lock: "Pylock") -> int:
    return int((lock.tool or {}).get("wardian", {}).get("glibc", GLIBC))


def pins(text: str, *, source: str = "pylock.toml") -> dict[str, str]:
    """Version of each distribution of a lock, by normalised name."""
    return {package.name: str(package.version or "") for package in _parse(text, source).packages}


def filename(variant: str) -> str:
    """The name of a variant's lock. Source of the form: PEP 751, "File Name".

    >>> filename("train[python=3.11,cuda=12.4.1]")
    'pylock.train-python-3_11-cuda-12_4_1.toml'
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", variant.replace(".", "_")).strip("-")
    return f"pylock.{name}.toml"


def filename_of(url: str) -> str:
    """The file name at the end of a URL or path."""
    return unquote(urlsplit(url).path.rsplit("/", 1)[-1])


def portable(url: str) -> str:
    """A URL as it may stand in a lock: no user, no password; "" for a place on this machine alone."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def normalised(name: str) -> str:
    """A distribution's name as locks write it. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _parse(text: str, source: str) -> "Pylock":
    from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError

    try:
        return Pylock.from_dict(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, PylockValidationError, PylockUnsupportedVersionError) as error:
        raise SpecError(
            [Fault("", f"not a lock of Python distributions: {error}", source)], hint="type: wardian lock"
        ) from error


def _file(one: Pinned) -> Mapping[str, object]:
    place = {"url": one.url} if one.url else {"path": one.filename}
    size = {"size": one.size} if one.size is not None else {}
    return {"name": one.filename, **place, **size, "hashes": {"sha256": one.sha256}}


def _described(
    name: str, version: str, file: "PackageWheel | PackageSdist | PackageArchive", canonical: Callable[[str], str]
) -> Pinned:
    place = file.url or file.path or ""
    filename = getattr(file, "name", None) or filename_of(place)
    sha256 = file.hashes.get("sha256", "")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise WardianError(
            f"{filename} has no SHA-256 in its index", hint="use an index that has hashes, or a file by its path"
        )
    kind = "wheel" if filename.endswith(".whl") else "sdist"
    return Pinned(name, version, kind, filename, portable(canonical(file.url or "")), sha256, file.size)


def fits(filename: str, target: Target, tags: "Collection[Tag] | None" = None) -> None:
    """Raise ``WardianError`` for a wheel that ``target`` cannot install. ``tags``: the target's, if they are known."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        fitting = parse_wheel_filename(filename)[-1]
    except InvalidWheelFilename as error:
        raise WardianError(f"{filename} is not the name of a wheel: {error}") from error
    if fitting.isdisjoint(target.tags() if tags is None else tags):
        raise WardianError(
            f"{filename} does not fit Python {target.python} on {target.platform} with glibc 2.{target.glibc}",
            hint="require a version that has a wheel for it",
        )


def _sentence(error: Exception) -> str:
    return re.sub(r" at packages\[\d+\]", "", str(error)).split(", and no sdist")[0]
