"""A build backend at work: a source tree → its wheel, or its metadata. Inside an image's layers, without a network.

Its environment is made of locked wheels alone, at fixed paths and times, and a wheel is packed again in a fixed order
without compression: another machine gets the same bytes, or says that it did not. Nothing of the caller is in reach of
what runs here: no home, no variable, no index or its credentials.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wardian.builders.base import Site
from wardian.builders.execute import PATH, perform, root
from wardian.builders.uv import program
from wardian.errors import WardianError
from wardian.hosts.sandbox import Sandbox, command, folder
from wardian.lock.pylock import normalised
from wardian.lock.requirements import BuildSystem
from wardian.plan.containers import Bind
from wardian.store.store import LayerRecord

BUILD = "/build"  # where everything of a build lies, on every machine: paths end up in compiled files
_ENVIRONMENT = r"""
set -e
umask 022
uv venv --quiet --python "$1" /build/env
if [ -n "$(ls /build/wheels)" ]; then
  uv pip install --quiet --no-deps --no-index --python /build/env/bin/python /build/wheels/*.whl
fi
cd /build/source
"""
_WHEEL = _ENVIRONMENT + (
    "exec uv build --wheel --no-build-isolation --python /build/env/bin/python --out-dir /build/dist /build/source"
)
_METADATA = _ENVIRONMENT + 'shift; exec /build/env/bin/python -c "$@"'
# The hook is optional: a backend without it tells its metadata in a wheel. Source: PEP 517.
_HOOK = r"""
import glob, importlib, os, sys, zipfile
sys.path[:1] = [os.path.abspath(path) for path in sys.argv[2:]]
module, _, inner = sys.argv[1].partition(":")
backend = importlib.import_module(module)
for name in filter(None, inner.split(".")):
    backend = getattr(backend, name)
os.makedirs("/build/dist")
if hasattr(backend, "prepare_metadata_for_build_wheel"):
    backend.prepare_metadata_for_build_wheel("/build/dist")
else:
    made = os.path.join("/build/dist", backend.build_wheel("/build/dist"))
    with zipfile.ZipFile(made) as wheel:
        wheel.extractall("/build/dist", [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")])
(found,) = glob.glob("/build/dist/*.dist-info/METADATA")
os.replace(found, "/build/METADATA")
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """A source tree that is built, as messages name it, and the Python of the image that does it."""

    name: str  # of the distribution, normalised
    version: str  # "" when only the backend knows it
    interpreter: str  # in the image
    failed: str  # what a failure is called: "delta 1.0 cannot be built from its source distribution"
    hint: str  # what its author, or who asked for it, can do then
    env: Mapping[str, str] = field(default_factory=dict)


def wheel(
    tree: Tree,
    tools: Sequence[Path],
    layers: Sequence[LayerRecord],
    *,
    work: Path,
    site: Site,
    say: Callable[[str], None],
) -> Path:
    """Build the wheel of what ``work/build/source`` holds, with ``tools`` (wheels) over ``layers``; packed again.

    Raises ``CommandFailed`` with the last lines of a build that failed.
    """
    argv = ("sh", "-c", _WHEEL, "sh", tree.interpreter)
    _run(tree, argv, tools, layers, work=work, site=site, say=say)
    made = sorted((work / "build" / "dist").glob("*.whl"))
    if len(made) != 1 or not _inside(made[0], work):
        raise WardianError(f"building {tree.name} made {len(made)} wheels, not one of its own")
    _named_rightly(made[0].name, tree)
    packed = work / made[0].name
    repack(made[0], packed)
    return packed


def metadata(
    tree: Tree,
    system: BuildSystem,
    tools: Sequence[Path],
    layers: Sequence[LayerRecord],
    *,
    work: Path,
    site: Site,
    say: Callable[[str], None],
) -> str:
    """The METADATA that the build backend of what ``work/build/source`` holds gives."""
    argv = ("sh", "-c", _METADATA, "sh", tree.interpreter, _HOOK, system.backend, *system.path)
    _run(tree, argv, tools, layers, work=work, site=site, say=say)
    path = work / "build" / "METADATA"
    if not _inside(path, work):
        raise WardianError(f"the build backend of {tree.name} leaves no metadata")
    return path.read_text(encoding="utf-8", errors="replace")


def repack(made: Path, target: Path) -> None:
    """The wheel with its files in one order, of one time, with modes 644 or 755, stored as they are."""
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        files = [member for member in old.infolist() if not member.is_dir()]
        for member in sorted(files, key=lambda one: (".dist-info/" in one.filename, one.filename)):
            plain = zipfile.ZipInfo(member.filename)
            runs = (member.external_attr >> 16) & 0o111 != 0
            plain.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
            with old.open(member) as source, new.open(plain, "w", force_zip64=member.file_size >= 1 << 31) as out:
                while chunk := source.read(1 << 20):
                    out.write(chunk)


def _inside(path: Path, work: Path) -> bool:
    """Whether what a build left is a file of its own: a symbolic link could lead to any file of the caller."""
    return path.is_file() and path.resolve().is_relative_to((work / "build").resolve())


def _run(
    tree: Tree,
    argv: tuple[str, ...],
    tools: Sequence[Path],
    layers: Sequence[LayerRecord],
    *,
    work: Path,
    site: Site,
    say: Callable[[str], None],
) -> None:
    work.chmod(0o755)
    for name in ("build/home", "build/tmp", "wheels"):
        (work / name).mkdir(parents=True)
    for tool in tools:
        os.link(tool, work / "wheels" / tool.name)
    inside = site.namespace()
    say("unpacking what lies beneath")
    lowers = root(site.store, site.host, inside, layers)
    binds = (
        Bind(str(work / "build"), BUILD),
        Bind(str(work / "wheels"), f"{BUILD}/wheels", read_only=True),
        Bind(program(), f"{BUILD}/bin/uv", read_only=True),
    )
    env = {
        "PATH": f"{BUILD}/env/bin:{BUILD}/bin:{PATH}",
        "HOME": f"{BUILD}/home",
        "TMPDIR": f"{BUILD}/tmp",  # noqa: S108 - inside the sandbox
        "VIRTUAL_ENV": f"{BUILD}/env",
        "UV_CACHE_DIR": f"{BUILD}/cache",
        **dict.fromkeys(("UV_OFFLINE", "UV_NO_CONFIG", "UV_NO_PROGRESS", "PIP_NO_INDEX", "NO_COLOR"), "1"),
        "UV_PYTHON_DOWNLOADS": "never",
        "SOURCE_DATE_EPOCH": str(site.epoch),
        "LDFLAGS": "-Wl,--strip-debug",  # gcc does not write the same debug information each time
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **tree.env,
    }
    with folder(lowers) as run_dir:
        sandbox = Sandbox(lowers=lowers, run_dir=run_dir, argv=argv, env=env, workdir=BUILD, binds=binds, network=False)
        perform(command(sandbox, inside), site, say, tree.failed, tree.hint)


def _named_rightly(filename: str, tree: Tree) -> None:
    name, version = filename.split("-")[:2]
    same = not tree.version or version.replace("_", "-") == tree.version.replace("_", "-")
    if normalised(name) != tree.name or not same:
        raise WardianError(f"building {tree.name} {tree.version} made {filename}, which is something else")
