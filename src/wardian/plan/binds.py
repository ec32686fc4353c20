"""Binds in the words of each engine's command line. A path that an engine's syntax cannot carry is refused by name.

Sources: https://docs.docker.com/engine/storage/bind-mounts/ (one line of CSV; podman-run(1) has the same dialect), Go's
encoding/csv (what both read it with), and
https://apptainer.org/docs/user/latest/bind_paths_and_mounts.html (``src:dst:opts``, commas between binds).
"""

import re

from wardian.errors import Fault, SpecError
from wardian.plan.containers import Bind

QUOTED = re.compile(r'[",\n]')


def docker_mount(bind: Bind) -> str:
    """The word after ``--mount`` of docker and podman. Raises ``SpecError`` for a path that cannot be carried.

    >>> docker_mount(Bind("/data/a,b", "/data", read_only=True))
    'type=bind,"source=/data/a,b",target=/data,readonly'
    """
    for path in (bind.source, bind.target):
        if "\r" in path:  # encoding/csv reads a carriage return and a newline as the newline alone
            raise _refused(bind, path, "docker and podman", "a carriage return")
        _check_text(bind, path, "docker and podman")
    fields = ["type=bind", f"source={bind.source}", f"target={bind.target}", *["readonly"] * bind.read_only]
    return ",".join(_field(field) for field in fields)


def apptainer_bind(bind: Bind) -> str:
    """The word after ``--bind`` of apptainer. Raises ``SpecError`` for a path that cannot be carried.

    >>> apptainer_bind(Bind("/data", "/data", read_only=True))
    '/data:/data:ro'
    """
    for path in (bind.source, bind.target):
        if found := re.search(r"[,:\\^]", path):  # its parser splits at "^" too; a backslash escapes in some versions
            raise _refused(bind, path, "apptainer", f"a {found[0]}")
        if path != path.strip():
            raise _refused(bind, path, "apptainer", "a blank at its end")
        _check_text(bind, path, "apptainer")
    return f"{bind.source}:{bind.target}" + ":ro" * bind.read_only


def _field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text


def _check_text(bind: Bind, path: str, engine: str) -> None:
    """Engines hand paths on as JSON, which is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise _refused(bind, path, engine, "a byte that is not UTF-8") from None


def _refused(bind: Bind, path: str, engine: str, what: str) -> SpecError:
    place = f"mount {bind.target}"
    hint = "rename it, or mount a symbolic link to it" if path == bind.source else "choose another target"
    return SpecError([Fault(place, f"{path!r} cannot be said to {engine}: it has {what} in it", hint=hint)])
