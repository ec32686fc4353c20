"""System steps in the sandbox: what they write over the layers beneath is a layer.

No daemon: an overlay whose upper folder is on disk, in a namespace where we are uid 0 (see ``hosts.sandbox``).
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wardian.builders import steps
from wardian.builders.base import Beneath, Site
from wardian.builders.execute import perform, root
from wardian.command import Result
from wardian.errors import CommandFailed
from wardian.hosts.rootfs import Tree
from wardian.hosts.sandbox import Namespace, Sandbox, command, folder
from wardian.oci.gzip import write_layer
from wardian.plan.layers import Apt, RunStep
from wardian.store.store import LayerRecord

_CHUNK = 1 << 20


def apt(layer: Apt, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """Install exactly these packages."""
    return steps.apt(layer, beneath, site, say, execute)


def run(layer: RunStep, beneath: Beneath, site: Site, say: Callable[[str], None]) -> LayerRecord:
    """Execute one shell line."""
    return steps.run(layer, beneath, site, say, execute)


def execute(
    layer: Apt | RunStep, step: steps.Step, beneath: Beneath, site: Site, *, work: Path, say: Callable[[str], None]
) -> LayerRecord:
    """Run a step; what it changed is the layer. Raises ``CommandFailed`` with its last lines; nothing is kept then."""
    inside = site.owners("`apt` and `run` steps need")
    say("unpacking what lies beneath")
    lowers = root(site.store, site.host, inside, beneath.layers)
    upper = work / "upper"
    site.host.run(inside.command("sh", "-c", _FOLDERS, "sh", str(work))).check()
    with folder(lowers, upper=str(upper), work=str(work / "work")) as run_dir:
        sandbox = Sandbox(
            lowers=lowers,
            run_dir=run_dir,
            argv=("sh", "-c", steps.UMASK, "sh", *step.argv),
            env=step.env,
            workdir=step.workdir,
            folders=((step.workdir, 0o755),) if step.workdir != "/" else (),
            upper=str(upper),
            work=str(work / "work"),
            binds=step.binds,
            network=step.network,
        )
        perform(command(sandbox, inside), site, say, step.name)
    site.check()
    skip = [Tree(lowers).resolve(bind.target).lstrip("/") for bind in step.binds]
    return site.write(layer, lambda out: write_layer(out, captured(upper, lowers, inside, site, skip)), step.packages)


_FOLDERS = 'umask 022 && mkdir "$1/upper" "$1/work"'  # made inside, so that their owner there is root


def captured(upper: Path, lowers: Sequence[str], inside: Namespace, site: Site, skip: Sequence[str]) -> Iterator[bytes]:
    """The tar stream of an upper folder, read by a program inside the namespace that owns it."""
    program = (sys.executable, "-P", "-m", "wardian.builders.capture", str(upper), "--epoch", str(site.epoch))
    options = [word for path in skip for word in ("--skip", path)]
    options += [word for lower in lowers for word in ("--lower", lower)]
    reading, writing = os.pipe()
    results: list[Result] = []

    def feed() -> None:
        with os.fdopen(writing, "wb") as out:
            results.append(site.host.pipe(inside.command(*program, *options), stdout=out))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with os.fdopen(reading, "rb") as stream:
            while piece := stream.read(_CHUNK):
                yield piece
    finally:
        feeder.join()
    if not results:
        raise CommandFailed("the changes of a step could not be read", code=1)
    results[0].check()
