"""What a program over an image's layers needs: where they are unpacked, and its last lines when it fails."""

import errno
from collections import deque
from collections.abc import Callable, Sequence

from wardian.builders.base import Site
from wardian.command import Command
from wardian.errors import CommandFailed
from wardian.hosts.base import Host
from wardian.hosts.sandbox import Namespace
from wardian.store import unpacked
from wardian.store.files import FULL, ROOM, is_full
from wardian.store.store import LayerRecord, Store

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def root(store: Store, host: Host, inside: Namespace, layers: Sequence[LayerRecord]) -> tuple[str, ...]:
    """The unpacked folders of layers given from the bottom up, as overlayfs wants them."""
    return unpacked.stack(store, host, inside, [(layer.digest, layer.diff_id) for layer in layers])


def perform(started: Command, site: Site, say: Callable[[str], None], what: str, hint: str | None = None) -> None:
    """Run a program to its end, a line at a time. Raises ``CommandFailed`` about ``what`` with its last lines."""
    last: deque[str] = deque(maxlen=12)

    def heard(text: str) -> None:
        if text.strip():
            last.append(text.rstrip())
            say(text.strip())

    ended = site.host.stream(started, line=heard)
    if ended.code:
        site.check()
        shown = "".join(f"\n    {line}" for line in last)
        full = is_full(shown)
        why = FULL[errno.ENOSPC] if full else f"exited with {ended.code}"
        raise CommandFailed(f"{what}: {why}{shown}", code=ended.code, hint=ROOM if full else hint)
