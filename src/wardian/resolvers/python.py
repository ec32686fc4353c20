"""Python distributions: uv resolves what an image asks for, for the image's own Python and platform.

uv reads what wheels and source distributions say of themselves; it never builds one to learn more. A build would run
the code of strangers as the caller, and answer for the Python of this machine. uv's own ``--no-build`` is of no use: it
passes over source distributions without a word and takes an older version. So builds fail, and whatever uv wanted to
build is asked in a sandbox (see ``resolvers.learn``) and told to uv as static metadata.
"""

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from wardian.builders.uv import program
from wardian.command import Command
from wardian.errors import Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.hosts.machine import PYPI, Machine, bare, userinfo
from wardian.lock.pylock import Pinned, Target, normalised, select
from wardian.resolvers.index import of_index
from wardian.spec import toml

# Set for a whole shell, they would change what a lock means from one terminal to the next, or lead uv past the file
# that stops its builds. Indexes go through a file, because an argv and an environment can be seen by others.
_UNSET = (
    *("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_RESOLUTION", "UV_PRERELEASE", "UV_FORK_STRATEGY"),
    *("UV_TORCH_BACKEND", "UV_WORKING_DIR", "UV_PROJECT", "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE"),
    *("UV_NO_CACHE", "UV_NO_BUILD", "UV_NO_BUILD_PACKAGE", "UV_NO_BUILD_ISOLATION", "UV_BUILD_CONSTRAINT"),
)
_NETWORK = ("failed to fetch", "error sending request", "connection", "dns error", "timed out", "certificate")
_CLOSED = re.compile(r"An index URL \((\S+)\) could not be queried due to [a-z ]+ \((40[13] \w+)\)")
# uv makes the environment of a build in this folder of its cache: a file there stops every build before it begins.
_BUILDS = tuple(f"builds-v{number}" for number in range(10))
_REFUSED = re.compile(r"failed to create directory `[^`]*/builds-v\d`")
# Pages of an index are taken as they are for as long as pypi.org says of its own (many mirrors say nothing), what a
# file says of itself for ever.
_KEPT = '\ncache-control = { api = "max-age=600", files = "max-age=365000000, immutable" }'
_BUILD = re.compile(r"Failed to (?:download and )?build `([^`]+)`")
LONGEST = 420  # letters of uv's explanation that are shown


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image asks for: requirement lines, requirement files, and what it inherits."""

    image: str  # its id, for messages
    target: Target
    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # paths relative to the project
    requested: frozenset[str] = frozenset()  # normalised names that are asked for directly
    inherited: tuple[Pinned, ...] = ()  # what the image stands on has these; they stay as they are
    beneath: str = ""  # what the image stands on, for messages
    hint: str = ""  # of those who ask for build requirements: what to do when they cannot be met
    preferred: tuple[Pinned, ...] = ()  # not asked for; but what of these is needed is taken as it is here
    indexes: tuple[str, ...] = ()  # before the machine's
    from_source: frozenset[str] = frozenset()  # never as the wheel of an index


@dataclass(frozen=True, slots=True)
class Static:
    """What one distribution says of itself, as uv is told it."""

    name: str
    version: str
    address: str = ""  # where it is, if it is required by that
    requires: tuple[str, ...] = ()
    python: str = ""  # the versions that it is for
    extras: tuple[str, ...] = ()


# Asks a distribution that only its build backend knows: (name, version or address) → what it says.
Learn = Callable[[str, str], Static]


@dataclass(frozen=True, slots=True)
class Uv:
    """uv, and where it works: the project's folder, a scratch folder of its own, its cache."""

    host: Host
    machine: Machine
    project: Path
    scratch: Path
    cache: Path
    substitute: Callable[[str], str | None] = lambda _: None
    canonical: Callable[[str], str] = str  # a mirror's address → the one that everybody has


def _unknown(name: str, place: str) -> Static:
    raise WardianError(f"{name} {place} tells what it requires only when it is built")


def resolve(
    wanted: Wanted,
    uv: Uv,
    *,
    learn: Learn = _unknown,
    previous: str = "",
    upgrade: frozenset[str] | None = frozenset(),
    static: Sequence[Static] = (),
) -> tuple[Pinned, ...]:
    """The closure of what an image asks for and inherits, each distribution pinned to one file.

    Versions of ``previous`` (a lock's text) stay where they may, except those named in ``upgrade``; None upgrades all.
    Raises ``WardianError`` with uv's reason when there is no answer.
    """
    answer = uv.scratch / "pylock.toml"
    known, fresh = list(static), upgrade is None or bool(upgrade)
    _refuse_builds(uv.cache)
    while True:
        answer.unlink(missing_ok=True)
        if previous and upgrade is not None:
            answer.write_text(previous, encoding="utf-8")
        result = uv.host.run(_command(wanted, uv, answer, upgrade or frozenset(), known, fresh=fresh))
        if not result.code:
            break
        said = result.stderr.decode(errors="replace")
        if _REFUSED.search(" ".join(said.split())):
            known.append(learn(*to_build(wanted, said, known)))
        elif fresh or _unreachable(said):
            raise _explained(wanted, said)
        else:
            fresh = True  # minutes ago an index had no answer: it is asked before one says so
    text = answer.read_text(encoding="utf-8")
    inherited = {one.name: one for one in (*wanted.preferred, *wanted.inherited)}
    requested = wanted.requested | {one.name for one in wanted.inherited if one.requested}
    try:
        found = select(
            text,
            wanted.target,
            requested=requested,
            from_source=wanted.from_source - inherited.keys(),
            canonical=uv.canonical,
        )
    except WardianError as error:
        raise WardianError(f"{wanted.image}: {error.message}", hint=error.hint) from error
    return tuple(inherited.get(one.name, one) for one in found)


def _refuse_builds(cache: Path) -> None:
    for path in (cache / name for name in _BUILDS):
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def to_build(wanted: Wanted, said: str, known: Sequence[Static]) -> tuple[str, str]:
    """(name, version or address) of what uv wants to build."""
    found = _BUILD.search(" ".join(said.split()))
    name, _, place = re.sub(r"==| @ ", "\0", found[1] if found else "", count=1).partition("\0")
    if not place or place.startswith(("git+", "hg+", "svn+", "bzr+")):
        raise WardianError(
            f"{wanted.image}: {name or 'a requirement'} is a working tree or a repository, which cannot be locked",
            hint="require a release of it, or an archive of it by its address",
        )
    if any(one.name == normalised(name) and place in {one.version, one.address} for one in known):
        raise WardianError(f"{wanted.image}: {name} {place} says one thing of itself when built, and uv hears another")
    return normalised(name), place


def _command(
    wanted: Wanted, uv: Uv, answer: Path, upgrade: frozenset[str], known: Sequence[Static], *, fresh: bool
) -> Command:
    asked = uv.scratch / "requirements.in"
    asked.write_text(
        "".join(f"{line}\n" for line in (*wanted.requirements, *map(_exactly, wanted.inherited))), encoding="utf-8"
    )
    bounds = uv.scratch / "constraints.txt"
    bounds.write_text("".join(f"{one.name}=={one.version}\n" for one in wanted.preferred), encoding="utf-8")
    config = uv.scratch / "uv.toml"
    config.touch(mode=0o600)
    config.write_text(configuration(wanted, uv, fresh=fresh) + "".join(map(_told, known)), encoding="utf-8")
    argv = (
        *("env", *(word for name in _UNSET for word in ("-u", name))),
        *(program(), "pip", "compile", str(asked), *(str(uv.project / path) for path in wanted.files)),
        *("--constraints", str(bounds), "--format", "pylock.toml", "--output-file", str(answer), "--generate-hashes"),
        *(
            "--python",
            sys.executable,
            "--python-version",
            wanted.target.python,
            "--python-platform",
            wanted.target.uv_platform,
        ),
        *("--config-file", str(config), "--cache-dir", str(uv.cache), "--no-sources"),
        *("--no-header", "--no-annotate", "--no-progress", "--quiet", "--color", "never"),
        *(word for name in sorted(upgrade) for word in ("--upgrade-package", name)),
        *(("--refresh",) if fresh else ()),
    )
    return Command(argv, env=_network(uv.machine), cwd=str(uv.project))


def configuration(wanted: Wanted, uv: Uv, *, fresh: bool = False) -> str:
    """A uv.toml with the image's indexes, then the machine's; what ``[substitutes]`` replaces is replaced.

    ``fresh``: it leaves room for ``--refresh``, which uv forgets where an index has a cache-control.
    """
    machine, kept = uv.machine, "" if fresh else _KEPT
    lines = [f"index-strategy = {toml.string(machine.index_strategy)}"]
    if machine.find_links:
        places = [_absolute(place, uv.project) for place in machine.find_links]
        lines.append(f"find-links = {toml.value(places)}")
    if machine.no_index and not wanted.indexes:
        lines.append("no-index = true")
    if machine.trusted:
        lines.append(f"allow-insecure-host = {toml.value(list(machine.trusted))}")
    extra = () if machine.no_index else machine.extra_indexes
    for at, url in enumerate(dict.fromkeys((*wanted.indexes, *extra))):
        lines.append(
            f"\n[[index]]\nname = {toml.string(f'wardian-{at}')}\nurl = {toml.string(_credited(uv, url))}{kept}"
        )
    if not machine.no_index:
        lines.append(f"\n[[index]]\nurl = {toml.string(_credited(uv, machine.index or PYPI))}\ndefault = true{kept}")
    return "\n".join(lines) + "\n"


def _told(one: Static) -> str:
    """An entry of uv's ``dependency-metadata``."""
    values = {
        "name": one.name,
        "version": one.version,
        "requires-dist": list(one.requires),
        **({"requires-python": one.python} if one.python else {}),
        "provides-extra": list(one.extras),
    }
    return "\n[[dependency-metadata]]\n" + "".join(f"{key} = {toml.value(value)}\n" for key, value in values.items())


def explanation(said: str) -> str:
    """What uv says on stderr, as one line: the causes without the conclusions that follow from them.

    >>> explanation("error: No solution  cause: Because there is no a==9 and you need a==9, we can conclude that …")
    'there is no a==9 and you need a==9'
    """
    text = " ".join(re.sub(r"[│╰├─▶×]+", " ", said).split())
    text = re.sub(r"(?<=://)[^/@\s]+@", "", text)
    if "ecause " in text:
        text = re.split(r"\s+(?:hint|help|warning):", text[text.index("ecause ") - 1 :])[0]
        sentences = re.split(r"(?<=\.)\s+(?=And |Because )", text)
        causes = [re.sub(r"^(?:And )?[Bb]ecause\s+(?:we know from \(\d+\) that\s+)?", "", one) for one in sentences]
        text = "; ".join(re.split(r",? we can conclude that ", one)[0].rstrip(" ,.") for one in causes)
    else:
        parts = re.split(r"\s*\b(?:error|cause|Caused by):\s*", re.split(r"\s+hint:", text)[0])
        text = ": ".join(dict.fromkeys(part.rstrip(" .:") for part in parts if part.strip()))
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rsplit(" ", 1)[0] + " …"


def _explained(wanted: Wanted, said: str) -> WardianError:
    reason = explanation(said)
    if _unreachable(said):
        return Unavailable(
            f"{wanted.image}: the package index cannot be read: {reason}",
            hint="look at the network, the index and its credentials",
        )
    if closed := _CLOSED.search(" ".join(said.split())):
        host = urlsplit(bare(closed[1])).netloc
        return Unavailable(
            f"{wanted.image}: the package index at {host} answers {closed[2]}",
            hint="its user and password go into UV_INDEX_<NAME>_USERNAME and …_PASSWORD, pip.conf or a netrc file",
        )
    if wanted.hint:
        return WardianError(f"{wanted.image}: the build requirements cannot be met: {reason}", hint=wanted.hint)
    clash = next((one for one in wanted.inherited if re.search(rf"(?<![\w.-]){re.escape(one.name)}==", reason)), None)
    if clash:
        return WardianError(
            f"{wanted.image}: the requirements do not fit what {wanted.beneath} has: {reason}",
            hint=f"{clash.name} {clash.version} comes from {wanted.beneath}: change it there, or stand on another",
        )
    return WardianError(
        f"{wanted.image}: the requirements cannot be met: {reason}",
        hint=f"change the requirements of images.{wanted.image.split('[')[0]}",
    )


def _unreachable(said: str) -> bool:
    return any(word in said.lower() for word in _NETWORK) and "ecause " not in said


def _exactly(one: Pinned) -> str:
    return f"{one.name} @ {one.url}" if one.direct and one.url else f"{one.name}=={one.version}"


def _absolute(place: str, project: Path) -> str:
    return place if "://" in place else str((project / place).absolute())


def _credited(uv: Uv, url: str) -> str:
    """An index as uv is to ask it: substituted, with the user and password that the machine has for its host."""
    asked = uv.substitute(url) or url
    pair = None if userinfo(asked) else of_index(uv.machine, asked)
    if pair is None:
        return asked
    user, word = (quote(part, safe="") for part in pair)
    return asked.replace("://", f"://{user}:{word}@", 1)


def _network(machine: Machine) -> Mapping[str, str]:
    values = machine.environment()
    names = (
        "SSL_CERT_FILE",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "no_proxy",
    )
    return {name: values[name] for name in names if name in values}
