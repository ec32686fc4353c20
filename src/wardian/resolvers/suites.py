"""The Debian-like distributions that can be bootstrapped, or have packages added: their archives, keys and suites."""

from dataclasses import dataclass
from difflib import get_close_matches

from wardian.errors import SpecError, WardianError
from wardian.lock.pylock import MACHINES
from wardian.plan import debian

BOOTSTRAP = "bootstrap:"
DEBIAN = ("bullseye", "bookworm", "trixie", "forky")  # those with updates and security archives
UBUNTU = ("focal", "jammy", "noble")
SUITES = {"debian": (*DEBIAN, "sid"), "ubuntu": UBUNTU}
KEYRINGS = {
    "debian": ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    "ubuntu": ("/usr/share/keyrings/ubuntu-archive-keyring.gpg", "ubuntu-archive-keyring"),
}
# What a root file system has beyond what is essential: apt, and what most programs take for granted.
# Where a package says that /bin is a link to /usr/bin, it saves the one that makes it so, and all of perl.
ALWAYS = ("apt", "ca-certificates", "netbase", "tzdata", "?exact-name(usr-is-merged)")
PYTHON = ("python3",)


@dataclass(frozen=True, slots=True)
class Archive:
    """One suite of one archive, at its canonical address."""

    url: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """A release of a distribution for one architecture."""

    distribution: str
    name: str
    architecture: str  # Debian's word: "amd64"

    @property
    def archives(self) -> tuple[Archive, ...]:
        """Where its packages are."""
        if self.distribution == "ubuntu":
            url = debian.UBUNTU if self.architecture == "amd64" else debian.UBUNTU_PORTS
            return tuple(Archive(url, self.name + part, ("main", "universe")) for part in ("", "-updates", "-security"))
        url = debian.DEBIAN
        if self.name not in DEBIAN:
            return (Archive(url, self.name, ("main",)),)
        return (
            Archive(url, self.name, ("main",)),
            Archive(url, f"{self.name}-updates", ("main",)),
            Archive(debian.SECURITY, f"{self.name}-security", ("main",)),
        )

    @property
    def keyring(self) -> str:
        """The path of the keys that sign its archives."""
        return KEYRINGS[self.distribution][0]

    @property
    def keyring_package(self) -> str:
        """The Debian package that has these keys."""
        return KEYRINGS[self.distribution][1]


def suite_of(reference: str, platform: str) -> Suite:
    """The suite that ``bootstrap:DISTRIBUTION:SUITE`` names. Raises ``SpecError`` for an unknown one."""
    words = reference.removeprefix(BOOTSTRAP).split(":")
    if len(words) != 2:
        raise SpecError(f"{reference!r} is not a bootstrap", hint="write bootstrap:debian:bookworm")
    distribution, name = words
    if distribution not in SUITES:
        raise SpecError(f"{reference}: no distribution {distribution!r}; there are {', '.join(SUITES)}")
    if name not in SUITES[distribution]:
        near = get_close_matches(name, SUITES[distribution], n=1)
        raise SpecError(
            f"{reference}: {distribution} has no suite {name!r}; there are {', '.join(SUITES[distribution])}",
            hint=f"did you mean bootstrap:{distribution}:{near[0]}?" if near else None,
        )
    return Suite(distribution, name, architecture_of(platform))


def suite_of_release(text: str, platform: str) -> Suite:
    """The suite of an image, from its /etc/os-release. Raises ``WardianError`` when packages cannot be added to it."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    distribution = values.get("ID", "").strip("\"'")
    name = values.get("VERSION_CODENAME", "").strip("\"'")
    if distribution not in SUITES or name not in SUITES[distribution]:
        called = values.get("PRETTY_NAME", "").strip("\"'") or distribution or "unknown"
        raise WardianError(
            f"packages can be added to Debian and Ubuntu; this base is {called}", hint="use `run` steps for it"
        )
    return Suite(distribution, name, architecture_of(platform))


def architecture_of(platform: str) -> str:
    """Debian's word for the processor of an OCI platform."""
    parts = platform.split("/")
    words = {"arm/v7": "armhf", "arm/v5": "armel", "386": "i386", "ppc64le": "ppc64el"}
    found = words.get("/".join(parts[1:])) or words.get(parts[1]) or parts[1]
    if found not in {*words.values(), *MACHINES}:
        raise SpecError(
            f"platform {platform!r}: Debian has no such architecture", hint="write linux/amd64 or linux/arm64"
        )
    return found
