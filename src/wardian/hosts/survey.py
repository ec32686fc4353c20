"""What is on a machine, what is missing, what it is needed for, and the line that gets it.

A feature is tried, not guessed: a program that is installed may still be forbidden to work.
"""

import platform
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from wardian.command import Command
from wardian.errors import Unavailable
from wardian.hosts import subids
from wardian.hosts.base import Host
from wardian.hosts.machine import Machine, local_path
from wardian.hosts.sandbox import Namespace, namespace

RUN = "running and building"
SYSTEM = "apt and run steps, files of several owners"
BASES = 'from = "bootstrap:…"'
CDI = (Path("/etc/cdi"), Path("/var/run/cdi"))  # Source: CNCF container device interface, "well-known folders"
_LOW = 2 << 30  # bytes of free disk under which a build with torch ends early
_OVERLAY = """set -e
mount -t tmpfs tmpfs "$1"; cd "$1"; mkdir a b u w m; echo below >a/file
mount -t overlay -o "lowerdir=a:b,upperdir=u,workdir=w$2" overlay m
echo above >m/file; rm m/file; test ! -e m/file
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for. ``required``: without it the default engine does not work."""

    name: str
    state: Literal["ok", "missing", "note"]
    said: str
    needed_for: str = ""
    fix: str = ""  # what to do: "type: LINE", or words
    required: bool = False

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON."""
        return asdict(self)


def works(findings: list[Finding]) -> bool:
    """Whether the default engine works: nothing that it requires is missing."""
    return not any(finding.required and finding.state == "missing" for finding in findings)


def survey(host: Host, environ: Mapping[str, str], home: Path, machine: Machine) -> list[Finding]:
    """Everything that Wardian uses on this machine, in the order of a project's life. Changes nothing that stays."""
    programs = list(_programs(host))
    return [
        *programs,
        *(_namespaces(host) if works(programs) else ()),  # tried with these very programs
        *_places(environ, home),
        *_network(machine),
        *_devices(),
        *_limits(),
    ]


def _programs(host: Host) -> Iterator[Finding]:
    yield Finding("python", "ok", platform.python_version(), "Wardian itself")
    yield _program(host, "uv", _uv(), "lock", "type: pip install --force-reinstall uv", required=True)
    yield _program(host, "bwrap", "bwrap", RUN, "type: sudo apt-get install bubblewrap", required=True)
    yield _util_linux(host)
    yield _program(host, "mmdebstrap", "mmdebstrap", BASES, "type: sudo apt-get install mmdebstrap")
    yield _program(
        host, "apt-get", "apt-get", f"lock of {BASES} and of apt = […]", "use a Debian or Ubuntu machine to lock"
    )
    yield _program(host, "git", "git", "the revision in labels and run records", "type: sudo apt-get install git")


def _program(host: Host, name: str, argv0: str, needed_for: str, fix: str, *, required: bool = False) -> Finding:
    try:
        result = host.run(Command((argv0, "--version")), timeout=20)
    except Unavailable:
        return Finding(name, "missing", "not on this machine", needed_for, fix, required)
    said = (result.stdout or result.stderr).decode(errors="replace").strip().partition("\n")[0]
    version = re.search(r"[0-9]+(?:\.[0-9]+)+\S*", said)
    return _found(name, version[0] if version else said, result.code == 0, needed_for, fix, required=required)


def _uv() -> str:
    """The uv that came with Wardian."""
    import uv

    try:
        return uv.find_uv_bin()
    except FileNotFoundError:
        return "uv"


def _util_linux(host: Host) -> Finding:
    """2.38 brought ``unshare --map-auto``. Source: util-linux release notes."""
    fix = "type: sudo apt-get install util-linux (Debian 12 or newer, Ubuntu 24.04 or newer)"
    found = _program(host, "util-linux", "unshare", RUN, fix, required=True)
    numbers = [int(part) for part in re.findall(r"[0-9]+", found.said)[:2]]
    if found.state == "ok" and numbers < [2, 38]:
        return Finding("util-linux", "missing", f"{found.said} is older than 2.38", SYSTEM, fix)
    return found


def _namespaces(host: Host) -> Iterator[Finding]:
    try:
        inside = namespace(host)
    except Unavailable as error:
        yield Finding("namespaces", "missing", error.message, RUN, error.hint or "", required=True)
        return
    words = {
        "root": "as root",
        "subids": "as a plain user with a range of ids",
        "single": "as a plain user with one id",
    }
    yield Finding("namespaces", "ok", words[inside.kind], RUN, required=True)
    yield _overlay(host, inside)
    yield _bubblewrap(host, inside)
    yield from _subids(host, inside)


def _overlay(host: Host, inside: Namespace) -> Finding:
    with tempfile.TemporaryDirectory(prefix="wardian-") as folder:
        option = ",userxattr" if inside.xattr == "user" else ""
        tried = host.run(inside.command("sh", "-c", _OVERLAY, "sh", folder, option, changes=False), timeout=20)
    said = "mounted and written to" if tried.code == 0 else _last(tried.stderr)
    return _found("overlay", said, tried.code == 0, RUN, "use Linux 5.11 or newer, or run as root", required=True)


def _bubblewrap(host: Host, inside: Namespace) -> Finding:
    argv = ("bwrap", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true")
    tried = host.run(inside.command(*argv, changes=False), timeout=20)
    said = "a program ran in it" if tried.code == 0 else _last(tried.stderr)
    fix = "inside a container, allow it: --privileged, or --security-opt seccomp=unconfined"
    return _found("sandbox", said, tried.code == 0, RUN, fix, required=True)


def _subids(host: Host, inside: Namespace) -> Iterator[Finding]:
    if inside.kind == "root":
        return
    name = host.run(Command(("id", "-un"))).stdout.decode().strip()
    helper = shutil.which("newuidmap")
    if helper is None:
        yield Finding("newuidmap", "missing", "not on this machine", SYSTEM, "type: sudo apt-get install uidmap")
    if not subids.listed(name):
        line = f"type: {subids.command(name)}"
        yield Finding("subordinate ids", "missing", f"{name} has none in /etc/subuid and /etc/subgid", SYSTEM, line)
    elif helper and inside.kind == "single":
        line = "type: sudo apt-get install --reinstall uidmap"  # it lost its capabilities, as copies of a system do
        yield Finding("subordinate ids", "missing", "newuidmap refuses the range", SYSTEM, line)
    else:
        yield Finding("subordinate ids", "ok", f"{name} has a range", SYSTEM)


def _places(environ: Mapping[str, str], home: Path) -> Iterator[Finding]:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    writable = _writable(existing)
    said = str(home) if writable else f"{existing} cannot be written to"
    yield _found(
        "store", said, writable, "all images", "set WARDIAN_HOME to a folder that you may write to", required=True
    )
    if writable:
        free, fix = shutil.disk_usage(existing).free, "type: wardian store prune, or set WARDIAN_HOME to another disk"
        said = f"{free / 1e9:.1f} GB at the store"
        yield _found("free space", said, free > _LOW, "images with torch: 2 GB and more", fix)
    if own := environ.get("HOME"):
        writable = _writable(Path(own))
        said = own if writable else f"{own} cannot be written to"
        yield _found("HOME", said, writable, "the caches of uv", "set UV_CACHE_DIR to a folder that can be written to")


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _network(machine: Machine) -> Iterator[Finding]:
    if bundle := machine.ca_bundle:
        there = Path(bundle).is_file()
        said = bundle if there else f"{bundle} is not there"
        yield _found(
            "CA bundle", said, there, "TLS through a company's proxy", "set SSL_CERT_FILE to a file that exists"
        )
    for scheme, proxy in sorted(machine.proxies.items()):
        yield Finding("proxy", "note", f"{scheme}: {_without_password(proxy)}", "lock and pulls")
    for place in (*machine.indexes, *machine.find_links):
        path = local_path(place)
        if path is not None:
            said = place if path.exists() else f"{place} is not there"
            yield _found("packages", said, path.exists(), "lock", "correct it in pip.conf or uv.toml")
        else:
            yield Finding("packages", "note", _without_password(place), "lock")


def _devices() -> Iterator[Finding]:
    specifications = [str(path) for folder in CDI if folder.is_dir() for path in sorted(folder.iterdir())]
    if specifications:
        yield Finding("GPUs", "ok", f"CDI: {', '.join(specifications)}", "--gpus")
    elif any(Path("/dev").glob("nvidia[0-9]*")):
        line = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
        yield Finding("GPUs", "missing", "an NVIDIA device without a CDI specification", "--gpus", f"type: sudo {line}")
    else:
        yield Finding("GPUs", "note", "none on this machine", "--gpus")


def _limits() -> Iterator[Finding]:
    """Hard limits that a program may meet; only root with CAP_SYS_RESOURCE may raise them."""
    wanted = (("open files", resource.RLIMIT_NOFILE, 4096), ("locked memory", resource.RLIMIT_MEMLOCK, 0))
    for name, which, least in wanted:
        _, hard = resource.getrlimit(which)
        said = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
        enough = hard == resource.RLIM_INFINITY or hard >= least
        fix = "raise it in /etc/security/limits.conf"
        yield (
            _found(f"limit: {name}", said, enough, "many workers", fix)
            if not enough
            else Finding(f"limit: {name}", "note", said)
        )


def _found(name: str, said: str, good: bool, needed_for: str, fix: str, *, required: bool = False) -> Finding:  # noqa: FBT001 - the heart of it
    return Finding(name, "ok" if good else "missing", said, needed_for, "" if good else fix, required)


def _last(stderr: bytes) -> str:
    return (stderr.decode(errors="replace").strip().splitlines() or ["it failed"])[-1]


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)
