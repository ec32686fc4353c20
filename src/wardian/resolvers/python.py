"""Python distributions: uv resolves what an image asks for, for the image's own Python and platform."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from wardian.command import Command
from wardian.errors import Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.hosts.machine import PYPI, Machine, bare, userinfo
from wardian.lock.pylock import Pinned, Target, normalised, read, select
from wardian.resolvers.index import of_index
from wardian.spec import toml

# Set for a whole shell, they would change what a lock means from one terminal to the next; indexes go through a file,
# because an argv and an environment can be seen by others.
_UNSET = (
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
)
_NETWORK = ("failed to fetch", "error sending request", "connection", "dns error", "timed out", "certificate")
_CLOSED = re.compile(r"An index URL \((\S+)\) could not be queried due to [a-z ]+ \((40[13] \w+)\)")
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
    for_build: str = ""  # the distribution that is built with these, for messages
    preferred: tuple[Pinned, ...] = ()  # not asked for; but what of these is needed is taken as it is here
    indexes: tuple[str, ...] = ()  # before the machine's
    from_source: frozenset[str] = frozenset()  # never as the wheel of an index


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


def resolve(
    wanted: Wanted, uv: Uv, *, previous: str = "", upgrade: frozenset[str] | None = frozenset()
) -> tuple[Pinned, ...]:
    """The closure of what an image asks for and inherits, each distribution pinned to one file.

    Versions of ``previous`` (a lock's text) stay where they may, except those named in ``upgrade``; None upgrades all.
    Raises ``WardianError`` with uv's reason when there is no answer.
    """
    answer = uv.scratch / "pylock.toml"
    answer.unlink(missing_ok=True)
    if previous and upgrade is not None:
        answer.write_text(previous, encoding="utf-8")
    result = uv.host.run(_command(wanted, uv, answer, upgrade or frozenset()))
    if result.code:
        raise _explained(wanted, result.stderr.decode(errors="replace"))
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


def pinned_of(text: str, source: str) -> tuple[Pinned, ...]:
    """The pins of a lock that an image holds at /opt/env/pylock.toml."""
    return read(text, source=source)


def _command(wanted: Wanted, uv: Uv, answer: Path, upgrade: frozenset[str]) -> Command:
    asked = uv.scratch / "requirements.in"
    asked.write_text(
        "".join(f"{line}\n" for line in (*wanted.requirements, *map(_exactly, wanted.inherited))), encoding="utf-8"
    )
    bounds = uv.scratch / "constraints.txt"
    bounds.write_text("".join(f"{one.name}=={one.version}\n" for one in wanted.preferred), encoding="utf-8")
    config = uv.scratch / "uv.toml"
    config.touch(mode=0o600)
    config.write_text(configuration(wanted, uv), encoding="utf-8")
    argv = (
        *(program(), "pip", "compile", str(asked), *(str(uv.project / path) for path in wanted.files)),
        *("--constraints", str(bounds), "--format", "pylock.toml", "--output-file", str(answer), "--generate-hashes"),
        *("--python-version", wanted.target.python, "--python-platform", wanted.target.uv_platform),
        *("--config-file", str(config), "--cache-dir", str(uv.cache), "--no-sources"),
        *("--no-header", "--no-annotate", "--no-progress", "--quiet", "--color", "never"),
        *(word for name in sorted(upgrade) for word in ("--upgrade-package", name)),
    )
    return Command(argv, env={**dict.fromkeys(_UNSET, ""), **_network(uv.machine)}, cwd=str(uv.project))


def configuration(wanted: Wanted, uv: Uv) -> str:
    """A uv.toml with the image's indexes, then the machine's; what ``[substitutes]`` replaces is replaced."""
    machine = uv.machine
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
        lines.append(f"\n[[index]]\nname = {toml.string(f'wardian-{at}')}\nurl = {toml.string(_credited(uv, url))}")
    if not machine.no_index:
        lines.append(f"\n[[index]]\nurl = {toml.string(_credited(uv, machine.index or PYPI))}\ndefault = true")
    return "\n".join(lines) + "\n"


def program() -> str:
    """The path of uv, which comes with Wardian."""
    import uv

    try:
        return uv.find_uv_bin()
    except FileNotFoundError as error:
        raise Unavailable(
            "uv, which Wardian installs beside itself, is gone", hint="type: pip install --force-reinstall uv"
        ) from error


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
    if any(word in said.lower() for word in _NETWORK) and "ecause " not in said:
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
    if wanted.for_build:
        table = f"[images.{wanted.image.split(',')[0].split('[')[0]}.sdists.{wanted.for_build}]"
        hint = f"`requires` in {table} replaces the build requirements that it names itself"
        return WardianError(f"{wanted.image}: the build requirements cannot be met: {reason}", hint=hint)
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


def names_near(name: str, pylocks: Mapping[str, str]) -> list[str]:
    """Names of locked distributions that look like ``name``."""
    from difflib import get_close_matches

    known = {one.name for text in pylocks.values() for one in read(text)}
    return get_close_matches(normalised(name), sorted(known), n=3)
