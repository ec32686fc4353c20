"""A locked wheel made of a source distribution, made again where it is missing: for ``wardian build`` and archives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardian.builders.base import Site, namespace_of
from wardian.builders.sources import Locked
from wardian.builders.stack import Saying, stacked
from wardian.lock.model import Built, Lock
from wardian.plan.images import system
from wardian.plan.keys import EPOCH
from wardian.registry.progress import Progress
from wardian.resolvers.fetch import Fetcher
from wardian.resolvers.sdist import again, tool_file
from wardian.spec.matrix import Variant


@dataclass(frozen=True)
class Rebuilding:
    """Builds a locked wheel again on a machine that lacks it."""

    variants: Sequence[Variant]  # parents first
    lock: Lock
    site: Site
    fetcher: Fetcher
    display: Progress

    def __call__(self, built: Built) -> Path:
        """The wheel in the store. Raises ``DigestMismatch`` when other bytes come out."""
        variant = next(one for one in self.variants if built in self.lock.images[one.id].built)
        known = {one.id: one for one in self.variants}
        line = [variant]
        while line[0].parent:
            line.insert(0, known[line[0].parent])
        entries = [self.lock.images[one.id] for one in line]
        self._tools(built, entries[-1].built)
        records = stacked(system(line[0], entries, built.debs, self.site.epoch), self.site, self.display, variant.id)
        with self.display.task(f"{variant.id}: building {built.name} {built.version} from source") as task:
            interpreter = entries[-1].interpreter or "python3"
            return again(built, records, interpreter=interpreter, site=self.site, fetcher=self.fetcher, say=task.say)

    def _tools(self, built: Built, known: Sequence[Built]) -> None:
        """Have the tools that were built of source themselves: no index has them."""
        made = {one.sha256: one for one in known}
        for tool in built.build:
            if tool.sha256 in made and not self.fetcher.has(tool_file(tool)):
                self(made[tool.sha256])


def rebuilding(sources: Locked, variants: Sequence[Variant], lock: Lock, say: Callable[[str], None]) -> Rebuilding:
    """What builds a locked wheel again for a build that has ``sources``."""
    inside = namespace_of(sources.host)
    site = Site(sources.store, sources.host, sources.machine, sources, inside, EPOCH, Path("/"), sources.environ)
    return Rebuilding(variants, lock, site, sources.fetcher, Saying(say))
