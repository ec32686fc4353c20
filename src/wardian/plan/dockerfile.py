"""Spec and lock → a Dockerfile that makes the same environment without Wardian. Pure.

It is for reading and for places where only docker is at hand: the same packages, not the same bytes. No `# syntax=`
line: it would need an image from Docker Hub before anything else happens.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from wardian.errors import WardianError
from wardian.lock.model import Base, Built, Deb, LockedImage, Tool
from wardian.lock.pylock import normalised
from wardian.lock.wheel import Wheel
from wardian.plan.debian import SNAPSHOT
from wardian.spec.matrix import Variant

PREFIX = "/opt/env"
SCRATCH = "/build"  # in the image, while it is made
_PYPI = "https://files.pythonhosted.org/"
_CONTINUED = " \\\n    "
# What `wardian build` never takes from a project; docker takes everything that no ignore file names.
_NEVER = (
    ".env*", ".netrc", "_netrc", ".pypirc", ".git-credentials", ".ssh", ".gnupg", ".aws", ".kube", ".docker", ".azure",
    ".gcloud", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "credentials", "credentials.*", ".htpasswd", "*.pem",
    "*.key", "*.p8", "*.ppk", "wardian.local.toml", ".wardian", ".git", ".hg", ".svn", "__pycache__", ".venv",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """One image variant, with the whole closure of its wheels."""

    variant: Variant
    locked: LockedImage
    wheels: tuple[Wheel, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """The Dockerfile's text, and the files it copies, by name."""

    text: str
    files: dict[str, str]


def dockerfile(stages: Sequence[Stage], *, name: str, beside: str = "", ignore: str = "") -> Rendered:
    """Render an image, with what it stands on before it.

    ``beside`` is where its files lie in the build context, ``ignore`` the text of the project's ignore file.
    """
    written = _Written(beside)
    for stage in stages:
        parent = next((other for other in stages if other.variant.id == stage.variant.parent), None)
        _stage(written, stage, parent)
    top = stages[-1].variant
    place = f"-f {shlex.quote(f'{beside}/Dockerfile')} " if beside else ""
    command = f"docker build {place}-t {name}/{top.name} ."
    if any(_copies(stage) for stage in stages):
        written.files["Dockerfile.dockerignore"] = _ignoring(ignore)
    return Rendered(_headed(written, f"Image {top.id} of project {name}", "dockerfile", command), written.files)


def alone(stage: Stage, parent: Stage | None, *, name: str, beside: str, command: str, ignore: str = "") -> Rendered:
    """Render an image by itself: what it stands on is a build context under the name of its stage."""
    written = _Written(beside)
    _stage(written, stage, parent)
    if _copies(stage):
        written.files[f"Dockerfile.{stage_name(stage.variant.id)}.dockerignore"] = _ignoring(ignore)
    return Rendered(_headed(written, f"Image {stage.variant.id} of project {name}", "bake", command), written.files)


def _copies(stage: Stage) -> bool:
    return bool(stage.variant.image.copy_) or stage.variant.image.project != "none"


def _ignoring(ignore: str) -> str:
    return ignore.rstrip("\n") + "\n" + "".join(f"**/{one}\n" for one in _NEVER)


def _headed(written: "_Written", what: str, kind: str, command: str) -> str:
    head = [
        f"{what}, written by `wardian render {kind}`. It works without Wardian:",
        f"    {command}",
        "What differs from the image that `wardian build` makes:",
        *(f"- {line}" for line in written.differs),
        "- Layers, times and so digests are the engine's: the same packages, not the same bytes.",
    ]
    return "\n".join(f"# {line}" for line in head) + "\n" + "".join(f"\n{block}\n" for block in written.blocks)


class _Written:
    """What has been written so far."""

    def __init__(self, beside: str) -> None:
        self.blocks: list[str] = []
        self.files: dict[str, str] = {}
        self.differs: list[str] = []
        self._beside = beside

    def add(self, *lines: str) -> None:
        """One block of instructions, set off by an empty line."""
        self.blocks.append("\n".join(lines))

    def differ(self, text: str) -> None:
        """Say once what is not as in Wardian's image."""
        if text not in self.differs:
            self.differs.append(text)

    def file(self, name: str, content: str) -> str:
        """Put a file beside the Dockerfile; the instruction that copies it."""
        self.files[name] = content
        return copy(f"{self._beside}/{name}".lstrip("/"), f"{SCRATCH}/{name}")


def _stage(written: _Written, stage: Stage, parent: Stage | None) -> None:
    variant, locked = stage.variant, stage.locked
    name = stage_name(variant.id)
    built = [wheel.built for wheel in _own(stage, parent) if wheel.built]
    opening = f"{name}-system" if built else name
    below = stage_name(parent.variant.id) if parent else _base(written, locked.base, variant)
    platform = f"--platform={variant.image.platform} " if variant.image.platform != "linux/amd64" and not parent else ""
    written.add(f"FROM {platform}{below} AS {opening}")
    if locked.base and locked.base.debs:
        _bootstrap(written, locked.base)
    if locked.debs:
        written.add(install(locked.debs))
    for one in built:
        _build(written, stage, one, opening)
    if built:
        written.add(f"FROM {opening} AS {name}")
    python = locked.interpreter or (parent.locked.interpreter if parent else None)
    _environment(written, stage, parent, python)
    _rest(written, stage, python)


def _base(written: _Written, base: Base | None, variant: Variant) -> str:
    if base is None:
        raise WardianError(f"the lock has no base for image {variant.id}", hint="type: wardian lock")
    used = (base.substitute or base.reference).removeprefix("http://")
    if base.substitute:
        written.differ(f"{used} stands in for {base.reference}, as it did when this was locked.")
    if base.digest:
        return f"{used.partition('@')[0]}@{base.digest}"
    _, distribution, suite = used.split(":")
    return f"debian:{suite}-slim" if distribution == "debian" else f"{distribution}:{suite}"


def _bootstrap(written: _Written, base: Base) -> None:
    written.differ(
        f"Wardian makes the base from {len(base.debs)} locked packages; here an image of the same release is brought "
        "to their versions, and keeps what else it has."
    )
    written.differ(
        f"Mirrors keep only the newest version of a package: when one is gone, take it from {SNAPSHOT}, or "
        "type `wardian lock`."
    )
    written.add("# The packages of the base.", install(base.debs, "--allow-downgrades"))


def install(debs: Sequence[Deb], *options: str) -> str:
    """The instruction that installs exactly these packages."""
    pins = sorted(f"{deb.name}={deb.version}" for deb in debs)
    return "RUN " + " \\\n && ".join(
        [
            "for n in 1 2 3 4 5 6 7 8; do mkdir -p /usr/share/man/man$n; done",  # slim images have them not; Java asks
            "apt-get update",
            "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
            + "".join(f" {option}" for option in options)
            + _CONTINUED
            + _CONTINUED.join(pins),
            "rm -rf /var/lib/apt/lists/*",
        ]
    )


def _environment(written: _Written, stage: Stage, parent: Stage | None, python: str | None) -> None:
    """The virtual environment and its wheels, by a pip that does not stay."""
    locked, own = stage.locked, _own(stage, parent)
    if python is None:
        return
    first = parent is None or parent.locked.interpreter is None
    if first and not locked.inherited:  # a base that Wardian made has it
        written.add(f"RUN {python} -m venv --without-pip {PREFIX}", f"ENV VIRTUAL_ENV={PREFIX} PATH={PREFIX}/bin:$PATH")
    plain = [wheel for wheel in own if wheel.built is None]
    built = [wheel for wheel in own if wheel.built]
    if not own:
        return
    name = stage_name(stage.variant.id)
    lines, arguments = [], []
    if plain:
        lines.append(written.file(f"requirements.{name}.txt", requirements(plain)))
        arguments.append(f"--require-hashes -r {SCRATCH}/requirements.{name}.txt")
    lines += [f"COPY --from={build_name(wheel.name)} /wheels {SCRATCH}/wheels" for wheel in built]
    if built:
        arguments.append(f"{SCRATCH}/wheels/*.whl")
    pip = f"{SCRATCH}/pip/bin/pip --python {PREFIX}/bin/python install --no-cache-dir --no-deps --no-compile"
    written.add(*lines, _steps([*_pip(python), *(f"{pip} {words}" for words in arguments), f"rm -rf {SCRATCH}"]))


def _pip(python: str) -> list[str]:
    """A pip for one instruction: Debian splits venv off into a package of its own."""
    version = python.rpartition("python")[2]
    fetch = [
        f"apt-get update && apt-get install -y --no-install-recommends python{version}-venv",
        "rm -rf /var/lib/apt/lists/*",
    ]
    return [
        *(fetch if python.startswith("/usr/bin/") else []),
        f"{python} -m venv {SCRATCH}/pip",
        f"{SCRATCH}/pip/bin/pip install -q 'pip>=24'",
    ]


def _build(written: _Written, stage: Stage, built: Built, opening: str) -> None:
    """A stage that makes the wheel of a distribution that has none."""
    written.differ(f"{built.name} {built.version} is compiled again from its source, so its wheel has another hash.")
    settings = next(
        (one for name, one in stage.variant.image.sdists.items() if normalised(name) == normalised(built.name)), None
    )
    python = stage.locked.interpreter or "/usr/bin/python3"
    name = build_name(built.name)
    lines = [f"FROM {opening} AS {name}"]
    if built.debs:
        lines.append(install(built.debs))
    if settings and settings.env:
        lines.append("ENV " + " ".join(f"{key}={quoted(value)}" for key, value in sorted(settings.env.items())))
    source = f"{built.name} @ {built.sdist_url}{_CONTINUED}--hash=sha256:{built.sdist_sha256}\n"
    lines.append(written.file(f"{name}.txt", requirements(built.build)))
    lines.append(written.file(f"{name}.source.txt", source))
    wheel = f"{SCRATCH}/pip/bin/pip wheel --no-deps --no-build-isolation -w /wheels -r {SCRATCH}/{name}.source.txt"
    tools = f"{SCRATCH}/pip/bin/pip install --no-cache-dir --no-deps --require-hashes -r {SCRATCH}/{name}.txt"
    lines.append(_steps([*_pip(python), tools, f"PATH={SCRATCH}/pip/bin:$PATH {wheel}"]))
    written.add(*lines)


def _rest(written: _Written, stage: Stage, python: str | None) -> None:
    """What the user's own words ask for, in the order in which Wardian makes the layers."""
    image = stage.variant.image
    env = dict(image.env)
    if python and "PATH" in env:
        env["PATH"] = f"{PREFIX}/bin:{env['PATH']}"
    lines = [f"ENV {name}={quoted(value)}" for name, value in sorted(env.items())]
    lines += [f"WORKDIR {escaped(image.workdir)}"] if image.workdir else []
    lines += [run(line) for line in image.run]
    lines += [copy(one.source, one.target) for one in image.copy_]
    if image.project != "none" and python:
        lines += _project(written, stage, python)
    if image.ca:
        written.differ("ca = true puts the CA bundle of one machine into the image; copy your own.")
    lines += [f"LABEL {quoted(name)}={quoted(value)}" for name, value in sorted(image.labels.items())]
    if image.entrypoint is not None:
        lines.append(f"ENTRYPOINT {json.dumps(list(image.entrypoint))}")
    if image.command is not None:
        lines.append(f"CMD {json.dumps(list(image.command))}")
    if lines:
        written.add(*lines)


def _project(written: _Written, stage: Stage, python: str) -> list[str]:
    """The project itself: its wheel, built with the locked tools alone, or a link."""
    image, pip = stage.variant.image, f"{SCRATCH}/pip/bin/pip"
    install_it = f"{pip} --python {PREFIX}/bin/python install --no-cache-dir --no-deps"
    if image.project == "editable":
        place = image.workdir or "/workspace"
        written.differ("The link to the project is made by the build tools of the day.")
        return [copy(".", place), _steps([*_pip(python), f"{install_it} -e {place}", f"rm -rf {SCRATCH}"])]
    place, lines, steps = f"{SCRATCH}/project", [], _pip(python)
    written.differ("The project's wheel is built in the whole image, with network.")
    if stage.locked.build:
        name = f"project.{stage_name(stage.variant.id)}.txt"
        lines.append(written.file(name, requirements(stage.locked.build)))
        steps.append(f"{pip} install --no-cache-dir --no-deps --require-hashes -r {SCRATCH}/{name}")
    built = f"{pip} wheel --no-deps --no-build-isolation -w {SCRATCH}/made {place}"
    steps += [f"PATH={SCRATCH}/pip/bin:$PATH {built}", f"{install_it} {SCRATCH}/made/*.whl", f"rm -rf {SCRATCH}"]
    return [*lines, copy(".", place), _steps(steps)]


def _steps(commands: Sequence[str]) -> str:
    return "RUN " + " \\\n && ".join(commands)


def requirements(wheels: Sequence[Wheel | Tool]) -> str:
    """A requirements file with a hash for each wheel. One that is not on PyPI is named by its address."""
    lines = []
    for wheel in wheels:
        elsewhere = wheel.url.startswith(("https://", "http://")) and not wheel.url.startswith(_PYPI)
        what = f"{wheel.name} @ {wheel.url}" if elsewhere else f"{wheel.name}=={wheel.version}"
        lines.append(f"{what}{_CONTINUED}--hash=sha256:{wheel.sha256}\n")
    return "".join(lines)


def _own(stage: Stage, parent: Stage | None) -> list[Wheel]:
    """The wheels that nothing beneath has."""
    beneath = {wheel.name for wheel in parent.wheels} if parent else set()
    beneath |= {pin.partition("==")[0] for pin in stage.locked.inherited}
    return [wheel for wheel in stage.wheels if wheel.name not in beneath]


def stage_name(variant: str) -> str:
    """A variant's id as the name of a stage. Source: Dockerfile reference, FROM … AS.

    >>> stage_name("train[python=3.11]")
    'train-python-3.11'
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", variant.lower()).strip("-")
    return name if name[0].isalpha() else f"image-{name}"


def build_name(distribution: str) -> str:
    """The name of the stage that builds a wheel."""
    return f"build-{normalised(distribution)}"


def run(line: str) -> str:
    """A shell line as an instruction; in exec form where the Dockerfile's own syntax would get in the way."""
    text = line.strip()
    if "\n" in text or text.endswith("\\") or text.startswith(("[", "--", "#")) or "<<" in text:
        return f"RUN {json.dumps(['/bin/sh', '-c', line], ensure_ascii=False)}"
    return f"RUN {text}"


def copy(source: str, target: str) -> str:
    """A COPY instruction; as JSON where a name could be read as words or options. A pattern means itself."""
    words = [escaped(re.sub(r"([*?[])", r"[\1]", source.replace("\\", "\\\\"))), escaped(target)]
    plain = not re.search(r"^--|^\[|\s", words[0]) and not re.search(r"\s", words[1])
    return f"COPY {' '.join(words) if plain else json.dumps(words, ensure_ascii=False)}"


def quoted(value: str) -> str:
    r"""A value of ENV or LABEL, with nothing left for docker to expand.

    >>> print(quoted('a "$b"'))
    "a \"\$b\""
    """
    if "\n" in value:
        raise WardianError(f"a Dockerfile cannot hold a value with a line break: {value[:60]!r}")
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


def escaped(path: str) -> str:
    """A path with nothing left for docker to expand."""
    return re.sub(r"([\\$])", r"\\\1", path)
