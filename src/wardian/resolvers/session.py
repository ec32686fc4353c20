"""Everything that one ``wardian lock`` works with, opened together: registries, the fetcher, uv, the sandbox."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wardian.builders.base import Site, namespace_of
from wardian.builders.sources import Locked
from wardian.hosts.base import Host
from wardian.hosts.machine import Machine, read_machine
from wardian.lock.model import Base
from wardian.plan.keys import EPOCH
from wardian.registry.client import open_registry
from wardian.registry.progress import Progress
from wardian.resolvers.fetch import Fetcher
from wardian.resolvers.own import OWN, offered
from wardian.resolvers.project import mirrors
from wardian.resolvers.python import Uv
from wardian.resolvers.sdists import Sdists
from wardian.resolvers.systems import Systems
from wardian.resolvers.upgrade import Upgrade
from wardian.spec.substitute import substitute
from wardian.store.store import Store


@dataclass(frozen=True)
class Session:
    """The parts that pin and fetch."""

    machine: Machine
    systems: Systems
    uv: Uv
    fetcher: Fetcher
    site: Site
    sdists: Sdists


@contextmanager
def opened(
    root: Path,
    store: Store,
    host: Host,
    *,
    environ: Mapping[str, str],
    substitutes: Mapping[str, str],
    indexes: tuple[str, ...],
    requirements: tuple[str, ...],
    display: Progress,
    upgrade: Upgrade,
    known: tuple[tuple[Base, str], ...] = (),
) -> Iterator[Session]:
    """Open what resolving needs; scratch files and connections end with the block."""
    machine = offered(read_machine(environ), requirements, store.root / OWN)
    sources = Locked(store, host, machine, environ, substitutes, indexes)
    site = Site(store, host, machine, sources, namespace_of(host), EPOCH, root, environ)
    with (
        closing(sources),
        open_registry(environ, host.run, ca_bundle=machine.ca_bundle) as registry,
        site.temporary() as scratch,
    ):
        fetcher = sources.fetcher
        systems = Systems(host, store, machine, registry, fetcher, substitutes, upgrade, display, known)
        uv = Uv(
            host=host,
            machine=machine,
            project=root,
            scratch=scratch,
            cache=store.root / "cache" / "uv-without-builds",
            substitute=lambda url: substitute(substitutes, url),
            canonical=mirrors(substitutes),
        )
        yield Session(machine, systems, uv, fetcher, site, Sdists(systems, uv, fetcher, site, display))


def write_all(root: Path, texts: Mapping[str, str], gone: tuple[str, ...] = ()) -> list[str]:
    """Write files of the project, each whole or not at all, in order; remove what is ``gone``. Says what changed."""
    changed = [name for name, text in texts.items() if not _holds(root / name, text)]
    for name in changed:
        with _named(root / name), (root / f".{name}.part").open("w", encoding="utf-8") as file:
            file.write(texts[name])
            file.flush()
            os.fsync(file.fileno())
    for name in changed:
        (root / f".{name}.part").replace(root / name)
    for name in gone:
        (root / name).unlink(missing_ok=True)
    return changed


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Writing to an open file fails without its name."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
