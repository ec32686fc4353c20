"""Which image of the store is meant by what somebody typed."""

import re
from collections.abc import Collection
from difflib import get_close_matches

from wardian.errors import WardianError
from wardian.oci.model import INDEXES
from wardian.store.store import Store, Tagged

_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")


def find(store: Store, name: str, repository: str | None = None, declared: Collection[str] = ()) -> Tagged:
    """The image with a reference, a digest (or six digits of it), or, in a project, an image's name or ``name:tag``.

    ``repository`` is what the project's references start with, ``declared`` are the names of its images. A name with
    several tags means ``latest``, or the only image there is. Raises ``WardianError`` that lists what could have been
    meant.
    """
    tagged = store.references()
    found = _by_reference(store, name, tagged) or _by_digest(name, tagged) or _by_name(name, tagged, repository)
    if found is None:
        raise _unknown(name, tagged, repository, declared)
    if found.descriptor.media_type in INDEXES:
        raise WardianError(f"{found.reference} is an index of several platforms, not one image")
    return found


def _by_reference(store: Store, name: str, tagged: list[Tagged]) -> Tagged | None:
    descriptor = store.resolve(name)
    if descriptor is None:
        return None
    same = [entry for entry in tagged if entry.descriptor.digest == descriptor.digest]
    return next((entry for entry in same if entry.reference == name), same[0] if same else Tagged(name, descriptor))


def _by_digest(name: str, tagged: list[Tagged]) -> Tagged | None:
    match = _HEX.fullmatch(name)
    return (
        _one(name, [entry for entry in tagged if entry.descriptor.digest[7:].startswith(match[1])]) if match else None
    )


def _by_name(name: str, tagged: list[Tagged], repository: str | None) -> Tagged | None:
    """In the project first; elsewhere by the last part of the repository. Without a tag, any tag will do."""

    def means(said: str) -> bool:
        return said == name if ":" in name else said.startswith(f"{name}:")

    own = [one for one in tagged if means(one.reference.removeprefix(f"{repository}/"))] if repository else []
    return _one(name, own or [one for one in tagged if means(one.reference.rpartition("/")[2])])


def _one(name: str, found: list[Tagged]) -> Tagged | None:
    if len({entry.descriptor.digest for entry in found}) <= 1:
        return found[0] if found else None
    newest = [entry for entry in found if entry.reference.endswith(":latest")]
    if len(newest) == 1:
        return newest[0]
    raise WardianError(
        f"{name!r} may be any of: {', '.join(entry.reference for entry in found)}", hint="type one of them"
    )


def _unknown(name: str, tagged: list[Tagged], repository: str | None, declared: Collection[str]) -> WardianError:
    """The error for a name that nothing has, with the one that was probably meant: of this project, if it has one."""
    every = [entry.reference for entry in tagged]
    own = [reference for reference in every if repository and reference.startswith(f"{repository}/")]
    image = name.partition(":")[0]
    hint = "type: wardian images"
    if tags := [reference for reference in own if reference.startswith(f"{repository}/{image}:")]:
        hint = f"there is {', '.join(tags)}"
    elif image in declared:
        hint = f"type: wardian build {image}"
    elif near := _near(name, own, declared) or _near(name, every, ()):
        hint = f"did you mean {near}?"
    return WardianError(f"there is no image {name!r} in the store", hint=hint)


def _near(name: str, references: list[str], names: Collection[str]) -> str | None:
    known = {reference.rpartition("/")[2]: reference for reference in references}
    known |= {reference: reference for reference in references} | {image: image for image in names}
    found = get_close_matches(name, known, n=1)
    return known[found[0]] if found else None
