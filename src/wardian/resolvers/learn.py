"""What a source distribution requires, when only its build backend knows: asked in a sandbox, never on the host.

Many compute their requirements in setup.py. That is a stranger's code: it runs over the image's own system layers, with
the image's own Python, without a network, a home, a variable of the caller or an index with its credentials. What it
can lie about is itself.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from wardian.builders.base import Site
from wardian.builders.stack import stacked
from wardian.errors import Unavailable, WardianError
from wardian.lock.pylock import Pinned, filename_of, normalised
from wardian.registry.progress import Progress
from wardian.resolvers.fetch import Fetcher, pinned_file
from wardian.resolvers.python import Learn, Static, Wanted, resolve
from wardian.resolvers.sdist import Recipe, build_system_of, metadata
from wardian.resolvers.systems import Systems
from wardian.resolvers.tools import Job, Tools, locked
from wardian.store.files import explained, write_file

FORMAT = 1  # raised when the same question would get another answer


@dataclass(frozen=True)
class Learning:
    """Asks build backends; keeps the answers in the store."""

    systems: Systems
    tools: Tools
    fetcher: Fetcher
    site: Site
    display: Progress
    asking: list[str] = field(default_factory=list)  # what is being asked now, each for the sake of the one before

    def of(self, job: Job) -> Learn:
        """What asks for one image."""

        def learn(name: str, place: str) -> Static:
            if name in self.asking:
                ring = " → ".join((*self.asking, name))
                raise WardianError(f"{job.image}: source distributions are built with each other: {ring}")
            self.asking.append(name)
            try:
                return self._learn(name, place, job)
            finally:
                self.asking.pop()

        return learn

    def _learn(self, name: str, place: str, job: Job) -> Static:
        pin = self._file(name, place, job)
        table = job.sdist(name)
        source = pinned_file(pin)
        if "://" in place:
            source = replace(source, url=place)  # a lock has no address of this machine alone, but the file is here
        archive = self.fetcher.fetch(source)
        system = build_system_of(archive)
        requires = table.requires if table.requires is not None else system.requires
        hint = (
            f"`requires` in [images.{job.chain.variant.name}.sdists.{name}] replaces what it says that it is built with"
        )
        pins = self.tools.resolve(name, requires, hint, job, before=(), learn=self.of(job))
        built = job.so_far.entry.built
        tools = tuple(locked(one, built, whose=f"{job.image}: {name} {pin.version}", hint=hint) for one in pins)
        debs = self.systems.build_packages(job.image, job.system, table.apt, ())
        layers = job.layers(debs, self.site.epoch)
        asked = [
            *(FORMAT, pin.sha256, [tool.sha256 for tool in tools], [layer.key for layer in layers]),
            *(job.interpreter, dict(table.env)),
        ]
        kept = self._kept(asked)
        if kept.is_file():
            return static(kept.read_text(encoding="utf-8"), name, place)
        wanted = Recipe(name, pin.version, source, tools, job.interpreter, table.env)
        with self.display.task(f"{job.image}: asking {name} {pin.version} what it requires") as task:
            self._can_execute(f"{job.image}: {name} {pin.version}")
            records = stacked(layers, self.site, self.display, job.image)
            text = metadata(wanted, system, records, site=self.site, fetcher=self.fetcher, say=task.say)
        found = static(text, name, place)
        with explained(self.site.store.root):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_file(kept, text.encode(), scratch=kept.parent)
        return found

    def _file(self, name: str, place: str, job: Job) -> Pinned:
        """The source distribution itself: uv finds it when it is told that nothing is required."""
        address = place if "://" in place else ""
        line = f"{name} @ {place}" if address else f"{name}=={place}"
        wanted = Wanted(
            job.image,
            job.target,
            (line,),
            indexes=job.chain.variant.image.index,
            from_source=frozenset({name}),
        )
        version = version_of(address) if address else place
        pins = resolve(wanted, self.tools.uv, learn=self.of(job), static=(Static(name, version, address),))
        return next(one for one in pins if one.name == name)

    def _kept(self, asked: object) -> Path:
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return self.site.store.root / "cache" / "metadata" / key

    def _can_execute(self, what: str) -> None:
        try:
            self.site.namespace()
        except Unavailable as error:
            raise Unavailable(
                f"{what} tells what it requires only when it is built, in a sandbox: {error.message}", hint=error.hint
            ) from error


def static(text: str, name: str, place: str) -> Static:
    """What METADATA says, for uv. Raises ``WardianError`` when it is of something else, or says nothing.

    Source: https://packaging.python.org/en/latest/specifications/core-metadata/
    """
    from packaging.metadata import parse_email

    found, _ = parse_email(text)
    version = found.get("version", "")
    address = place if "://" in place else ""
    if normalised(found.get("name", "")) != name or not version or (not address and not _same(version, place)):
        raise WardianError(
            f"the build backend of {name} {place} tells of {found.get('name', 'nothing')} {version}".rstrip()
        )
    requires = tuple(found.get("requires_dist", ()))
    return Static(
        name, version, address, requires, found.get("requires_python", ""), tuple(found.get("provides_extra", ()))
    )


def version_of(address: str) -> str:
    """The version in the name of a source distribution; "0" for an archive with another name.

    >>> version_of("https://example.org/p-1.5.tar.gz"), version_of("https://example.org/archive/main.zip")
    ('1.5', '0')
    """
    from packaging.utils import InvalidSdistFilename, parse_sdist_filename

    try:
        return str(parse_sdist_filename(filename_of(address))[1])
    except InvalidSdistFilename:
        return "0"


def _same(one: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False
