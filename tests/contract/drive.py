"""Run one container through a runtime, as a program: ``python drive.py RUNTIME STORE CONTAINER.json [ENTER…]``.

With ENTER words, run them in the container of that name, which runs.

Its streams, its signals and its exit code are the container's.
"""

import json
import sys
from pathlib import Path
from typing import Any

from wardian.errors import WardianError
from wardian.hosts.local import LocalHost
from wardian.hosts.session import caller
from wardian.plan.containers import Bind, Container
from wardian.plan.launch import identity
from wardian.runs.record import Record
from wardian.runs.supervise import attend, status_pipe
from wardian.runs.terminal import streams, wants_tty
from wardian.runtimes import runtime
from wardian.runtimes.base import Place
from wardian.store.store import Store


def main() -> int:
    name, folder, description, *enter = sys.argv[1:]
    wanted = json.loads(Path(description).read_text(encoding="utf-8", errors="surrogateescape"))
    store = Store(Path(folder))
    called = wanted.pop("name", None)
    if enter:
        return entered(name, called, wanted, tuple(enter))
    image = store.resolve(wanted.pop("reference", "demo/train:latest"))
    assert image is not None
    user = identity(wanted.pop("user", "host"), caller())
    tty = wanted.pop("terminal", None)
    env = {"PATH": "/bin", "HOME": user.home, "USER": user.name, **wanted.pop("env", {})}
    binds = tuple(Bind(*bind) for bind in wanted.pop("binds", ()))
    argv = tuple(wanted.pop("argv"))
    container = Container(image.digest, argv, user, env=env, binds=binds, tty=wants_tty(tty=tty), **wanted)
    try:
        with (
            status_pipe() as status,
            runtime(name).ready(
                container, Place(LocalHost(), store), name=called, status_fd=status.fd, die_with_parent=False
            ) as ready,
        ):
            if ready.missing:
                sys.stderr.write(ready.missing.reason + "\n")
                return ready.missing.code
            outcome = ready.settle(
                attend(
                    ready.command, status, streams(tty=tty, raw=bool(ready.watch)), watch=ready.watch, send=ready.send
                )
            )
    except WardianError as error:
        sys.stderr.write(f"engine: {error.message}: never started\n")
        return error.exit_code
    if not outcome.started:
        sys.stderr.write("engine: the program never started" + "\n")
        return 125
    return outcome.code


def entered(name: str, called: str, wanted: dict[str, Any], words: tuple[str, ...]) -> int:
    """Run a program in a container that runs; as `exec` does it."""
    record = Record(called, "", "", (), wanted["workdir"], "host", "", "2026-01-01T00:00:00Z", engine=name)
    return attend(runtime(name).enter(record, words, None, {"B": "y"}, tty=False), None, streams(tty=None)).code


if __name__ == "__main__":
    sys.exit(main())
