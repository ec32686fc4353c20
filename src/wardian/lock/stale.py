"""Why a lock is stale: what was asked for when it was written, against what is asked for now. Pure.

Everything that resolution reads is a *want*: a named list of strings. What only the build reads (environment, labels,
copied files, run steps) is none, so changing it leaves the lock as it is.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping

from wardian.lock.model import Lock, LockedImage
from wardian.lock.requirements import build_system, closure, of_pyproject
from wardian.spec.matrix import Variant
from wardian.spec.models import Image

FORMAT = 1  # raised when the same wants would lead to another lock
PYPROJECT = "pyproject.toml"
Wants = dict[str, tuple[str, ...]]


def wants(
    variant: Variant, texts: Mapping[str, str], *, substitute: Callable[[str], str | None], parent: str | None
) -> Wants:
    """What a variant asks for, by name. ``texts``: the project's files by path; ``parent``: the parent's inputs.

    A substitute counts when it replaces the base. Mirrors do not: they serve the same files.
    """
    image = variant.image
    found: Wants = {
        "from": (image.from_,) if variant.parent is None else (f"@{variant.parent}",),
        "platform": (image.platform,),
        "python": (image.python,) if image.python else (),
        "apt": tuple(sorted(set(image.apt))),
        "requirements": tuple(sorted(set(map(_bare, image.requirements)))),
        "index": tuple(map(_bare, image.index)),
        "pyproject.toml": _of_pyproject(image, texts),
        "build-system.requires": _of_build_system(image, texts),
        "sdists": tuple(sorted(_sdists(image))),
        "parent": (parent,) if parent else (),
    }
    if variant.parent is None and (replaced := substitute(image.from_)):
        found["substitute"] = (replaced,)
    found |= {
        f"file {path}": (hashlib.sha256(texts.get(path, "").encode()).hexdigest(),)
        for path in closure(image.files, texts)
    }
    return {name: values for name, values in found.items() if values}


def inputs(wanted: Wants) -> str:
    """The SHA-256 of what is asked for."""
    return hashlib.sha256(json.dumps([FORMAT, wanted], sort_keys=True).encode()).hexdigest()


def reasons(lock: Lock, wanted: Mapping[str, Wants], pylocks: Mapping[str, str]) -> list[str]:
    """One line for each thing that differs; none when the lock is fresh. ``pylocks``: text by file name."""
    found = [f"{name} is locked, but no longer an image of the project" for name in lock.images if name not in wanted]
    for name, now in wanted.items():
        if locked := lock.images.get(name):
            found += [f"{name}: {reason}" for reason in (*_changes(locked, now), *_pylock(locked, pylocks))]
        else:
            found.append(f"{name} is not locked yet")
    return found


def differing(before: Mapping[str, tuple[str, ...]], now: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """The names of the wants that are not the same."""
    return frozenset(name for name in before.keys() | now.keys() if before.get(name, ()) != now.get(name, ()))


def _changes(locked: LockedImage, now: Wants) -> Iterator[str]:
    if locked.inputs == inputs(now):
        return
    names = differing(locked.wants, now)
    for name in sorted(names - {"parent"}):
        yield _change(name, locked.wants.get(name, ()), now.get(name, ()))
    if names == {"parent"}:
        yield f"its parent {now['from'][0].removeprefix('@')} changed"
    elif not names:
        yield "the lock was written by another version of Wardian"


def _change(name: str, before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """One input in words: what came and what went."""
    if name.startswith("file "):
        path = name.removeprefix("file ")
        return f"{path} is new" if not before else f"{path} is no longer read" if not after else f"{path} changed"
    if len(before) == len(after) == 1 and name != "requirements":
        return f"{name} changed from {before[0]} to {after[0]}"
    moved = [
        *(f"+{value}" for value in after if value not in before),
        *(f"-{value}" for value in before if value not in after),
    ]
    return f"{name} changed ({', '.join(moved) or 'their order'})"


def _pylock(locked: LockedImage, pylocks: Mapping[str, str]) -> Iterator[str]:
    if locked.pylock is None:
        return
    text = pylocks.get(locked.pylock)
    if text is None:
        yield f"{locked.pylock} is missing"
    elif hashlib.sha256(text.encode()).hexdigest() != locked.pylock_sha256:
        yield f"{locked.pylock} is not the one that was locked"


def _of_pyproject(image: Image, texts: Mapping[str, str]) -> tuple[str, ...]:
    """The requirements that come from pyproject.toml."""
    installed = image.project != "none"
    if not (image.groups or image.extras or installed):
        return ()
    return tuple(
        map(_bare, of_pyproject(texts.get(PYPROJECT, ""), groups=image.groups, extras=image.extras, project=installed))
    )


def _of_build_system(image: Image, texts: Mapping[str, str]) -> tuple[str, ...]:
    """What the project's own wheel is built with."""
    if image.project != "wheel":
        return ()
    return tuple(sorted(set(map(_bare, build_system(texts.get(PYPROJECT, "")).requires))))


def _sdists(image: Image) -> Iterator[str]:
    for name, sdist in image.sdists.items():
        yield json.dumps({"name": name, **sdist.model_dump(mode="json", exclude_defaults=True)}, sort_keys=True)


def _bare(text: str) -> str:
    """Text without the user and password of a URL in it."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)
