"""A sandbox without a daemon: overlay in a mount namespace, then bubblewrap. One ``Command`` starts it.

The command is ``unshare … sh -c SCRIPT sh ARGUMENTS…``. The script is a fixed text: values reach it as positional
arguments or in the environment and are never interpolated. It mounts the overlay from short relative symlinks (the
mount option holds one page), copies and binds what the caller asked for, and becomes ``bwrap``, the program's parent.

Environment values travel in variables of the command, and from there through a file descriptor to bwrap: never in an
argv. Names in ``env_pass`` are read by the script from the host's environment: their values are in no ``Command``.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wardian.command import Command
from wardian.errors import EngineFailed, Unavailable
from wardian.hosts.base import Host
from wardian.hosts.rootfs import Tree
from wardian.plan.containers import Bind

DIES = ("setpriv", "--pdeathsig", "KILL")  # before a program that must not outlive the thread that started it
RUNS = "/tmp"  # noqa: S108 - where run folders lie: another uid can walk to it, which a home does not allow
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "root": ("unshare", "--mount"),
    "subids": ("unshare", "--user", "--map-auto", "--map-root-user", "--mount"),
    "single": ("unshare", "--user", "--map-root-user", "--mount"),
}

# To unshare(1): a process namespace, all of which ends with its first process, and that with its parent. A bwrap killed
# just after it started would leave its inner half waiting for it (or working) for ever: bubblewrap's issue 633.
TOGETHER = ("--pid", "--fork", "--kill-child")

# What Docker leaves to uid 0 in a container, so that dpkg and chown work and mount does not; numbers of capability.h.
CAPABILITIES: Mapping[str, int] = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "SYS_CHROOT": 18,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}

SCRIPT = r"""
fail() { echo "wardian: sandbox: $1" >&2; exit 125; }
mask=$(umask); umask 022
# util-linux 2.39 and newer would hand lowerdir to fsconfig(2), which takes 256 bytes only.
export LIBMOUNT_FORCE_MOUNT2=always
cd "$1" || fail "the run folder is gone"
mount -t tmpfs -o mode=0711 tmpfs m || fail "cannot mount a tmpfs"
mkdir m/root m/u m/w
over() { mount -t overlay -o "lowerdir=$1,upperdir=$2,workdir=$3$4" overlay m/root; }
case $4 in
  upper) over "$2" u w "$3" || fail "cannot mount the overlay over the build's upper folder";;
  disk) over "$2" u w "$3" 2>/dev/null || over "$2" m/u m/w "$3" || fail "cannot mount the overlay";;
  memory) over "$2" m/u m/w "$3" || fail "cannot mount the overlay (in a user namespace it needs Linux 5.11)";;
esac
shift 4
: >m/args; chmod 600 m/args
while [ "$1" != -- ]; do
  case $1 in
    folder) [ -d "m/root$3" ] || { mkdir -p "m/root$3" && chmod "$2" "m/root$3" || fail "cannot make $3"; };;
    owner) chown "$2" "m/root$3" || fail "cannot give $3 to $2";;
    link) rm -f "m/root$3" && ln -s "$2" "m/root$3" || fail "cannot link $3";;
    copy) rm -f "m/root$3" && cp "$2" "m/root$3" || fail "cannot write $3";;
    bind) if [ -d "$2" ]; then mkdir -p "m/root$3"
          elif [ ! -e "m/root$3" ]; then mkdir -p "m/root${3%/*}" && : >"m/root$3"
          fi || fail "cannot make the mount point $3"
          mount --rbind -- "$2" "m/root$3" || fail "cannot bind $2 to $3";;
    value) eval "line=\$WARDIAN_SANDBOX_$2"
           printf '%s\0' --setenv "${line%%=*}" "${line#*=}" >>m/args;;
    pass) eval "[ -z \"\${$2+x}\" ] || printf '%s\\0' --setenv $2 \"\$$2\" >>m/args";;
  esac
  shift 3
done
shift
exec 9<m/args; rm m/args
uid=$1 gid=$2; shift 2
umask "$mask"
[ "$uid" = - ] && exec bwrap --clearenv --args 9 "$@"
# A uid of its own under a real root: bwrap runs as that uid, in a user namespace where every id means itself.
mkfifo m/pid m/go; chmod 666 m/pid m/go
( while read -r name value; do case $name in '"child-pid":') child=${value%,};; esac; done <m/pid
  same=$(while read -r inner outer count; do echo "$inner $inner $count"; done </proc/self/uid_map)
  echo "$same" >"/proc/$child/uid_map"
  same=$(while read -r inner outer count; do echo "$inner $inner $count"; done </proc/self/gid_map)
  echo "$same" >"/proc/$child/gid_map"
  echo >m/go ) </dev/null >/dev/null 2>&1 &
exec 8>m/pid 7<>m/go
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups bwrap --clearenv --userns-block-fd 7 --info-fd 8 --args 9 "$@"
"""


@dataclass(frozen=True, slots=True)
class Namespace:
    """The namespaces that unpacked trees live in.

    ``root``: the real root. ``subids``: a plain user with a range of ids. ``single``: a plain user whose only id is
    root inside: enough to run, not to install packages.
    """

    kind: Literal["root", "subids", "single"]

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that put it inside, and end it with whoever started it."""
        return (*DIES, *PREFIXES[self.kind])

    @property
    def xattr(self) -> Literal["trusted", "user"]:
        """The namespace of overlay's extended attributes (``trusted.overlay.opaque``)."""
        return "trusted" if self.kind == "root" else "user"

    def command(self, *argv: str, changes: bool = True) -> Command:
        """A command to run inside."""
        return Command((*self.prefix, *argv), changes=changes)


def namespace(host: Host) -> Namespace:
    """The most capable kind of namespace that works here.

    Raises ``Unavailable`` with the package that is missing or the kernel setting that forbids it.
    """
    asked = host.run(
        Command(("sh", "-c", "id -u; for name in bwrap unshare setpriv newuidmap; do command -v $name; done; true"))
    )
    uid, *programs = asked.stdout.decode().split()
    found = {program.rsplit("/", 1)[-1] for program in programs}
    for program, package in (("unshare", "util-linux"), ("setpriv", "util-linux"), ("bwrap", "bubblewrap")):
        if program not in found:
            raise Unavailable(f"{program} is not on this machine", hint=f"type: sudo apt-get install {package}")
    said = ""
    for kind in _candidates(root=uid == "0", newuidmap="newuidmap" in found):
        tried = host.run(Namespace(kind).command("mount", "-t", "tmpfs", "tmpfs", "/tmp", changes=False))  # noqa: S108 - a private mount
        if tried.code == 0:
            return Namespace(kind)
        said = tried.stderr.decode(errors="replace").strip()
    raise _blocked(host, said)


def _candidates(*, root: bool, newuidmap: bool) -> tuple[Literal["root", "subids", "single"], ...]:
    if root:
        return ("root", "single")
    return ("subids", "single") if newuidmap else ("single",)


BLOCKS = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
)


def hindrance() -> str | None:
    """What is known, without trying, to keep sandboxes from working on this machine; None when nothing is."""
    if absent := [name for name in ("bwrap", "unshare", "setpriv") if shutil.which(name) is None]:
        return f"{absent[0]} is not on this machine"
    for path, value, _ in BLOCKS if os.getuid() else ():
        with suppress(OSError):
            if Path(path).read_text().strip() == value:
                return f"{path} is {value}"
    return None


def _blocked(host: Host, said: str) -> Unavailable:
    """The error for a kernel that allows no user namespaces, naming the setting that forbids them."""
    for path, value, setting in BLOCKS:
        if host.run(Command(("cat", path))).stdout.decode().strip() == value:
            return Unavailable(
                f"this kernel's settings forbid user namespaces ({path} is {value})",
                hint=f"type: sudo sysctl -w {setting}",
            )
    return Unavailable(
        f"user and mount namespaces do not work here: {said}", hint="inside a container, allow them with --privileged"
    )


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One program over unpacked layers.

    ``run_dir`` comes from ``folder`` with the same ``lowers``, ``upper`` and ``work``. The program's writes go to
    ``upper`` (with ``work``, empty, on the same disk; both stay for the caller), or to memory when it is None.
    """

    lowers: tuple[str, ...]  # unpacked layers, the top one first
    run_dir: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)  # complete: nothing of the host's environment is added
    env_pass: tuple[str, ...] = ()  # names whose values the script takes from the host's environment
    workdir: str = "/"
    upper: str | None = None
    work: str | None = None
    upper_optional: bool = False  # True: write to memory where the disk of ``upper`` cannot hold an overlay
    binds: tuple[Bind, ...] = ()
    files: tuple[Bind, ...] = ()  # copied over the image, into the scratch
    folders: tuple[tuple[str, int], ...] = ()  # (path, mode): made when the image lacks them, and given to the user
    links: tuple[tuple[str, str], ...] = ()  # (target, path of the link), in place of what the image has there
    devices: tuple[Bind, ...] = ()  # device nodes
    uid: int = 0
    gid: int = 0
    shm: int = 64 * 1024**2
    network: bool = True
    read_only: bool = False
    die_with_parent: bool = True  # False: the caller is a subreaper that survives a signal which ends bwrap
    # bwrap writes {"child-pid": …}, as its own process namespace counts, and {"exit-code": …} when the program ended
    status_fd: int | None = None


@contextmanager
def folder(lowers: Sequence[str], *, upper: str | None = None, work: str | None = None) -> Iterator[str]:
    """A run folder, removed at the end: symlinks 0, 1, 2 … to the lowers, u and w to upper and work, the mount point m.

    It lies beside ``upper``, so that it goes with it should this process be killed.
    """
    path = make_folder(lowers, upper=upper, work=work, parent=str(Path(upper).parent) if upper else RUNS)
    try:
        yield path
    finally:
        remove_folder(path)


def make_folder(lowers: Sequence[str], *, upper: str | None = None, work: str | None = None, parent: str = RUNS) -> str:
    """Make a run folder and return its path; ``remove_folder`` ends it."""
    path = Path(tempfile.mkdtemp(prefix="wardian-", dir=parent))
    path.chmod(0o755)
    (path / "m").mkdir()
    for name, target in [*((str(at), lower) for at, lower in enumerate(lowers)), ("u", upper), ("w", work)]:
        if target is not None:
            (path / name).symlink_to(target)
    return str(path)


def remove_folder(path: str) -> None:
    """Remove a run folder: only symlinks and an empty mount point are in it, the mounts died with their namespace."""
    shutil.rmtree(path, ignore_errors=True)


def command(sandbox: Sandbox, inside: Namespace) -> Command:
    """The one command that starts the program; its exit code is the program's, or 125 when a mount failed.

    Reads the unpacked layers to find where each target really lies (an image may have /var/run → /run).
    """
    if not sandbox.lowers:
        raise EngineFailed("an image without layers cannot run")
    drops = inside.kind == "root" and (sandbox.uid, sandbox.gid) != (0, 0)
    values = carried(sandbox.env)
    argv = (
        *((*inside.prefix, *TOGETHER, "--mount-proc") if sandbox.die_with_parent else PREFIXES[inside.kind]),
        *("sh", "-c", SCRIPT, "sh", sandbox.run_dir, ":".join(str(at) for at in range(len(sandbox.lowers)))),
        ",userxattr" if inside.xattr == "user" else "",
        "memory" if sandbox.upper is None else "disk" if sandbox.upper_optional else "upper",
        *_steps(sandbox, drops=drops),
        *(word for at in range(len(values)) for word in ("value", str(at), "")),
        *(word for name in sandbox.env_pass for word in ("pass", name, "")),
        "--",
        *((str(sandbox.uid), str(sandbox.gid)) if drops else ("-", "-")),
        *_bwrap(sandbox, drops=drops),
        "--",
        *sandbox.argv,
    )
    return Command(argv, env=values, changes=True)


def carried(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in variables of a command: it is in no argv, and does not change the command itself."""
    return {f"WARDIAN_SANDBOX_{at}": f"{name}={value}" for at, (name, value) in enumerate(env.items())}


def _steps(sandbox: Sandbox, *, drops: bool) -> Iterator[str]:
    """What the script does to the merged tree before bwrap sees it, three words each, targets free of symlinks."""
    tree = Tree(sandbox.lowers)
    for path in ("/proc", "/dev", "/sys"):
        yield from ("folder", "755", tree.resolve(path))
    yield from ("folder", "1777", tree.resolve("/tmp"))  # noqa: S108 - inside the sandbox
    for path, mode in sandbox.folders:
        yield from ("folder", f"{mode:o}", tree.resolve(path))
        if drops:
            yield from ("owner", f"{sandbox.uid}:{sandbox.gid}", tree.resolve(path))
    for file in sandbox.files:
        yield from ("folder", "755", tree.resolve(file.target.rpartition("/")[0] or "/"))
        yield from ("copy", file.source, tree.resolve(file.target, follow=False))
    for target, path in sandbox.links:
        yield from ("folder", "755", tree.resolve(path.rpartition("/")[0] or "/"))
        yield from ("link", target, tree.resolve(path, follow=False))
    for bind in ordered(sandbox.binds):
        target = tree.resolve(bind.target)
        yield from ("bind", bind.source, target)
        tree = tree.over(target, bind.source)


def _bwrap(sandbox: Sandbox, *, drops: bool) -> Iterator[str]:
    """The options of bwrap, between the fixed words and the program."""
    root = f"{sandbox.run_dir}/m/root"
    yield from ("--unshare-pid", "--unshare-ipc")
    if not sandbox.network:
        yield "--unshare-net"
    if sandbox.die_with_parent:
        yield "--die-with-parent"
    if sandbox.status_fd is not None:
        yield from ("--json-status-fd", str(sandbox.status_fd))
    if drops:
        yield "--unshare-user"  # the ids are those that bwrap itself runs with
    elif (sandbox.uid, sandbox.gid) != (0, 0):
        yield from ("--unshare-user", "--uid", str(sandbox.uid), "--gid", str(sandbox.gid))
    else:
        yield from ("--cap-drop", "ALL", *(word for name in CAPABILITIES for word in ("--cap-add", f"CAP_{name}")))
    yield from ("--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--ro-bind-try", "/sys", "/sys")
    yield from ("--perms", "1777", "--size", str(sandbox.shm), "--tmpfs", "/dev/shm")  # noqa: S108 - inside the sandbox
    if sandbox.read_only:
        yield from ("--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108 - inside the sandbox
    hidden = ("/dev/", "/proc/", "/sys/", *["/tmp/"] * sandbox.read_only)  # noqa: S108 - by what was mounted above
    tree = Tree(sandbox.lowers)
    for bind in ordered(sandbox.binds):
        target = tree.resolve(bind.target)
        tree = tree.over(target, bind.source)
        if bind.read_only or target.startswith(hidden):
            yield from ("--ro-bind" if bind.read_only else "--dev-bind", root + target, target)
    for node in sandbox.devices:
        yield from ("--dev-bind", node.source, node.target)
    if sandbox.read_only:
        yield from ("--remount-ro", "/")
    yield from ("--chdir", sandbox.workdir)


def ordered(binds: Sequence[Bind]) -> list[Bind]:
    """Binds with outer targets before inner ones, so that none hides another."""
    return sorted(binds, key=lambda bind: (bind.target.rstrip("/").count("/"), bind.target))
