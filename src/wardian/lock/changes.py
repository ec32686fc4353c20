"""What moved between two locks, for people and for scripts. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wardian.errors import SpecError
from wardian.lock.model import Lock, LockedImage
from wardian.lock.pylock import pins


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that came, went, or moved. ``before`` and ``after`` are versions or digests; None is absence."""

    image: str
    kind: str  # "image" | "base" | "python" | "package" | "distribution" | "built" | "tool"
    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        why = ", to build the project with" if self.kind == "tool" else ""
        if self.before is None:
            return f"+ {self.name} {self.after}{why}"
        if self.after is None:
            return f"- {self.name} {self.before}{why}"
        return f"  {self.name} {self.before} → {self.after}{why}"


def changes(before: Lock, after: Lock, old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """Everything that differs, image by image. ``old`` and ``new``: the texts of the pylocks by file name."""
    found: list[Change] = []
    for name in dict.fromkeys((*after.images, *before.images)):
        was, now = before.images.get(name), after.images.get(name)
        if was is None or now is None:
            found.append(Change(name, "image", name, *(("locked", None) if now is None else (None, "locked"))))
        empty = LockedImage(inputs="0" * 64)
        found += _image(name, was or empty, now or empty, old, new)
    return found


def summary(found: Sequence[Change], *, limit: int = 12) -> list[str]:
    """Lines for people: counts where everything is new, names where something moved."""
    lines = []
    for image in dict.fromkeys(change.image for change in found):
        own = [change for change in found if change.image == image]
        if any(change.kind == "image" for change in own):
            lines.append(f"{image}: {_counts(own)}" if own[0].after else f"{image}: no longer locked")
            continue
        lines.append(f"{image}:")
        lines += [f"  {change}" for change in own[:limit]]
        if len(own) > limit:
            lines.append(f"    … and {len(own) - limit} more")
    return lines


def _counts(own: Sequence[Change]) -> str:
    words = []
    if base := next((change for change in own if change.kind == "base"), None):
        words.append(f"{base.name} ({base.after})" if (base.after or "").startswith("sha256:") else base.name)
    for kind, one, many in (
        ("package", "package", "packages"),
        ("distribution", "distribution", "distributions"),
        ("built", "built from source", "built from source"),
        ("tool", "to build the project with", "to build the project with"),
    ):
        if count := sum(change.kind == kind for change in own):
            words.append(f"{count} {one if count == 1 else many}")
    return ", ".join(words) or "nothing of its own"


def _image(
    name: str, was: LockedImage, now: LockedImage, old: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[Change]:
    before, after = _base(was), _base(now)
    if before != after:
        yield Change(name, "base", after[0] or before[0], before[1] or None, after[1] or None)
    if was.python != now.python:
        yield Change(name, "python", "python", was.python, now.python)
    earlier, later = _versions(was, old), _versions(now, new)
    for kind, there in earlier.items():
        for one in sorted(there.keys() | later[kind].keys()):
            if there.get(one) != later[kind].get(one):
                yield Change(name, kind, one, there.get(one), later[kind].get(one))


def _base(image: LockedImage) -> tuple[str, str]:
    base = image.base
    if base is None:
        return ("", "")
    return (base.substitute or base.reference, base.digest[:19] if base.digest else f"{len(base.debs)} packages")


def _versions(image: LockedImage, texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Kind → name → version. A lock of distributions that cannot be read (two sides of a merge) has none."""
    try:
        distributions = pins(texts[image.pylock]) if image.pylock and image.pylock in texts else {}
    except SpecError:
        distributions = {}
    return {
        "package": {deb.name: deb.version for deb in (*(image.base.debs if image.base else ()), *image.debs)},
        "distribution": distributions,
        "built": {one.name: one.sha256[:12] for one in image.built},
        "tool": {one.name: one.version for one in image.build},
    }
