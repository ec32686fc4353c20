"""A system step as one instruction of a Dockerfile that an engine builds, and the layer that comes of it.

The engine is handed an image of the layers beneath and a Dockerfile with one ``RUN``. What this machine lends the step
is mounted for it: folders as build contexts, its whole environment as a secret, because an index's address may hold a
password. The result is saved and its last layer brought into the form that the sandbox gives the same changes (see
``recapture``); what was handed over is removed again.
"""

import json
import os
import re
import shlex
import shutil
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from wardian.builders.base import Beneath, Site
from wardian.builders.recapture import recaptured
from wardian.builders.steps import HOST_FILES, OURS, UMASK, Step
from wardian.command import Command, Result
from wardian.errors import CommandFailed, Unavailable, WardianError
from wardian.oci import tar
from wardian.oci.compression import chunks
from wardian.oci.gzip import write_layer
from wardian.oci.model import CONFIG, MANIFEST, Manifest, canonical
from wardian.oci.untar import Source, entries
from wardian.plan.layers import Apt, RunStep
from wardian.store.contents import Contents, walk
from wardian.store.export import stream_docker
from wardian.store.store import LayerRecord, Tagged

_FOREIGN = ("HOSTNAME", "container", "OLDPWD", "SHLVL", "TERM")  # variables that an engine adds
_ENGINES_OWN = (*HOST_FILES, "/etc/hostname")  # files that an engine makes for each container
_CHUNK = 1 << 20
_ENDED = re.compile(r"(?:exit code: |exit status )(\d+)")
_HINTS = (
    ("permission denied", "type: sudo usermod -aG docker $USER, and log in again; or use --engine sandbox"),
    ("cannot connect to the docker daemon", "start it (sudo systemctl start docker), or use --engine sandbox"),
    ("buildx", "type: sudo apt-get install docker-buildx, or use --engine sandbox"),
)


@dataclass(frozen=True)
class Build:
    """One build: the context's folder, more contexts by name, the secret environment, and what the image is called."""

    context: Path
    secret: Path
    name: str
    platform: str
    network: str  # none or host
    contexts: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()  # NAME:ADDRESS


class Engine(Protocol):
    """What is asked of an engine here."""

    @property
    def program(self) -> str:
        """The name of its program."""
        ...

    @property
    def asks(self) -> tuple[tuple[str, ...], ...]:
        """Command lines that fail when it cannot build."""
        ...

    def build(self, build: Build) -> tuple[str, ...]:
        """The words of a build, after the program."""
        ...

    def save(self, name: str, target: str) -> tuple[str, ...]:
        """The words that write an image as a docker archive."""
        ...

    def line(self, said: str) -> str | None:
        """What the step itself said in a line of the build's output; None for a line of the engine's."""
        ...


def execute(
    engine: Engine,
    layer: Apt | RunStep,
    step: Step,
    beneath: Beneath,
    site: Site,
    *,
    work: Path,
    say: Callable[[str], None],
) -> LayerRecord:
    """Build the step; what it changed is the layer. Raises ``CommandFailed`` with its last lines."""
    require(engine, site)
    name = f"wardian-step:{layer.key.rpartition(':')[2][:32]}-{os.getpid()}"
    below = name.replace("-step:", "-below:")
    saved = work / "made.tar"
    build = prepared(step, beneath, work, name)
    (build.context / "Dockerfile").write_text(dockerfile(below, step, build))
    say(f"handing what lies beneath to {engine.program}")
    handed = _below(beneath, step, site, below)
    try:
        load = Command((engine.program, "load"), changes=True)
        _checked(site.host.feed(load, lambda out: stream_docker(site.store, handed, out)), site)
        _build(engine, build, site, say, step.name)
        say(f"taking the layer from {engine.program}")
        _checked(site.host.run(Command((engine.program, *engine.save(name, str(saved))), changes=True)), site)
    finally:
        for image in (name, below):
            site.host.run(Command((engine.program, "rmi", "--force", image), changes=True))
    seen = Contents()
    for at, record in enumerate(beneath.layers):
        site.check()
        seen.lay((entry for entry, _ in walk(site.store, record.descriptor)), at)
    skip = {_resolved(seen, path) for path in (*_ENGINES_OWN, *(bind.target for bind in step.binds))}
    with (work / "content").open("w+b") as content:
        return site.write(
            layer,
            lambda out: write_layer(
                out, _stream(saved, len(beneath.layers), content, seen, epoch=site.epoch, skip=skip)
            ),
            step.packages,
        )


def require(engine: Engine, site: Site) -> None:
    """Raise ``Unavailable``, with the next thing to type, when the engine cannot build."""
    for words in engine.asks:
        asked = site.host.run(Command((engine.program, *words)))
        if asked.code:
            said = (asked.stderr or asked.stdout).decode(errors="replace").strip().splitlines() or ["it says nothing"]
            hint = next((hint for word, hint in _HINTS if word in "\n".join((" ".join(words), *said)).lower()), None)
            raise Unavailable(f"{engine.program} cannot build here: {said[-1]}", hint=hint or "use --engine sandbox")


def dockerfile(below: str, step: Step, build: Build) -> str:
    """The Dockerfile: what the user wrote is in a file beside it, so that nothing of it is syntax here.

    No `# syntax=` line: it would need an image from Docker Hub before anything else happens.
    """
    mounts = [
        f"--mount=type=bind,source=.,target={OURS}/step,readonly",
        f"--mount=type=secret,id=environment,target={OURS}/environment,required=true",
    ]
    for at, bind in enumerate(bind for bind in step.binds if bind.target not in HOST_FILES):
        name = f"bind{at}"
        where = f"from={name}" if name in build.contexts else f"source={name}"
        mounts.append(f"--mount=type=bind,{where},target={bind.target},readonly")
    return f"FROM {below}\nRUN {' '.join(mounts)} {json.dumps(['sh', f'{OURS}/step/run'])}\n"


def prepared(step: Step, beneath: Beneath, work: Path, name: str) -> Build:
    """Write what the build reads: the program, the environment, the files that the machine lends."""
    context, secret = work / "context", work / "environment"
    context.mkdir()
    words = shlex.join(("sh", "-c", UMASK, "sh", *step.argv))
    (context / "run").write_text(f'unset {" ".join(_FOREIGN)}\n. {OURS}/environment\nexec "$@" {words}\n')
    secret.touch(0o600)
    secret.write_text(_exports(step.env))
    contexts: dict[str, str] = {}
    for at, bind in enumerate(bind for bind in step.binds if bind.target not in HOST_FILES):
        if Path(bind.source).is_dir():
            contexts[f"bind{at}"] = bind.source
        else:
            shutil.copy(bind.source, context / f"bind{at}")
    lent = any(bind.target == "/etc/hosts" for bind in step.binds)
    hosts = _hosts(Path("/etc/hosts").read_text(errors="replace")) if lent else ()
    network = "host" if step.network else "none"
    return Build(context, secret, name, beneath.platform, network, contexts, hosts)


def _exports(env: Mapping[str, str]) -> str:
    """What the step's shell reads: variables. Those it has no words for, of a base's config, are set by ``env``."""
    named = sorted(env.items())
    lines = [f"export {key}={shlex.quote(value)}" for key, value in named if key.isidentifier() and key.isascii()]
    others = [f"{key}={value}" for key, value in named if not (key.isidentifier() and key.isascii())]
    if others:
        lines.append(shlex.join(("set", "--", "env", "--", *others)))
    return "".join(f"{line}\n" for line in lines)


def _hosts(text: str) -> tuple[str, ...]:
    """The names of a hosts file as ``NAME:ADDRESS``, but for those that every machine has."""
    found = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if address and not address.startswith(("127.", "::1", "fe00:", "ff0")):
            found += [f"{name}:{address}" for name in names]
    return tuple(found)


def _below(beneath: Beneath, step: Step, site: Site, name: str) -> Tagged:
    """An image of the layers beneath; its documents stay in the store until the next prune."""
    system, architecture, *variant = beneath.platform.split("/")
    config = {
        "os": system,
        "architecture": architecture,
        **({"variant": variant[0]} if variant else {}),
        "config": {"Env": [f"PATH={step.env['PATH']}"], "WorkingDir": step.workdir},
        "rootfs": {"type": "layers", "diff_ids": [record.diff_id for record in beneath.layers]},
        "history": [{"created_by": record.title} for record in beneath.layers],
    }
    described = site.store.put(canonical(config), CONFIG)
    layers = tuple(record.descriptor for record in beneath.layers)
    return Tagged(name, site.store.put(Manifest(described, layers).to_bytes(), MANIFEST))


def _checked(done: Result, site: Site) -> None:
    """Raise what went wrong, or ``Stopped`` when the build was to end."""
    site.check()
    done.check()


def _build(engine: Engine, build: Build, site: Site, say: Callable[[str], None], what: str) -> None:
    last: deque[str] = deque(maxlen=12)
    said: deque[str] = deque(maxlen=12)

    def heard(text: str) -> None:
        said.append(text)
        own = engine.line(text)
        if own is not None and own.strip():
            last.append(own.rstrip())
            say(own.strip())

    # from beside its files: a comma in the path of one would end it in the words of a secret
    command = Command((engine.program, *engine.build(build)), cwd=str(build.context.parent), changes=True)
    ended = site.host.stream(command, line=heard)
    if ended.code:
        site.check()
        code = next((int(found[1]) for line in reversed(said) if (found := _ENDED.search(line))), None)
        shown = "".join(f"\n    {line}" for line in (last if code is not None else said))
        why = f"exited with {code}" if code is not None else f"{engine.program} could not build it"
        raise CommandFailed(f"{what}: {why}{shown}", code=ended.code)


def _resolved(seen: Contents, path: str) -> str:
    """Where a mounted path lies in the image."""
    folder, _, name = path.strip("/").rpartition("/")
    return f"{seen.resolve(folder) or folder}/{name}".lstrip("/")


def _stream(
    saved: Path, below: int, content: IO[bytes], seen: Contents, *, epoch: int, skip: set[str]
) -> Iterator[bytes]:
    """The tar stream of the layer on top of ``below`` others; its files pass through ``content``."""
    given: list[tar.Entry] = []
    places: list[int] = []
    with tarfile.open(saved) as archive:
        listed: list[dict[str, Any]] = json.load(_member(archive, "manifest.json"))
        layers = listed[0]["Layers"]
        if len(layers) > below + 1:
            raise WardianError(f"the engine made {len(layers) - below} layers of one step")
        if len(layers) > below:
            for entry, pieces in entries(Source(chunks(_member(archive, layers[-1]), "the step's layer"), layers[-1])):
                given.append(entry)
                places.append(content.tell())
                content.writelines(pieces)
    beneath = {path: placed.entry for path, placed in seen.entries.items()}
    yield from tar.stream(
        (entry, () if at is None else _piece(content, places[at], entry.size))
        for entry, at in recaptured(given, beneath, epoch=epoch, skip=skip)
    )


def _piece(content: IO[bytes], at: int, size: int) -> Iterator[bytes]:
    content.seek(at)
    while size:
        piece = content.read(min(size, _CHUNK))
        size -= len(piece)
        yield piece


def _member(archive: tarfile.TarFile, name: str) -> Any:
    found = archive.extractfile(name)
    if found is None:
        raise WardianError(f"the engine's archive has no {name}")
    return found
