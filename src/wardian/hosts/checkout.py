"""Finds the importable package in a checkout: what must lie over the installed one, and not the checkout itself."""

import os
from pathlib import Path

from wardian.errors import Fault, SpecError

INITS = ("__init__.py", "__init__.pyi")
LAYOUTS = ("{0}", "src/{0}", "source/{0}", "source/*/{0}", "python/{0}", "lib/{0}")  # Isaac Lab: source/DIST/PACKAGE


def package(path: Path, name: str) -> Path:
    """The package or module ``name`` ("rsl_rl", "google/cloud", "six.py") at or in ``path``.

    A folder that is a package is taken as it is. A folder without ``__init__`` that holds modules is a namespace
    package (PEP 420). Raises ``SpecError`` when there is none, or more than one.
    """
    if path.is_file():
        if path.suffix in {".py", ".so"} and Path(name).suffix == path.suffix:
            return path
        raise _fault(f"{path} is a file, and {name} is a package", f"give the folder that holds {name}")
    last = Path(name).name
    if path.name == last and _is_package(path):
        return path
    found = [one for layout in LAYOUTS for one in sorted(path.glob(layout.format(_literal(name))))]
    for good in (_is_package, _has_modules):
        if hits := [one for one in dict.fromkeys(found) if one.is_file() or (one.is_dir() and good(one))]:
            if len(hits) > 1:
                listed = ", ".join(str(hit) for hit in hits)
                raise _fault(f"{path} holds {name} more than once: {listed}", "give the one that is meant")
            return hits[0]
    if _is_package(path) or (path.name == last and _has_modules(path)):
        return path
    raise _fault(
        f"{path} holds no package {name}",
        f"looked for {name}, src/{name} and source/*/{name}; give the folder that holds its modules",
    )


def is_namespace(path: Path) -> bool:
    """Whether a folder is a package without ``__init__``."""
    return path.is_dir() and not _is_package(path)


def unusable(path: Path) -> str | None:
    """Why a source cannot be mounted; None when it can."""
    try:
        if not os.path.lexists(path):
            return "does not exist on this machine"
        if not path.exists():
            return f"is a symbolic link to {os.readlink(path)}, which does not exist"  # noqa: PTH115 - as it is written
        if not (path.is_dir() or path.is_file() or path.is_socket()):
            return "is neither a file nor a folder"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    except ValueError:
        return "is no path: it has a NUL in it"
    wanted = os.R_OK | (os.X_OK if path.is_dir() else 0)
    if path.is_socket() or os.access(path, wanted):
        return None
    return f"cannot be read by you: it belongs to uid {path.stat().st_uid}"


def _is_package(path: Path) -> bool:
    return any((path / name).is_file() for name in INITS) or any(path.glob("__init__.*.so"))


def _has_modules(path: Path) -> bool:
    """Whether modules or packages lie right in a folder; a project with src/ or setup.py is none of a package."""
    if any((path / name).exists() for name in ("pyproject.toml", "setup.py", ".git")):
        return False
    return any(one.suffix in {".py", ".so"} or _is_package(one) for one in path.iterdir())


def _literal(name: str) -> str:
    """A name with nothing in it that a glob understands."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _fault(message: str, hint: str) -> SpecError:
    return SpecError([Fault("", message, hint=hint)])
