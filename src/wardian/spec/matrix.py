"""Images × matrix → variants, each with its placeholders filled and its parent known."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from itertools import product
from typing import Any

from wardian.errors import Fault, SpecError
from wardian.spec.models import Image, Spec
from wardian.spec.paths import text

Axes = tuple[tuple[str, str], ...]
PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z][A-Za-z0-9._-]*)(?::([A-Za-z0-9._-]+))?\}")
# Where nothing but axes is ever filled in, so that braces left over are a mistake.
CLOSED = ("from_", "apt", "requirements", "files", "groups", "extras", "index")


@dataclass(frozen=True, slots=True)
class Variant:
    """One image of the project with one value for each axis. ``image`` has no axis placeholders left."""

    id: str  # "train", or "train[python=3.11,cuda=12.4.1]"
    name: str
    axes: Axes
    parent: str | None  # the id of the variant it stands on; None when it stands on something from outside
    image: Image


def identity(name: str, axes: Axes) -> str:
    """The id of a variant.

    >>> identity("train", (("python", "3.11"), ("cuda", "12.4.1")))
    'train[python=3.11,cuda=12.4.1]'
    """
    return f"{name}[{','.join(f'{axis}={value}' for axis, value in axes)}]" if axes else name


def expand(spec: Spec) -> tuple[Variant, ...]:
    """Every variant of every image, parents first, otherwise in the order of the file. Raises ``SpecError``."""
    variants, faults = expansion(spec.images)
    if faults:
        raise SpecError(faults)
    return variants


def expansion(images: Mapping[str, Image], doubtful: Iterable[str] = ()) -> tuple[tuple[Variant, ...], list[Fault]]:
    """The variants that can be made, and what is wrong. ``doubtful`` images exist but cannot be looked at."""
    unsure = set(doubtful)
    parents, faults = _parents(images, {*images, *unsure})
    order, cycles = _order(images, parents)
    faults += cycles
    made: dict[str, tuple[Variant, ...]] = {}
    for name in order:
        if name not in unsure and all(made.get(parent) for parent in parents[name]):
            made[name], wrong = _variants(name, images[name], made)
            faults += wrong
    return tuple(variant for variants in made.values() for variant in variants), faults


def _parents(images: Mapping[str, Image], declared: set[str]) -> tuple[dict[str, set[str]], list[Fault]]:
    """The images that each image stands on."""
    parents: dict[str, set[str]] = {}
    faults = []
    for name, image in images.items():
        bases = {fill(image.from_, axes) for axes in _own(image)}
        parents[name] = {base[1:] for base in bases if base.startswith("@")}
        faults += [_unknown(name, parent, image, declared) for parent in sorted(parents[name] - declared)]
    return parents, faults


def _unknown(name: str, parent: str, image: Image, declared: set[str]) -> Fault:
    place = text(("images", name, "from"))
    if open_ := PLACEHOLDER.search(parent):
        return Fault(place, f"nothing fills {open_[0]}", hint=f"axes of its own: {', '.join(image.matrix) or 'none'}")
    near = get_close_matches(parent, declared, n=1)
    hint = f"did you mean @{near[0]}?" if near else f"images here: {', '.join(sorted(declared))}"
    return Fault(place, f"there is no image {parent!r}", hint=hint)


def _order(images: Mapping[str, Image], parents: Mapping[str, set[str]]) -> tuple[list[str], list[Fault]]:
    """Image names, parents first; images on a cycle (one fault for each cycle) and what stands on them are left out."""
    left = {name: {parent for parent in parents[name] if parent in images} for name in images}
    faults = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            cycle = list(reversed(error.args[1]))
            first = cycle.index(min(cycle[:-1], key=list(images).index))
            turned = [*cycle[first:-1], *cycle[:first], cycle[first]]
            faults.append(
                Fault(text(("images", turned[0], "from")), "images stand on each other: " + " → ".join(turned))
            )
            for name in cycle:
                left.pop(name, None)
            continue
        break
    order: list[str] = []
    while ready := [name for name in left if name not in order and left[name] <= set(order)]:
        order.append(ready[0])
    return order, faults


def _own(image: Image) -> list[Axes]:
    """Each combination of the image's own axes."""
    return [tuple(zip(image.matrix, values, strict=True)) for values in product(*image.matrix.values())]


def _variants(
    name: str, image: Image, made: Mapping[str, tuple[Variant, ...]]
) -> tuple[tuple[Variant, ...], list[Fault]]:
    """The variants of one image over those of its parents."""
    found: list[tuple[Axes, Variant | None]] = []
    holes: list[tuple[str, Axes]] = []
    for own in _own(image):
        base = fill(image.from_, own)
        if not base.startswith("@"):
            found.append((own, None))
            continue
        beneath = [parent for parent in made[base[1:]] if _agree(parent.axes, own)]
        found += [(own + tuple(axis for axis in parent.axes if axis[0] not in dict(own)), parent) for parent in beneath]
        if not beneath:
            holes.append((base[1:], own))
            found.append((own, None))  # so that what stands on it is looked at too
    faults = _holes(name, holes, made)
    faults += _unfilled(name, image, {axis for axes, _ in found for axis, _ in axes})
    variants = []
    for at, (axes, parent) in enumerate(found):
        whole, wrong = _filled(name, image, axes, parent, first=at == 0)
        faults += [fault for fault in wrong if fault not in faults]
        variants.append(Variant(identity(name, axes), name, axes, parent.id if parent else None, whole))
    return tuple(variants), faults


def _agree(one: Axes, other: Axes) -> bool:
    known = dict(other)
    return all(known.get(axis, value) == value for axis, value in one)


def _holes(name: str, holes: list[tuple[str, Axes]], made: Mapping[str, tuple[Variant, ...]]) -> list[Fault]:
    """One fault for each parent variant, or all of one value, that is asked for and does not exist."""
    faults: dict[str, Fault] = {}
    for parent, own in holes:
        axes: dict[str, dict[str, None]] = {}
        for axis, value in (pair for variant in made[parent] for pair in variant.axes):
            axes.setdefault(axis, {})[value] = None
        shared = tuple((axis, value) for axis, value in own if axis in axes)
        alone: list[Axes] = [((axis, value),) for axis, value in shared if value not in axes[axis]]
        for wanted in alone or [shared]:
            axis, missing = wanted[0][0], identity(parent, wanted)
            there = (
                f"{parent} has {axis} {', '.join(axes[axis])}"
                if alone
                else f"there is {', '.join(one.id for one in made[parent])}"
            )
            message = f"stands on {missing}, which does not exist; {there}"
            hint = f"add it to images.{parent}.matrix" if alone else None
            faults[missing] = Fault(text(("images", name, "matrix")), message, hint=hint)
    return list(faults.values())


def _unfilled(name: str, image: Image, axes: set[str]) -> list[Fault]:
    """Placeholders that no axis fills."""
    faults = []
    for field in CLOSED:
        value = getattr(image, field)
        for at, item in enumerate([value] if isinstance(value, str) else value):
            for found in PLACEHOLDER.finditer(item):
                if found[1] in axes:
                    continue
                place = ("images", name, field.rstrip("_"), *(() if isinstance(value, str) else (at,)))
                known = f"axes here: {', '.join(sorted(axes))}" if axes else "the image has no matrix"
                faults.append(Fault(text(place), f"nothing fills {found[0]}", hint=known))
    return faults


def _filled(name: str, image: Image, axes: Axes, parent: Variant | None, *, first: bool) -> tuple[Image, list[Fault]]:
    """The image with its axes filled in and what it takes over from its parent: Python and platform."""
    data = image.model_dump(by_alias=True, exclude_unset=True, exclude={"matrix", "tags", "python"})
    changed: dict[str, Any] = _fill(data, axes)
    changed["tags"] = [fill(tag, axes) for tag in _tags(image, axes, first=first)]
    faults = []
    inherited = parent.image.python if parent else None
    python = dict(axes).get("python") or image.python or inherited
    if inherited and python != inherited and parent:
        faults.append(_other(name, "python", f"Python {inherited}", parent))
    if python:
        changed["python"] = python
    if parent and "platform" not in image.model_fields_set:
        changed["platform"] = parent.image.platform
    elif parent and image.platform != parent.image.platform:
        faults.append(_other(name, "platform", parent.image.platform, parent))
    return Image.model_validate(changed), faults


def _other(name: str, key: str, what: str, parent: Variant) -> Fault:
    return Fault(text(("images", name, key)), f"differs from {parent.id}, on which it stands: that one has {what}")


def _tags(image: Image, axes: Axes, *, first: bool) -> list[str]:
    """The tag templates of one variant: a tag without any placeholder belongs to the first variant alone.

    An image with axes and no tags gets one made of them, ``python3.11-cuda12.4.1``.
    """
    tags = list(image.tags)
    if axes and "tags" not in image.model_fields_set:
        tags = ["-".join(f"{axis}{{{axis}}}" for axis, _ in axes), *tags]
    return [tag for tag in tags if first or PLACEHOLDER.search(tag)]


def may_be(tag: str, template: str) -> bool:
    """Whether a tag is what a template becomes, whatever fills the placeholders that it still has.

    >>> may_be("torch2.4.0-cpu", "torch{version:torch}"), may_be("latest", "v{python}")
    (True, False)
    """
    parts = PLACEHOLDER.sub("\0", template).split("\0")
    return re.fullmatch("[A-Za-z0-9_.-]+".join(map(re.escape, parts)), tag) is not None


def fill(template: str, axes: Axes) -> str:
    """Replace ``{axis}``, ``{axis:nodot}`` (``1241``), ``{axis:cu}`` (``cu124``). Other braces and ``${axis}`` stay.

    >>> fill("https://download.pytorch.org/whl/{cuda:cu}/{other}/${cuda}", (("cuda", "12.4.1"),))
    'https://download.pytorch.org/whl/cu124/{other}/${cuda}'
    """
    known = dict(axes)

    def value(found: re.Match[str]) -> str:
        axis = known.get(found[1])
        if axis is None:
            return found[0]
        if found[2] is None:
            return axis
        if found[2] == "nodot":
            return axis.replace(".", "")
        return "cu" + "".join(axis.split(".")[:2]) if found[2] == "cu" else found[0]

    return PLACEHOLDER.sub(value, template)


def _fill(data: Any, axes: Axes) -> Any:
    if isinstance(data, str):
        return fill(data, axes)
    if isinstance(data, dict):
        return {key: _fill(value, axes) for key, value in data.items()}
    return [_fill(value, axes) for value in data] if isinstance(data, list | tuple) else data


def select(variants: Sequence[Variant], names: Sequence[str]) -> tuple[Variant, ...]:
    """The variants that names mean, in build order: ``train`` is all of them, ``train[python=3.11]`` those.

    No names: all. Raises ``SpecError`` for one that means nothing.
    """
    faults = []
    chosen: set[str] = set()
    for name in names:
        image, _, rest = name.partition("[")
        wanted = tuple(_pair(part) for part in rest.removesuffix("]").split(",") if part)
        found = [v.id for v in variants if v.name == image and set(wanted) <= set(v.axes)]
        chosen.update(found)
        if not found:
            near = get_close_matches(name, [v.name for v in variants] + [v.id for v in variants], n=1)
            there = ", ".join(dict.fromkeys(v.id if v.name == image else v.name for v in variants))
            hint = f"did you mean {near[0]}?" if near else f"there is: {there}"
            faults.append(Fault("", f"there is no image {name!r}", hint=hint))
    if faults:
        raise SpecError(faults)
    return tuple(variant for variant in variants if variant.id in chosen or not names)


def _pair(part: str) -> tuple[str, str]:
    axis, _, value = part.partition("=")
    return axis.strip(), value.strip()


def closure(variants: Sequence[Variant], chosen: Iterable[Variant]) -> tuple[Variant, ...]:
    """The chosen variants and everything they stand on, in build order."""
    by_id = {variant.id: variant for variant in variants}
    needed: set[str] = set()
    for variant in chosen:
        at: Variant | None = variant
        while at and at.id not in needed:
            needed.add(at.id)
            at = by_id.get(at.parent) if at.parent else None
    return tuple(variant for variant in variants if variant.id in needed)
