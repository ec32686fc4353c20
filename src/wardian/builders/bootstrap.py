"""A root file system from locked Debian packages, with mmdebstrap: as root, or as a user with subordinate ids.

mmdebstrap unpacks and configures exactly the packages of a flat repository on this disk. What it makes is then written
anew: sorted, with one time for every file, without logs, caches and the traces of the machine (see ``clean``).
"""

import errno
import posixpath
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from wardian.builders.base import Beneath, Site
from wardian.builders.clean import dropped
from wardian.builders.scratch import scratch
from wardian.command import Command
from wardian.errors import CommandFailed, Unavailable, WardianError
from wardian.hosts.sandbox import TOGETHER, Namespace
from wardian.lock.model import Deb
from wardian.oci import tar
from wardian.oci.gzip import write_layer
from wardian.plan.layers import Bootstrap
from wardian.resolvers.suites import Suite, suite_of
from wardian.store.files import FULL, ROOM, is_full
from wardian.store.store import LayerRecord

_EXCLUDED = """\
# Written by Wardian: images carry no manuals and no translations.
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
"""
# What mmdebstrap writes for its own work, and what it copies from this machine.
_REPLACED = {
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap": None,
    "etc/apt/apt.conf.d/99mmdebstrap": None,
    "etc/resolv.conf": b"",
    "etc/hostname": b"",
    "etc/hosts": b"",
}
_CHUNK = 1 << 20
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "dir",
    tarfile.FIFOTYPE: "fifo",
}


def bootstrap(layer: Bootstrap, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """The base layer. Raises ``Unavailable`` with the package to install when a program is missing."""
    del beneath
    suite = suite_of(layer.reference, layer.platform)
    inside = _inside(site)
    paths = site.sources.debs(layer.debs, say)
    with _work(site) as work:
        _repository(paths, work / "debs", site)
        command = _command(layer, suite, inside, work=work, epoch=site.epoch)
        ended = site.host.stream(command, line=lambda text: _heard(text, say))
        site.check()
        if ended.code:
            raise _failed(ended.stdout.decode(errors="replace"), ended.code, layer)
        with tarfile.open(work / "root.tar") as archive:
            return site.write(
                layer,
                lambda out: write_layer(out, rewritten(archive, _own(suite), site.epoch)),
                [f"{deb.name}={deb.version}" for deb in layer.debs],
            )


def _inside(site: Site) -> Namespace:
    """The namespace to work in."""
    if shutil.which("mmdebstrap") is None:
        raise Unavailable(
            "mmdebstrap is not on this machine: it makes a base from Debian packages",
            hint="type: sudo apt-get install mmdebstrap; or use an image as the base",
        )
    return site.owners("a base from Debian packages needs")


@contextmanager
def _work(site: Site) -> Iterator[Path]:
    """A folder for some hundred megabytes: in ``TMPDIR`` where that is set, else in the store."""
    chosen = site.environ.get("TMPDIR")
    with scratch(site.store, site.host, site.namespace, Path(chosen) if chosen else None) as folder:
        yield folder


def _repository(paths: Sequence[Path], folder: Path, site: Site) -> None:
    """Make a flat repository of these files."""
    folder.mkdir()
    stanzas = []
    for path in paths:
        shutil.copyfile(path, folder / path.name)
        stanzas.append(_stanza(path, site))
    (folder / "Packages").write_text("\n".join(stanzas), encoding="utf-8")


def _stanza(path: Path, site: Site) -> str:
    """The package's entry in the repository's list. Its hash was checked when it was fetched."""
    fields = site.host.run(Command(("dpkg-deb", "--field", str(path)))).check().stdout.decode().rstrip()
    return f"{fields}\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {path.parent.name}\n"


# The work folder gets a plain path, because it stands in a line of apt's sources: it covers /tmp, which is everywhere.
# What is mounted beneath /dev/shm would keep mmdebstrap from binding that in a user namespace, so an empty one covers
# it. dpkg waits for the disk after every package, so the root file system grows in memory where there is enough of it.
_PLACE = "/tmp"  # noqa: S108 - in a mount namespace of its own
_SCRIPT = f"""
set -e
umask 022
mount --bind "$1" {_PLACE}
if grep -q " /dev/shm/" /proc/self/mountinfo; then mount -t tmpfs tmpfs /dev/shm; fi
cd {_PLACE}
mkdir tmp
if [ "$2" = memory ]; then mount -t tmpfs -o mode=0755 tmpfs tmp; fi
TMPDIR=$PWD/tmp; export TMPDIR
shift 2
"$@"
exit 0
"""


def _command(layer: Bootstrap, suite: Suite, inside: Namespace, *, work: Path, epoch: int) -> Command:
    included = ",".join(f"{deb.name}={deb.version}" for deb in layer.debs)
    # usrmerge converts what is unpacked already, which only works when everything is unpacked first.
    variant = "custom" if any(deb.name == "usrmerge" for deb in layer.debs) else "essential"
    excluded = [line for line in _EXCLUDED.splitlines() if line.startswith("path-")]
    return Command(
        (
            *(*inside.prefix, *TOGETHER, "sh", "-c", _SCRIPT, "sh", str(work), _medium(layer.debs)),
            "mmdebstrap",
            "--mode=root",  # of the namespace
            f"--variant={variant}",
            "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
            f"--architectures={suite.architecture}",
            f"--include={included}",
            "--format=tar",
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt={line}" for line in excluded),
            "--aptopt=APT::Sandbox::User root",
            "",  # no suite: the repository has no Release file that could name one
            f"{_PLACE}/root.tar",
            f"deb [trusted=yes] copy:{_PLACE}/debs ./",
        ),
        env={
            "SOURCE_DATE_EPOCH": str(epoch),
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "",
            "TZ": "UTC",
            "DEBIAN_FRONTEND": "noninteractive",
        },
        changes=True,
    )


def _medium(debs: Sequence[Deb]) -> Literal["memory", "disk"]:
    """Where the packages are unpacked: they take some four times their size, and as much must stay free."""
    found = re.search(r"^MemAvailable:\s+([0-9]+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    available = 1024 * int(found[1]) if found else 0
    return "memory" if available > 8 * sum(deb.size for deb in debs) + (1 << 30) else "disk"


def _heard(text: str, say: Callable[[str], None]) -> None:
    if text.startswith("I: "):
        say(text[3:])


def _failed(said: str, code: int, layer: Bootstrap) -> CommandFailed:
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("I: ")]
    wrong = [line for line in lines if line.startswith(("E: ", "dpkg: error"))] or lines
    told = " | ".join(line[:200] for line in wrong[-6:])
    if is_full(said):
        why = f"{layer.reference} cannot be made: {FULL[errno.ENOSPC]}: {told}"
        return CommandFailed(why, code=code, hint=f"{ROOM}, and TMPDIR if it is set")
    return CommandFailed(f"{layer.reference} cannot be made: mmdebstrap: {told}", code=code)


def _own(suite: Suite) -> dict[str, bytes | None]:
    """The files that are ours: where packages come from later, what dpkg leaves out, empty places to bind over."""
    signed = f"[signed-by={suite.keyring}]"
    lines = [f"deb {signed} {one.url} {one.suite} {' '.join(one.components)}\n" for one in suite.archives]
    return {
        **_REPLACED,
        "etc/apt/sources.list": "".join(lines).encode(),
        "etc/dpkg/dpkg.cfg.d/wardian": _EXCLUDED.encode(),
    }


def rewritten(archive: tarfile.TarFile, own: Mapping[str, bytes | None], epoch: int) -> Iterator[bytes]:
    """The layer's tar stream: the members that stay, sorted, and ``own`` files (None: left out) in their places."""
    members = {path: member for member in archive.getmembers() if (path := _path(member.name)) and not dropped(path)}
    links = _first_names(members)
    for path in sorted({*members, *(path for path, content in own.items() if content is not None)}, key=_order):
        if path in own:
            content = own[path]
            if content is not None:
                yield tar.header(tar.Entry(path, "file", 0o644, len(content), mtime=epoch))
                yield content + tar.padding(len(content))
            continue
        member = members[path]
        first = links.get(path, path)
        if first != path:
            yield tar.header(_entry(path, member, epoch, kind="hardlink", link=first))
            continue
        kind = "file" if path in links else _KINDS.get(member.type)
        if kind is None:
            raise WardianError(f"mmdebstrap made a member of unknown type: {path}")
        source = archive.getmember(member.linkname) if member.islnk() else member
        yield tar.header(_entry(path, source, epoch, kind=kind, link=member.linkname if kind == "symlink" else ""))
        if kind == "file":
            yield from _content(archive, source)


def _first_names(members: Mapping[str, tarfile.TarInfo]) -> dict[str, str]:
    """For every file with several names: path → the name that sorts first, which carries the content."""
    groups: dict[str, list[str]] = {}
    for path, member in members.items():
        if member.islnk():
            groups.setdefault(_path(member.linkname), []).append(path)
    return {
        name: min(names, key=_order)
        for target, linked in groups.items()
        for names in [[*linked, *([target] if target in members else [])]]
        for name in names
    }


def _entry(path: str, member: tarfile.TarInfo, epoch: int, *, kind: str, link: str) -> tar.Entry:
    xattrs = sorted(
        (name.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
        for name, value in member.pax_headers.items()
        if name.startswith("SCHILY.xattr.security.capability")
    )
    device = (member.devmajor, member.devminor) if kind in {"char", "block"} else (0, 0)
    size = member.size if kind == "file" else 0
    return tar.Entry(path, kind, member.mode, size, link, epoch, member.uid, member.gid, device, tuple(xattrs))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = archive.extractfile(member)
    left = member.size
    while file and left and (piece := file.read(min(_CHUNK, left))):
        left -= len(piece)
        yield piece
    yield tar.padding(member.size)


def _path(name: str) -> str:
    path = posixpath.normpath(name).strip("/")
    return "" if path == "." else path


def _order(path: str) -> list[str]:
    return path.split("/")
