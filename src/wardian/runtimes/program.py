"""What is wrong with a container's program, found before anything starts, so that exit codes are a shell's."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from wardian.runtimes.base import Missing
from wardian.store.listing import Seen, interpreter

UNKNOWN = Seen("unknown", 0)  # what cannot be told from here, as a file that only the container has
KERNELS = ("/proc/", "/dev/", "/sys/", "/tmp/")  # noqa: S108 - inside the container
Look = Callable[[str], Seen | None]  # an absolute path inside → what is there, links followed


def missing(argv: tuple[str, ...], env: Mapping[str, str], workdir: str, look: Look) -> Missing | None:
    """What execvp(3) would fail with; None when nothing is wrong, or when it cannot be told from here."""
    program = argv[0]
    if not program:
        return Missing("the program's name is empty: command not found", 127)
    if "/" in program:
        return _at(look, program if program.startswith("/") else f"{workdir}/{program}", program)
    faults = []
    for folder in env.get("PATH", "/bin:/usr/bin").split(":"):
        path = f"{folder if folder.startswith('/') else workdir + '/' + folder}/{program}"
        fault = _at(look, path, program)
        if fault is None:
            return None
        faults.append(fault)
    return next((fault for fault in faults if fault.code == 126), faults[0])


def _at(look: Look, path: str, name: str) -> Missing | None:
    """What is wrong with one file as a program."""
    found = look(path)
    if found is None:
        return Missing(f"{name}: command not found in the image", 127)
    if found.kind == "dir":
        return Missing(f"{name}: is a directory", 126)
    if found.kind != "file":
        return None
    if not found.mode & 0o111:
        return Missing(f"{name}: not executable", 126)
    if found.link.startswith("/") and look(found.link) is None:
        return Missing(f"{name}: its interpreter {found.link} is not in the image", 127)
    return None


def on_host(path: Path) -> Seen | None:
    """What a path of this machine is; None when there is nothing."""
    if not os.path.lexists(path):
        return None
    try:
        if path.is_dir():
            return Seen("dir", path.stat().st_mode & 0o7777)
        if not path.is_file():  # a FIFO would be waited for
            return UNKNOWN
        mode = path.stat().st_mode & 0o7777
        with path.open("rb") as file:
            return Seen("file", mode, interpreter(file.read(256)) if mode & 0o111 else "")
    except OSError:
        return UNKNOWN
