"""What is wrong with a file whose types are right: names that lead nowhere, tags that clash, values that cannot be."""

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches

from wardian.errors import Fault
from wardian.spec.matrix import PLACEHOLDER, Variant, expansion
from wardian.spec.models import Image, Spec
from wardian.spec.paths import text
from wardian.spec.services import check_services

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # Source: OCI distribution-spec, "Pulling manifests"
AXIS_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
REFERENCE = re.compile(
    r"(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
BOOTSTRAP = re.compile(r"bootstrap:[a-z]+:[a-z][a-z0-9.-]*")
APT = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?")
# What most requirements are: to look closer, packaging has to be imported, which takes as long as all else in here.
SIMPLE = re.compile(
    r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*(?:(?:==|!=|<=|>=|<|>)[0-9]+(?:\.[0-9]+)*(?:,(?:!=|<=|>=|<|>)[0-9]+(?:\.[0-9]+)*)*)?"
)
CUDA = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?")
CUDA_TAG = re.compile(r"(?:cuda|cu)[-_]?(\d+(?:\.\d+)*)")
# The last minor release of each series that is closed. Source: NVIDIA, CUDA Toolkit Archive.
LAST_CUDA = {9: 2, 10: 2, 11: 8, 12: 9}
SECRET = re.compile(
    r"(?:^|_)(?:API_?KEY|ACCESS_KEY|SECRET|(?<!BOS_|EOS_|PAD_|UNK_)TOKEN|PASSWORD|PASSWD|CREDENTIALS?)$"
)


def check(spec: Spec, doubtful: Iterable[str] = ()) -> list[Fault]:
    """Every fault of a well-formed spec. ``doubtful`` names images that exist but are too broken to look at."""
    unsure = set(doubtful)
    faults = [fault for name, image in spec.images.items() for look in LOOKS for fault in look(name, image)]
    unsure |= {name for name, image in spec.images.items() if any(_axes(name, image))}
    variants, wrong = expansion(spec.images, unsure)
    faults += wrong
    faults += _alike(variants)
    faults += _tags(variants)
    faults += _cuda_names(variants)
    faults += _run_image("run.image", spec.run.image, spec, unsure, variants)
    for name, service in spec.services.items():
        faults += _run_image(text(("services", name, "image")), service.image, spec, unsure, variants)
    faults += check_services(spec)
    faults += _service_secrets(spec)
    return list(dict.fromkeys(faults))


def _run_image(
    place: str, wanted: str | None, spec: Spec, doubtful: set[str], variants: tuple[Variant, ...]
) -> Iterator[Fault]:
    """A name of no image. One with a registry, tag or digest means any image: ``TRAINER_IMAGE`` of another project."""
    if wanted is None or ({":", "/"} & set(wanted) and REFERENCE.fullmatch(wanted)):
        return
    name = wanted.partition("[")[0]
    known = {*spec.images, *doubtful}
    if name in doubtful or wanted in known or any(wanted == variant.id for variant in variants):
        return
    there = [variant.id for variant in variants if variant.name == name] or sorted(known)
    near = get_close_matches(wanted, there, n=1)
    yield Fault(
        place,
        f"there is no image {wanted!r}",
        hint=f"did you mean {near[0]}?" if near else f"there is: {', '.join(there)}",
    )


def _service_secrets(spec: Spec) -> Iterator[Fault]:
    """Secrets as values: they would stand in the compose file that is rendered."""
    for name, service in spec.services.items():
        for variable, value in service.env.items():
            if value and SECRET.search(variable.upper()):
                hint = f'write env-pass = ["{variable}"]'
                yield Fault(text(("services", name, "env", variable)), "looks like a secret", hint=hint)


def _base(name: str, image: Image) -> Iterator[Fault]:
    base = PLACEHOLDER.sub("0", image.from_)
    place = text(("images", name, "from"))
    if base.startswith("@"):
        return
    if base.startswith("bootstrap:") and not BOOTSTRAP.fullmatch(base):
        yield Fault(
            place, f"{image.from_!r} is not bootstrap:DISTRIBUTION:SUITE", hint="example: bootstrap:debian:bookworm"
        )
    elif not base.startswith("bootstrap:") and not REFERENCE.fullmatch(base):
        hint = (
            "a repository is written in lower case"
            if REFERENCE.fullmatch(base.lower())
            else "example: python:3.11-slim"
        )
        yield Fault(place, f"{image.from_!r} is not an image reference", hint=hint)


def _packages(name: str, image: Image) -> Iterator[Fault]:
    for at, package in enumerate(image.apt):
        if not APT.fullmatch(PLACEHOLDER.sub("0", package)):
            words = package.split()
            several = len(words) > 1 and all(APT.fullmatch(word) for word in words)
            hint = "write [" + ", ".join(f'"{word}"' for word in words) + "]" if several else "NAME or NAME=VERSION"
            yield Fault(text(("images", name, "apt", at)), f"{package!r} is not the name of a package", hint=hint)


def _requirements(name: str, image: Image) -> Iterator[Fault]:
    for at, written in enumerate(image.requirements):
        line = PLACEHOLDER.sub("0", written)
        place = text(("images", name, "requirements", at))
        if line.startswith("-"):
            yield Fault(
                place, f"{written!r} is an option of pip, not a requirement", hint="see the keys files and index"
            )
        elif not line.startswith((".", "/")) and (fault := _requirement(line)):
            hint = "write NAME @ before the address" if "://" in line else "example: torch>=2.4,<3"
            yield Fault(place, f"{written!r} is not a requirement: {fault}", hint=hint)


def _requirement(line: str) -> str | None:
    if SIMPLE.fullmatch(line):
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(line)
    except InvalidRequirement as error:
        first = str(error).splitlines()[0]
        return first[:1].lower() + first[1:]
    return None


def _paths(name: str, image: Image) -> Iterator[Fault]:
    for at, entry in enumerate(image.copy_):
        parts = entry.source.split("/")
        if entry.source.startswith("/") or ".." in parts or not entry.source.strip():
            yield Fault(text(("images", name, "copy", at, "source")), f"{entry.source!r} does not lie in the project")
    for at, file in enumerate(image.files):
        if not file.strip():
            yield Fault(text(("images", name, "files", at)), "is empty")


def _indexes(name: str, image: Image) -> Iterator[Fault]:
    for at, index in enumerate(image.index):
        place = text(("images", name, "index", at))
        scheme, there, rest = index.partition("://")
        if not there or scheme not in {"http", "https", "file"}:
            yield Fault(place, "is not the address of a package index", hint="example: https://pypi.org/simple")
        elif ":" in rest.partition("/")[0].rpartition("@")[0]:
            yield Fault(
                place, "holds a password", hint="put it into ~/.netrc, or UV_INDEX_…_PASSWORD in the environment"
            )


def _environment(name: str, image: Image) -> Iterator[Fault]:
    for variable, value in image.env.items():
        place = text(("images", name, "env", variable))
        if re.search(r"\$\{[A-Za-z_]", value):
            yield Fault(
                place, "is sealed into the image, so no variable is filled in here", hint="[run] env is filled in"
            )
        if value and SECRET.search(variable.upper()):
            yield Fault(
                place,
                "looks like a secret, and everyone who has the image could read it",
                hint=f'write [run] env-pass = ["{variable}"]',
            )


def _axes(name: str, image: Image) -> Iterator[Fault]:
    if image.python and "python" in image.matrix:
        yield Fault(text(("images", name, "python")), "the matrix has an axis of this name; keep one of the two")
    for axis, values in image.matrix.items():
        place = text(("images", name, "matrix", axis))
        if axis == "version":
            yield Fault(place, "the name is taken: {version:NAME} is the version of a locked distribution")
        if not values:
            yield Fault(place, "has no values")
        if twice := sorted({value for value in values if values.count(value) > 1}):
            yield Fault(place, f"names {', '.join(twice)} twice")
        for at, value in enumerate(values):
            place = text(("images", name, "matrix", axis, at))
            if not AXIS_VALUE.fullmatch(value):
                yield Fault(place, f"{value!r} cannot stand in a tag", hint="letters, digits and . _ - between them")
            elif axis == "python" and not re.fullmatch(r"3\.\d+", value):
                yield Fault(place, f"{value!r} is not a Python version", hint='example: "3.11"')
            elif axis == "cuda":
                yield from _cuda(place, value)


def _cuda(place: str, value: str) -> Iterator[Fault]:
    """A CUDA version is written X.Y or X.Y.Z; one that does not exist would become CPU packages under a CUDA tag."""
    found = CUDA.fullmatch(value)
    if not found:
        digits = re.fullmatch(r"(?:cuda|cu)?[-_]?(?:(\d{1,2})(\d)|(\d+\.\d+(?:\.\d+)?))", value)
        meant = digits and (digits[3] or f"{digits[1]}.{digits[2]}")
        hint = f"did you mean {meant}?" if meant else "example: 12.4.1; for images without CUDA, make another image"
        yield Fault(place, f"{value!r} is not a CUDA version", hint=hint)
        return
    major, minor = int(found[1]), int(found[2])
    if major < min(LAST_CUDA) or minor > LAST_CUDA.get(major, minor):
        known = (
            f"the {major} series ends with {major}.{LAST_CUDA[major]}" if major in LAST_CUDA else "the oldest is 9.0"
        )
        yield Fault(place, f"there is no CUDA {value}", hint=known)


def _tag_grammar(name: str, image: Image) -> Iterator[Fault]:
    for at, tag in enumerate(image.tags):
        if not TAG.fullmatch(PLACEHOLDER.sub("0", tag)[:128]):
            hint = "letters, digits and . _ -, not beginning with . or -"
            yield Fault(text(("images", name, "tags", at)), f"{tag!r} is not a tag", hint=hint)


def _alike(variants: tuple[Variant, ...]) -> Iterator[Fault]:
    """Variants whose ids differ in punctuation alone: the files of their locks would have one name."""
    first: dict[str, str] = {}
    for variant in variants:
        other = first.setdefault(re.sub(r"[^a-z0-9]+", "-", variant.id.lower()).strip("-"), variant.id)
        if other != variant.id:
            place = text(("images", variant.name))
            yield Fault(place, f"{variant.id} and {other} differ in punctuation alone", hint="choose another name")


def _tags(variants: tuple[Variant, ...]) -> Iterator[Fault]:
    """Tags that two variants of an image share, that a variant lacks, or that nothing can fill."""
    taken: dict[tuple[str, str], str] = {}
    bare: set[str] = set()
    for variant in variants:
        place = text(("images", variant.name, "tags"))
        if not variant.image.tags and variant.name not in bare:
            bare.add(variant.name)
            axes = "".join(f"-{{{axis}}}" for axis, _ in variant.axes)
            hint = f'add a tag with the axes, such as "{variant.name}{axes}"'
            yield Fault(place, f"{variant.id} gets no tag of its own", hint=hint)
        for tag in variant.image.tags:
            sample = _sample(tag, variant.image.python)
            if unknown := PLACEHOLDER.search(sample):
                known = ", ".join(dict(variant.axes)) or "none"
                yield Fault(place, f"nothing fills {unknown[0]}", hint=f"axes here: {known}")
            elif len(sample) > 128:
                yield Fault(place, f"{tag!r} is longer than a registry takes", hint="at most 128 characters")
            other = taken.setdefault((variant.name, sample), variant.id)
            if other != variant.id and "{version:" not in tag:
                yield Fault(
                    place, f"{tag!r} would name both {other} and {variant.id}", hint="let every axis appear in it"
                )


def _sample(tag: str, python: str | None) -> str:
    """A tag with stand-ins for what only the lock knows."""

    def value(found: re.Match[str]) -> str:
        if found[1] == "python" and found[2] in {None, "nodot"}:
            return (python or "3.0").replace(".", "" if found[2] else ".")
        return "0" if found[1] == "version" and found[2] else found[0]

    return PLACEHOLDER.sub(value, tag)


def _cuda_names(variants: tuple[Variant, ...]) -> Iterator[Fault]:
    """One CUDA version that is spelled both ``124`` and ``12.4`` in tags."""
    first: dict[str, tuple[str, str]] = {}
    told: set[frozenset[str]] = set()
    for variant in variants:
        for tag in variant.image.tags:
            for found in CUDA_TAG.finditer(tag):
                plain, spelled = found[1].replace(".", ""), found[0]
                known, where = first.setdefault(plain, (spelled, variant.name))
                pair = frozenset({known, spelled})
                if ("." in known) != ("." in spelled) and pair not in told:
                    told.add(pair)
                    place = text(("images", variant.name, "tags"))
                    yield Fault(
                        place,
                        f"{spelled!r} here and {known!r} in images.{where}.tags name one thing",
                        hint="choose one spelling",
                    )


LOOKS: tuple[Callable[[str, Image], Iterator[Fault]], ...] = (
    _base,
    _packages,
    _requirements,
    _paths,
    _indexes,
    _environment,
    _axes,
    _tag_grammar,
)
