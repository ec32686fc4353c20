"""The kinds of layers. Each value holds all that decides the layer's bytes, and the key made of it."""

from dataclasses import dataclass
from typing import Literal

from wardian.lock.model import Base, Deb
from wardian.lock.pylock import Target
from wardian.lock.wheel import Wheel


@dataclass(frozen=True, slots=True)
class BaseLayers:
    """All layers of a manifest that is (or will be) in the store."""

    key: str
    base: Base
    platform: str


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A root file system made from Debian packages."""

    key: str
    reference: str  # "bootstrap:debian:bookworm"
    platform: str  # "linux/amd64"
    debs: tuple[Deb, ...]


@dataclass(frozen=True, slots=True)
class Apt:
    """Debian packages installed over the layers beneath."""

    key: str
    debs: tuple[Deb, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """The empty virtual environment: pyvenv.cfg and bin/python."""

    key: str
    prefix: str  # "/opt/env"
    python: str  # "3.11"
    interpreter: str  # "/usr/bin/python3.11"


@dataclass(frozen=True, slots=True)
class Wheels:
    """One big wheel, or one bin of small ones, installed into the environment."""

    key: str
    prefix: str
    python: str
    wheels: tuple[Wheel, ...]  # sorted by name
    title: str  # "torch 2.4.0", or "bin 3 of 8"


@dataclass(frozen=True, slots=True)
class Pylock:
    """The lock of what is in the environment, inside it. Over the wheels: it changes with each of them."""

    key: str
    prefix: str
    text: str


@dataclass(frozen=True, slots=True)
class RunStep:
    """A shell line executed over the layers beneath, in ``workdir``, with ``env`` added to the base's environment."""

    key: str
    line: str
    env: tuple[tuple[str, str], ...]
    workdir: str
    number: int  # counted from 1 within the image, for messages


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing of a Files layer: a path in the image, and what is put there."""

    path: str  # absolute, in the image
    kind: Literal["file", "symlink", "dir"]
    mode: int  # permission bits
    digest: str  # of a file's bytes; a symlink's target; "" for a folder
    source: str = ""  # where a file's bytes are on this machine; no part of the key


@dataclass(frozen=True, slots=True)
class Files:
    """Files at fixed places: one ``copy`` of the project, or the CA bundle."""

    key: str
    title: str
    entries: tuple[Entry, ...]  # sorted by path


@dataclass(frozen=True, slots=True)
class Code:
    """The project's own code as the planner is told of it."""

    name: str  # of the distribution
    version: str
    digest: str  # of what decides the layer: all files for a wheel, the project's metadata for an editable link
    files: tuple[Entry, ...] = ()  # of a clean copy, with paths under "/"
    paths: tuple[str, ...] = ()  # of an editable link, relative to the project: ("src",)
    metadata: str = ""  # of an editable link: METADATA
    entry_points: str = ""  # of an editable link: entry_points.txt


@dataclass(frozen=True, slots=True)
class Building:
    """What the project's wheel is built in and with."""

    system: "tuple[Layer, ...]"  # packages alone, from the bottom up
    interpreter: str
    tools: tuple[Wheel, ...]  # the whole environment of its build backend, by name
    target: Target  # the wheel must fit


@dataclass(frozen=True, slots=True)
class ProjectCode:
    """The project itself, as an installed wheel or an editable link."""

    key: str
    mode: Literal["wheel", "editable"]
    prefix: str
    python: str
    workdir: str
    code: Code
    building: Building | None = None  # of a wheel


Layer = BaseLayers | Bootstrap | Apt | Environment | Wheels | Pylock | RunStep | Files | ProjectCode


def title(layer: Layer) -> str:
    """What a layer is, in a few words."""
    match layer:
        case BaseLayers():
            return f"base {layer.base.substitute or layer.base.reference}"
        case Bootstrap():
            return f"base {layer.reference} ({len(layer.debs)} packages)"
        case Apt():
            return f"apt ({len(layer.debs)} packages)"
        case Environment():
            return f"environment python {layer.python}"
        case Pylock():
            return "pylock.toml"
        case RunStep():
            return f"run {layer.number}: {shortened(layer.line)}"
        case ProjectCode():
            return f"project {layer.code.name} ({layer.mode})"
        case Wheels() | Files():
            return layer.title


def shortened(line: str, limit: int = 60) -> str:
    """The first line of a text, cut to ``limit`` letters."""
    first = line.strip().partition("\n")[0]
    return first if len(first) <= limit and "\n" not in line.strip() else first[: limit - 1] + "…"
