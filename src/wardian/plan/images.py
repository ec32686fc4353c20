"""Spec and lock → the layers of every image, each with the key under which its result is remembered.

A key is the digest of everything that decides the layer's bytes. Two images that share a key share the layer; a layer
whose key is known is never made again. Wheel layers do not depend on what lies beneath them, system steps do.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from wardian.errors import SpecError, WardianError
from wardian.lock.model import Deb, Lock, LockedImage
from wardian.lock.pylock import GLIBC, Target
from wardian.lock.wheel import Wheel
from wardian.plan import bins, labels, tags
from wardian.plan.config import PREFIX, Config, configured
from wardian.plan.keys import EPOCH, key
from wardian.plan.layers import (
    Apt,
    BaseLayers,
    Bootstrap,
    Building,
    Code,
    Entry,
    Environment,
    Files,
    Layer,
    ProjectCode,
    Pylock,
    RunStep,
    Wheels,
)
from wardian.spec.matrix import Variant

__all__ = ["Content", "ImagePlan", "Layer", "Wheel", "plan"]


@dataclass(frozen=True, slots=True)
class Content:
    """What the planner is told of one variant that stands in files beside spec and lock."""

    pylock: str = ""
    wheels: tuple[Wheel, ...] = ()  # the whole closure, also what the parent has
    copies: tuple[tuple[str, tuple[Entry, ...]], ...] = ()  # (title, entries) of each ``copy``
    code: Code | None = None  # when ``project`` is wheel or editable
    ca: Entry | None = None  # when ``ca`` is set: the bundle, at config.CA_BUNDLE
    revision: str | None = None  # of the project's repository
    glibc: int = GLIBC  # N of the glibc 2.N that the lock is for


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image variant: its layers from the bottom up (the parent's included), its config, the names it gets."""

    id: str
    name: str
    parent: str | None
    platform: str
    layers: tuple[Layer, ...]
    config: Config
    labels: Mapping[str, str]
    references: tuple[str, ...]
    epoch: int
    key: str  # over all layers, config and labels: the same key means the same manifest
    wheels: tuple[Wheel, ...] = ()  # everything installed, the parent's included
    debs: tuple[Deb, ...] = ()  # every locked package, the parent's included
    pylock: str = ""


@dataclass(frozen=True, slots=True)
class _Draft:
    """An image whose tags are not known yet; what its children inherit."""

    variant: Variant
    locked: LockedImage
    layers: tuple[Layer, ...]
    config: Config
    wheels: tuple[Wheel, ...]
    debs: tuple[Deb, ...]
    python: str | None
    interpreter: str | None
    pylock: str
    reference: str  # of the base at the bottom
    base_digest: str | None
    revision: str | None
    ours: int  # layers that count against bins.LAYERS
    system: tuple[Layer, ...]  # packages alone: what wheels are built over


def plan(
    repository: str,
    variants: Sequence[Variant],
    lock: Lock,
    contents: Mapping[str, Content],
    *,
    epoch: int = EPOCH,
) -> tuple[ImagePlan, ...]:
    """Plan variants, which come with the ones they stand on, parents first. References start with ``repository``.

    Raises ``WardianError`` when an image cannot be made of the lock: too many layers, or a version that contradicts
    the parent's.
    """
    drafts: dict[str, _Draft] = {}
    for variant in variants:
        if variant.id not in lock.images:
            raise WardianError(f"image {variant.id} is not in the lock", hint="type: wardian lock")
        parent = drafts[variant.parent] if variant.parent else None
        content = contents.get(variant.id, Content())
        drafts[variant.id] = _draft(variant, lock.images[variant.id], parent, content, epoch)
    named = tags.assign([_wish(draft) for draft in drafts.values()])
    return tuple(_finish(repository, draft, named[draft.variant.id], epoch) for draft in drafts.values())


def system(bottom: Variant, entries: Sequence[LockedImage], extra: Sequence[Deb], epoch: int) -> tuple[Layer, ...]:
    """The layers of packages alone that a chain of images, the bottom one first, stands on; ``extra`` on top of them.

    Over an image without a parent they are its own layers; a source distribution is built in them.
    """
    found = _bottom(bottom, entries[0], epoch)
    for debs in (*(entry.debs for entry in entries), tuple(extra)):
        found = _with_packages(found, debs, epoch)
    return found


def _draft(variant: Variant, locked: LockedImage, parent: _Draft | None, content: Content, epoch: int) -> _Draft:
    bottom = () if parent else _bottom(variant, locked, epoch)
    layers = _Stack(parent.layers if parent else bottom, epoch)
    alone = _with_packages(parent.system if parent else bottom, locked.debs, epoch)
    image = variant.image
    if locked.debs:
        layers.add(_with_packages(tuple(layers.all), locked.debs, epoch)[-1])
    if content.ca:
        layers.add(_files("CA bundle", (content.ca,), epoch))
    python = locked.python or (parent.python if parent else None)
    interpreter = locked.interpreter or (parent.interpreter if parent else None)
    own = _own_wheels(variant, locked, parent, content.wheels)
    if python and interpreter and _needs_environment(parent, python):
        layers.add(_environment(python, interpreter, epoch))
    config = configured(
        variant.image,
        parent.config if parent else Config(),
        has_python=bool(python and interpreter),
        has_ca=content.ca is not None,
    )
    pylock = content.pylock if python and interpreter and content.pylock != (parent.pylock if parent else "") else ""
    after = bool(pylock) + len(image.run) + len(content.copies) + (content.code is not None)
    ours = parent.ours if parent else 0
    made = ours + layers.added + after
    if made > bins.LAYERS:
        raise WardianError(
            f"image {variant.id} would have {made} layers of its own; at most {bins.LAYERS} are possible",
            hint=f"join some of the lines of images.{variant.name}.run, or some of its copy entries",
        )
    for title, group in _grouped(variant, own, bins.LAYERS - made):
        layers.add(_wheels(title, group, python or "", epoch))
    if pylock:
        layers.add(Pylock(key("pylock", epoch, prefix=PREFIX, text=pylock), PREFIX, pylock))
    for at, line in enumerate(image.run, start=1):
        layers.add(_run(line, config, at, layers))
    for title, entries in content.copies:
        layers.add(_files(title, entries, epoch))
    if content.code is not None:
        target = Target(python or "", image.platform, content.glibc)
        building = Building(alone, interpreter or "", _tools(locked), target)
        layers.add(_project(variant, content.code, config, building, epoch))
    base = locked.base
    return _Draft(
        variant=variant,
        locked=locked,
        layers=tuple(layers.all),
        config=config,
        wheels=(*(parent.wheels if parent else ()), *own),
        debs=(*(parent.debs if parent else base.debs if base else ()), *locked.debs),
        python=python,
        interpreter=interpreter,
        pylock=content.pylock or (parent.pylock if parent else ""),
        reference=parent.reference if parent else (base.substitute or base.reference) if base else "",
        base_digest=parent.base_digest if parent else base.digest if base else None,
        revision=content.revision if content.code or content.copies else parent.revision if parent else None,
        ours=ours + layers.added,
        system=alone,
    )


class _Stack:
    """Layers from the bottom up while an image is drafted."""

    def __init__(self, beneath: Sequence[Layer], epoch: int) -> None:
        self.all: list[Layer] = list(beneath)
        self.added = 0
        self.epoch = epoch

    def add(self, layer: Layer) -> None:
        """Put a layer on top."""
        self.all.append(layer)
        self.added += 1

    @property
    def keys(self) -> list[str]:
        """What a system step depends on: every layer beneath, in order."""
        return [layer.key for layer in self.all]


def _bottom(variant: Variant, locked: LockedImage, epoch: int) -> tuple[Layer, ...]:
    base = locked.base
    if base is None:
        raise WardianError(f"the lock has no base for image {variant.id}", hint="type: wardian lock")
    if base.digest is not None:
        return (BaseLayers(key("base", 0, digest=base.digest), base, variant.image.platform),)
    platform, reference = variant.image.platform, base.substitute or base.reference
    made = key("bootstrap", epoch, suite=reference, platform=platform, debs=_hashes(base.debs))
    return (Bootstrap(made, reference, platform, base.debs),)


def _hashes(debs: Sequence[Deb]) -> list[str]:
    """A package is its bytes: its address may change."""
    return sorted(f"{deb.name}={deb.version}:{deb.architecture}@{deb.sha256}" for deb in debs)


def _with_packages(beneath: tuple[Layer, ...], debs: tuple[Deb, ...], epoch: int) -> tuple[Layer, ...]:
    """Layers, and the one of these packages on top of them, if there are any."""
    if not debs:
        return beneath
    made = key("apt", epoch, debs=_hashes(debs), beneath=[layer.key for layer in beneath])
    return (*beneath, Apt(made, debs))


def _own_wheels(
    variant: Variant, locked: LockedImage, parent: _Draft | None, closure: Sequence[Wheel]
) -> tuple[Wheel, ...]:
    """The wheels that the layers beneath do not have. One that they have in another version is an error."""
    inherited = dict(pin.split("==", 1) for pin in locked.inherited)
    beneath = inherited | ({wheel.name: wheel.version for wheel in parent.wheels} if parent else {})
    where = f"@{parent.variant.id}" if parent else "the base"
    for wheel in closure:
        if beneath.get(wheel.name, wheel.version) != wheel.version:
            raise SpecError(
                f"image {variant.id} needs {wheel.name} {wheel.version}, but {where} holds {beneath[wheel.name]}",
                hint="type: wardian lock, or require the same version in both images",
            )
    return tuple(sorted((wheel for wheel in closure if wheel.name not in beneath), key=lambda wheel: wheel.name))


def _needs_environment(parent: _Draft | None, python: str) -> bool:
    """A child's packages go into its parent's environment."""
    if parent is None or parent.python is None:
        return True
    if parent.python != python:
        raise WardianError(f"an image with Python {python} cannot stand on one with Python {parent.python}")
    return False


def _environment(python: str, interpreter: str, epoch: int) -> Environment:
    made = key("environment", epoch, prefix=PREFIX, python=python, interpreter=interpreter)
    return Environment(made, PREFIX, python, interpreter)


def _grouped(variant: Variant, own: Sequence[Wheel], room: int) -> tuple[bins.Group, ...]:
    try:
        return bins.groups(own, room=room)
    except WardianError as error:
        raise WardianError(f"image {variant.id}: {error.message}", hint=error.hint) from error


def _wheels(title: str, wheels: tuple[Wheel, ...], python: str, epoch: int) -> Wheels:
    content = [[wheel.filename, wheel.sha256, wheel.requested] for wheel in wheels]
    return Wheels(key("wheels", epoch, prefix=PREFIX, python=python, wheels=content), PREFIX, python, wheels, title)


def _run(line: str, config: Config, number: int, beneath: _Stack) -> RunStep:
    env = list(config.env)
    if config.path:
        env.append(("PATH", ":".join([*config.path, "$PATH"])))  # the step's builder knows the base's
    workdir = config.workdir or ""
    made = key("run", beneath.epoch, line=line, env=env, workdir=workdir, beneath=beneath.keys)
    return RunStep(made, line, tuple(env), workdir, number)


def _files(title: str, entries: tuple[Entry, ...], epoch: int) -> Files:
    content = [[entry.path, entry.kind, entry.mode, entry.digest] for entry in entries]
    return Files(key("files", epoch, entries=content), title, entries)


def _tools(locked: LockedImage) -> tuple[Wheel, ...]:
    """What the project's wheel is built with; one of them may be a wheel that was built of source itself."""
    made = {one.sha256: one for one in locked.built}
    return tuple(
        Wheel(tool.name, tool.version, tool.filename, tool.url, tool.sha256, built=made.get(tool.sha256))
        for tool in locked.build
    )


def _project(variant: Variant, code: Code, config: Config, building: Building, epoch: int) -> ProjectCode:
    python = building.target.python
    mode = variant.image.project
    if not python or mode == "none":
        raise SpecError(
            f"images.{variant.name}: project = {mode!r} needs an image with Python", hint='set python = "3.11"'
        )
    fields = {"mode": mode, "prefix": PREFIX, "python": python, "code": code.digest}
    if mode == "editable":
        workdir = config.workdir or "/workspace"
        return ProjectCode(key("project", epoch, **fields, workdir=workdir), mode, PREFIX, python, workdir, code)
    made = key(
        "project",
        epoch,
        **fields,
        interpreter=building.interpreter,
        tools=[[tool.filename, tool.sha256] for tool in building.tools],
        beneath=[layer.key for layer in building.system],
    )
    return ProjectCode(made, mode, PREFIX, python, "", code, building)


def _wish(draft: _Draft) -> tags.Wish:
    versions = {wheel.name: wheel.version for wheel in draft.wheels}
    versions |= dict(pin.split("==", 1) for pin in draft.locked.inherited)
    variant = draft.variant
    return tags.Wish(variant.id, variant.name, variant.image.tags, variant.axes, draft.python, versions)


def _finish(repository: str, draft: _Draft, names: Collection[str], epoch: int) -> ImagePlan:
    variant = draft.variant
    references = tuple(f"{repository}/{variant.name}:{name}" for name in names)
    said = labels.labels(
        title=variant.name,
        version=next(iter(names), None),
        epoch=epoch,
        revision=draft.revision,
        base=draft.reference,
        base_digest=draft.base_digest,
        locked=draft.locked,
        python=draft.python,
        interpreter=draft.interpreter,
        editable=next(
            (one.workdir for one in reversed(draft.layers) if isinstance(one, ProjectCode) and one.workdir), None
        ),
        own=variant.image.labels,
    )
    made = ImagePlan(
        id=variant.id,
        name=variant.name,
        parent=variant.parent,
        platform=variant.image.platform,
        layers=draft.layers,
        config=draft.config,
        labels=said,
        references=references,
        epoch=epoch,
        key="",
        wheels=draft.wheels,
        debs=draft.debs,
        pylock=draft.pylock,
    )
    return replace(made, key=_image_key(made))


def _image_key(image: ImagePlan) -> str:
    config = image.config
    return key(
        "image",
        image.epoch,
        layers=[layer.key for layer in image.layers],
        platform=image.platform,
        config=[config.env, config.path, config.workdir, config.entrypoint, config.command],
        labels=dict(image.labels),
        packages=[[wheel.name, wheel.version, wheel.sha256, wheel.url] for wheel in image.wheels],
        debs=_hashes(image.debs),
    )
