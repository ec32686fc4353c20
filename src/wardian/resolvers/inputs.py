"""What a project asks to be locked, read from its files; and whether the lock on disk still answers it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wardian.errors import Fault, LockStale, SpecError
from wardian.lock.model import Lock
from wardian.lock.requirements import included
from wardian.lock.stale import PYPROJECT, Wants, inputs, reasons, wants
from wardian.spec.matrix import Variant
from wardian.spec.substitute import substitute


def texts(root: Path, variants: Sequence[Variant]) -> dict[str, str]:
    """The files that requirements come from, by path: requirement files, what they include, pyproject.toml.

    Raises ``SpecError`` that names every file that is not there.
    """
    found: dict[str, str] = {}
    faults: list[Fault] = []
    waiting = [(path, f"images.{variant.name}.files") for variant in variants for path in variant.image.files]
    while waiting:
        path, place = waiting.pop(0)
        if path in found:
            continue
        try:
            found[path] = (root / path).read_text(encoding="utf-8")
        except FileNotFoundError:
            faults.append(Fault(place, f"there is no file {path!r} in {root}"))
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(place, f"{path!r} cannot be read: {error}"))
        else:
            waiting += [(other, path) for other in included(path, found[path])]
    if any(variant.image.groups or variant.image.extras or variant.image.project != "none" for variant in variants):
        try:
            found[PYPROJECT] = (root / PYPROJECT).read_text(encoding="utf-8")
        except FileNotFoundError:
            faults.append(
                Fault("images", f"groups, extras and project need a {PYPROJECT}, and there is none in {root}")
            )
    if faults:
        raise SpecError(list(dict.fromkeys(faults)))
    return found


def wanted(variants: Sequence[Variant], read: Mapping[str, str], substitutes: Mapping[str, str]) -> dict[str, Wants]:
    """What each variant asks for, by its id. ``variants``: parents first; ``read``: what ``texts`` returned."""
    found: dict[str, Wants] = {}
    for variant in variants:
        parent = inputs(found[variant.parent]) if variant.parent else None
        found[variant.id] = wants(variant, read, substitute=lambda name: substitute(substitutes, name), parent=parent)
    return found


def pylocks(root: Path, lock: Lock) -> dict[str, str]:
    """The locks of distributions that a lock names, by file name; those that are there."""
    names = {image.pylock for image in lock.images.values() if image.pylock}
    return {
        name: (root / name).read_text(encoding="utf-8", errors="replace")
        for name in sorted(names)
        if (root / name).is_file()
    }


def check(root: Path, lock: Lock, variants: Sequence[Variant], substitutes: Mapping[str, str]) -> list[str]:
    """Why the lock is stale, one line for each reason; none when it is fresh."""
    return reasons(lock, wanted(variants, texts(root, variants), substitutes), pylocks(root, lock))


def require_fresh(root: Path, lock: Lock, variants: Sequence[Variant], substitutes: Mapping[str, str]) -> None:
    """Raise ``LockStale`` with every reason unless the lock is fresh. For verbs that never resolve."""
    if found := check(root, lock, variants, substitutes):
        raise LockStale(found)
