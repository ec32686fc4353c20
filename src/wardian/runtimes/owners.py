"""Gives what another user wrote under the writable mounts of a run to the caller, when the run has ended.

Only what was changed since the run began and is not the caller's; symbolic links themselves and not what they lead to;
no other file systems below a mount. Source: find(1), ``-newerct`` (the change of an inode cannot be set by hand).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from wardian.command import Command
from wardian.plan.binds import docker_mount
from wardian.plan.containers import Bind, Container
from wardian.runtimes.base import Place

TOOLS = ("/usr", "/bin", "/sbin", "/lib", "/lib64")  # of this machine: an image may have neither find nor chown


def writable(container: Container) -> tuple[Bind, ...]:
    """The mounts of a container in which it may leave files."""
    return tuple(bind for bind in container.binds if not bind.read_only and os.path.lexists(bind.source))


def words(folders: Sequence[str], since: float, uid: int, gid: int) -> tuple[str, ...]:
    """The words of find(1) that give to a user what others changed since a moment.

    >>> " ".join(words(["/w"], 5.5, 1000, 100))
    'find /w -xdev -newerct @5.500 ! -uid 1000 -exec chown -h 1000:100 {} +'
    """
    which = ("-xdev", "-newerct", f"@{since:.3f}", "!", "-uid", str(uid))
    return ("find", *folders, *which, "-exec", "chown", "-h", f"{uid}:{gid}", "{}", "+")


def restore_as_root(container: Container, since: float, place: Place) -> None:
    """Where we are root: do it here."""
    if folders := [bind.source for bind in writable(container)]:
        place.host.run(Command(words(folders, since, os.getuid(), os.getgid()), changes=True)).check()


def restore_in(engine: str, image: str, container: Container, since: float, place: Place) -> None:
    """Where a daemon is root and we are not: in a container of its, with this machine's programs and nothing else."""
    binds = writable(container)
    if not binds:
        return
    argv = [engine, "run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0", "--log-driver", "none"]
    tools = [Bind(path, path, read_only=True) for path in TOOLS if Path(path).exists()]
    folders = [f"/wardian/{at}" for at in range(len(binds))]
    for bind in (*tools, *(Bind(one.source, target) for one, target in zip(binds, folders, strict=True))):
        argv += ["--mount", docker_mount(bind)]
    program, *rest = words(folders, since, os.getuid(), os.getgid())
    argv += ["--env", "PATH=/usr/bin:/bin", "--entrypoint", f"/usr/bin/{program}", image, *rest]
    place.host.run(Command(tuple(argv), changes=True)).check()
