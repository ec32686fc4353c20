"""``[mounts]`` → binds: sources made absolute, ``@site-packages`` looked up in what is known of the image. Pure."""

import posixpath
from collections.abc import Collection, Mapping
from typing import Any

from wardian.errors import Fault, SpecError
from wardian.plan.containers import Bind
from wardian.plan.labels import OURS
from wardian.spec.models import Mount

SITE = "@site-packages/"
Sites = Mapping[str, Collection[str]]  # each folder of installed packages in an image → the names in it


def binds(mounts: Mapping[str, Mount], config: Mapping[str, Any], sites: Sites, *, root: str, home: str) -> list[Bind]:
    """The mounts that are on. Raises ``SpecError`` with each that cannot be, or that is where another one is."""
    faults: list[Fault] = []
    taken: dict[str, str] = {}
    found = []
    for name, one in mounts.items():
        if not one.on:
            continue
        try:
            bound = bind(name, one, config, sites, root=root, home=home)
        except SpecError as error:
            faults += error.faults
            continue
        other = taken.setdefault(bound.target, name)
        if other != name:
            hint = f"type: wardian mount disable {name}"
            faults.append(Fault(f"mounts.{name}", f"is at {bound.target}, and so is {other}", hint=hint))
        found.append(bound)
    if faults:
        raise SpecError(faults)
    return found


def bind(name: str, mount: Mount, config: Mapping[str, Any], sites: Sites, *, root: str, home: str) -> Bind:
    """One mount as a bind, whether it is on or not. Raises ``SpecError``."""
    if mount.source is None:
        raise SpecError([Fault(f"mounts.{name}", "has no source", hint=f"type: wardian mount set {name} PATH")])
    try:
        place = target(mount.target, config, sites)
    except SpecError as error:
        raise SpecError([Fault(f"mounts.{name}", one.message, hint=one.hint) for one in error.faults]) from None
    return Bind(absolute(mount.source, root, home), place, mount.read_only)


def absolute(source: str, root: str, home: str) -> str:
    """A source as an absolute path: relative ones start at ``root``, ``~`` is the caller's home.

    >>> absolute("../data/", "/home/anna/project", "/home/anna")
    '/home/anna/data'
    """
    if source == "~" or source.startswith("~/"):
        source = home + source[1:]
    return posixpath.normpath(posixpath.join(root, source))


def target(written: str, config: Mapping[str, Any], sites: Sites) -> str:
    """Where a target is in an image. Raises ``SpecError`` where the image has no place for packages."""
    package = package_of(written)
    if package is None:
        return posixpath.normpath(written).replace("//", "/", 1)
    folder = site(config) or _fitting(config, sites, package.partition("/")[0])
    if folder is None:
        hint = "give the package's absolute path in the image"
        raise SpecError([Fault("", "the image has no folder of Python packages", hint=hint)])
    return f"{folder}/{package}"


def package_of(written: str) -> str | None:
    """The package that a target names; None for a path. Raises ``SpecError`` for one that leads out of the packages.

    >>> package_of("@site-packages/rsl_rl/")
    'rsl_rl'
    """
    if not written.startswith(SITE):
        return None
    package = posixpath.normpath(written.removeprefix(SITE))
    if package.startswith(("../", "/")) or package in {"..", "."}:
        raise SpecError([Fault("", f"{written!r} leads out of the packages", hint="give an absolute path")])
    return package


def site(config: Mapping[str, Any]) -> str | None:
    """The packages of the virtual environment that Wardian made, as config and labels tell; None when there is none."""
    python = (config.get("Labels") or {}).get(f"{OURS}python")
    prefix = _environment(config).get("VIRTUAL_ENV")
    return f"{prefix}/lib/python{python}/site-packages" if python and prefix else None


def unknown(mounts: Mapping[str, Mount], config: Mapping[str, Any]) -> bool:
    """Whether a mount that is on needs more of the image than its config: which folders of packages it has."""
    return site(config) is None and any(one.on and one.target.startswith(SITE) for one in mounts.values())


def _fitting(config: Mapping[str, Any], sites: Sites, package: str) -> str | None:
    """Of several folders those that hold the package, of these the one whose interpreter comes first on PATH."""
    holding = [folder for folder in sites if {package, f"{package}.py"} & set(sites[folder])] or list(sites)
    programs = _environment(config).get("PATH", "").split(":")

    def rank(folder: str) -> tuple[int, int, str]:
        prefix = folder.rpartition("/lib")[0] or "/"
        bin_ = posixpath.join(prefix, "bin")
        at = programs.index(bin_) if bin_ in programs else len(programs)
        return at, folder.endswith("/dist-packages"), folder

    return min(holding, key=rank, default=None)


def _environment(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in config.get("Env") or ())
