"""Debian packages: which files an installation would take, asked of apt with folders of its own.

No root, no base image and no container is needed: apt reads a dpkg status that is made up from what is locked, checks
the archive's signature against the distribution's keys, and prints addresses and SHA-256s.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wardian.command import Command, Result
from wardian.errors import CommandFailed, SpecError, Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.hosts.machine import Machine
from wardian.lock.model import Deb
from wardian.resolvers.suites import ALWAYS, PYTHON, Suite

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9]+)?(?:=[A-Za-z0-9.+:~*-]+)?")
_URI = re.compile(r"^'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})$", re.MULTILINE)
# apt's files have no way to write a path with quotes, brackets or line ends in it: what runs there calls it this.
_HERE = "/proc/self/cwd"
# The only settings of the machine's own apt that count: how to get out.
_PROXY = re.compile(r"^Acquire::https?::(?:Proxy|Proxy-Auto-Detect|CAInfo|Timeout)[^\n]*;$", re.MULTILINE)


@dataclass(frozen=True)
class Apt:
    """A private apt for one suite, in ``folder``. ``fetch`` brings a locked package whose archive has forgotten it."""

    host: Host
    machine: Machine
    folder: Path
    suite: Suite
    keyring: Path
    fetch: Callable[[Deb], Path]
    substitute: Callable[[str], str | None] = lambda _: None
    fresh: set[str] = field(default_factory=set)  # which source lists were updated already
    known: dict[tuple[str, str, str], str] = field(default_factory=dict)  # control fields of packages

    def bootstrap(self, *, python: bool, keep: Sequence[Deb] = ()) -> tuple[Deb, ...]:
        """The packages of a root file system: what is essential, apt, and Python if wanted."""
        return self.solve(("?essential", *ALWAYS, *(PYTHON if python else ())), keep=keep)

    def solve(
        self, packages: Sequence[str], *, installed: Sequence[Deb] = (), status: str = "", keep: Sequence[Deb] = ()
    ) -> tuple[Deb, ...]:
        """What must be installed so that ``packages`` are there, by name. What ``keep`` has stays at its version.

        What is there already is ``installed``, or a dpkg ``status``. Raises ``WardianError`` for what cannot be had.
        """
        self._look_up((*keep, *installed))
        self._prepare([deb for deb in keep if _identity(deb) not in self.known])
        self._write("status", self._status(installed, status))
        self._write(
            "etc/preferences",
            "".join(f"Package: {deb.name}\nPin: version {deb.version}\nPin-Priority: 1001\n\n" for deb in keep),
        )
        names = [] if not packages else list(packages)
        said = self._run("apt-get", "install", "-q", "--print-uris", "--", *names)
        if said.code:
            raise self._refused(said, packages)
        known = {deb.sha256: deb for deb in keep}
        found = (known.get(match[4]) or self._deb(match) for match in _URI.finditer(said.stdout.decode()))
        return tuple(sorted(found, key=lambda deb: (deb.name, deb.architecture)))

    def _deb(self, match: re.Match[str]) -> Deb:
        name, version, architecture = match[2].removesuffix(".deb").split("_")
        return Deb(
            name=name,
            version=unquote(version),
            architecture=architecture,
            url=self._canonical(match[1]),
            sha256=match[4],
            size=int(match[3]),
        )

    def _prepare(self, held: Sequence[Deb] = ()) -> None:
        """Write the configuration and bring the package lists up to date, once for each set of sources."""
        for name in (
            "etc/apt.conf.d",
            "etc/trusted.gpg.d",
            "etc/sources.list.d",
            "etc/preferences.d",
            "state/lists/partial",
            "cache/archives/partial",
            "held",
        ):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        own = self.host.run(Command(("apt-config", "dump"))) if shutil.which("apt-config") else None
        proxies = _PROXY.findall(own.stdout.decode(errors="replace")) if own else []
        self._write("apt.conf", "\n".join((*_settings(self.suite.architecture, self.machine), *proxies)) + "\n")
        self._write("status", "")
        sources = self._sources()
        if held:
            self._write("held/Packages", "\n".join(self._stanza(deb) for deb in held))
            sources += f"deb [trusted=yes] file:{_HERE}/held ./\n"
        self._write("etc/sources.list", sources)
        if sources in self.fresh and not held:
            return
        said = self._run("apt-get", "update", "-qq")
        if said.code:
            raise self._unreachable(said)
        self.fresh.add(sources)

    def _sources(self) -> str:
        if not self.keyring.is_file():
            raise Unavailable(
                f"the keys of {self.suite.distribution}'s archive are not on this machine ({self.keyring})",
                hint=f"type: sudo apt-get install {self.suite.keyring_package}",
            )
        shutil.copyfile(self.keyring, self.folder / "keys.gpg")
        signed = f"[signed-by={_HERE}/keys.gpg arch={self.suite.architecture}]"
        return "".join(
            f"deb {signed} {self._mirror(one.url)} {one.suite} {' '.join(one.components)}\n"
            for one in self.suite.archives
        )

    def _mirror(self, url: str) -> str:
        return (self.substitute(url) or url).rstrip("/")

    def _canonical(self, url: str) -> str:
        """The address that everybody has, of one at this machine's mirror."""
        for one in self.suite.archives:
            mirror = self._mirror(one.url)
            if url.startswith(mirror + "/"):
                return one.url + url[len(mirror) :]
        return url

    def _status(self, debs: Iterable[Deb], before: str = "") -> str:
        """A dpkg status with these packages installed over what was there ``before``; the later version counts."""
        stanzas = {_fields(stanza)[::2]: stanza.strip() for stanza in before.split("\n\n") if stanza.strip()}
        for deb in debs:
            stanzas[deb.name, deb.architecture] = f"{self._stanza(deb).rstrip()}\nStatus: install ok installed"
        return "".join(f"{stanza}\n\n" for stanza in stanzas.values())

    def _stanza(self, deb: Deb) -> str:
        """The control fields of a package: from the lists, else from the file itself."""
        self._look_up([deb])
        if _identity(deb) not in self.known:
            path = self.fetch(deb)
            said = self.host.run(Command(("dpkg-deb", "-f", str(path)))).check()
            fields = said.stdout.decode().rstrip()
            self.known[_identity(deb)] = f"{fields}\nFilename: {path.name}\nSize: {deb.size}\nSHA256: {deb.sha256}\n"
        return self.known[_identity(deb)]

    def _look_up(self, debs: Iterable[Deb]) -> None:
        """Learn the stanzas that the lists have for packages of these names."""
        if not self.fresh:
            self._prepare()
        names = sorted({deb.name for deb in debs} - {name for name, _, _ in self.known})
        if names:
            said = self._run("apt-cache", "show", "--", *names).stdout.decode()
            self.known.update({_fields(stanza): stanza for stanza in said.split("\n\n") if stanza.strip()})

    def _run(self, *argv: str) -> Result:
        try:
            environment = {"APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C.UTF-8", **_proxies(self.machine)}
            return self.host.run(Command(argv, env=environment, cwd=str(self.folder)))
        except Unavailable as error:
            raise Unavailable(
                "apt is not on this machine: Debian packages are resolved by it",
                hint="type: sudo apt-get install apt; or lock on a Debian or Ubuntu machine",
            ) from error

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _unreachable(self, said: Result) -> WardianError:
        lines = _errors(said)
        place = ", ".join(dict.fromkeys(urlsplit(self._mirror(one.url)).netloc for one in self.suite.archives))
        hint = "look at the network and the proxy; a mirror goes into [substitutes]"
        if any("NO_PUBKEY" in line or "not signed" in line or "signatures" in line for line in lines):
            newer = f"sudo apt-get install --only-upgrade {self.suite.keyring_package}"
            hint = f"the keys are in {self.keyring}; type: {newer}"
        return Unavailable(
            f"the packages of {self.suite.name} cannot be listed from {place}: {'; '.join(lines)[:400]}", hint=hint
        )

    def _refused(self, said: Result, packages: Sequence[str]) -> WardianError:
        """Why apt will not install: names the package, and the ones that were perhaps meant."""
        lines = _errors(said)
        text = "; ".join(lines)
        told = said.stdout.decode(errors="replace")
        if found := re.search(r"Package (\S+) is a virtual package provided by:\n((?: .*\n)+)", told):
            providers = [line.split()[0] for line in found[2].splitlines()]
            return WardianError(
                f"{found[1]} is a virtual package", hint=f"name one of these: {', '.join(providers[:6])}"
            )
        if found := re.search(r"Unable to locate package (\S+)|Package '([^']+)' has no installation candidate", text):
            name = found[1] or found[2]
            near = get_close_matches(name, self._run("apt-cache", "pkgnames").stdout.decode().split(), n=3)
            return WardianError(
                f"{self.suite.name} has no package {name}", hint=f"did you mean {', '.join(near)}?" if near else None
            )
        if found := re.search(r"Version '([^']+)' for '([^']+)' was not found", text):
            shown = self._run("apt-cache", "madison", found[2]).stdout.decode()
            versions = dict.fromkeys(line.split("|")[1].strip() for line in shown.splitlines() if line.count("|") == 2)
            return WardianError(
                f"{self.suite.name} has no {found[2]} {found[1]}; it has {', '.join(versions) or 'none'}"
            )
        detail = re.findall(r"^ +\S+ : .*$", told, re.MULTILINE)
        reason = "; ".join(" ".join(line.split()) for line in detail[:4]) or text
        return CommandFailed(f"{self.suite.name} cannot install {' '.join(packages)[:200]}: {reason}", code=said.code)


def checked(packages: Sequence[str], image: str) -> tuple[str, ...]:
    """The packages of an ``apt`` list, sorted. Raises ``SpecError`` for what apt would take for something else."""
    for package in packages:
        if not _PACKAGE.fullmatch(package) or package.endswith("-"):
            raise SpecError(
                f"images.{image.split('[')[0]}.apt: {package!r} is not a package", hint="write a name, or NAME=VERSION"
            )
    return tuple(sorted(set(packages)))


def python_in(debs: Sequence[Deb]) -> tuple[str, str] | None:
    """Version and path of the Python among packages: ``("3.11", "/usr/bin/python3.11")``."""
    version = next((deb.version for deb in debs if deb.name == "python3"), "")
    found = re.match(r"(?:\d+:)?(3\.\d+)", version)
    return (found[1], f"/usr/bin/python{found[1]}") if found else None


def glibc_in(debs: Iterable[Deb]) -> int | None:
    """N of the glibc 2.N among packages."""
    return glibc_of(next((deb.version for deb in debs if deb.name == "libc6"), ""))


def glibc_of(version: str) -> int | None:
    """N of a Debian version of glibc 2.N."""
    found = re.match(r"(?:\d+:)?2\.(\d+)", version)
    return int(found[1]) if found else None


def _identity(deb: Deb) -> tuple[str, str, str]:
    return (deb.name, deb.version, deb.architecture)


def _fields(stanza: str) -> tuple[str, str, str]:
    values = dict(re.findall(r"^(Package|Version|Architecture): (.*)$", stanza, re.MULTILINE))
    return (values.get("Package", ""), values.get("Version", ""), values.get("Architecture", ""))


def _settings(architecture: str, machine: Machine) -> list[str]:
    """A configuration under which apt touches nothing outside its working directory and trusts SHA-256 alone."""
    values = {
        "Dir": "./",
        "Dir::Etc": "etc",
        "Dir::Etc::main": "none",
        "Dir::State": "state",
        "Dir::State::status": "./status",
        "Dir::Cache": "cache",
        "Dir::Log": "./",
        "APT::Architecture": architecture,
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
        "APT::Update::Error-Mode": "any",
        "APT::Get::Remove": "false",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::Languages": "none",
        "Acquire::ForceHash": "sha256",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
        "Dpkg::Use-Pty": "false",
    }
    if machine.ca_bundle:
        values["Acquire::https::CAInfo"] = machine.ca_bundle
    return [
        *(f'{name} "{value}";' for name, value in values.items()),
        "#clear APT::Architectures;",
        f'APT::Architectures {{ "{architecture}"; }};',
    ]


def _proxies(machine: Machine) -> Mapping[str, str]:
    return {name: value for name, value in machine.environment().items() if name.lower().endswith("_proxy")}


def _errors(said: Result) -> list[str]:
    lines = said.stderr.decode(errors="replace").splitlines()
    found = [line.removeprefix("E: ").strip() for line in lines if line.startswith("E: ")]
    return found or [line.strip() for line in lines[-3:]] or [f"apt exited with {said.code}"]
