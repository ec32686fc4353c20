"""Spec and lock → the layers of every image, each with the key under which its result is remembered.

A key is the digest of everything that decides the layer's bytes. Two images that share a key share the layer; a layer
whose key is known is never made again. Wheel layers do not depend on what lies beneath them, system steps do.
"""

from dataclasses import dataclass

from wardian.lock.model import Base, Deb
from wardian.lock.wheel import Wheel

__all__ = ["Wheel"]


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
    suite: str
    architecture: str
    debs: tuple[Deb, ...]


@dataclass(frozen=True, slots=True)
class Apt:
    """Debian packages installed over the layers beneath."""

    key: str
    debs: tuple[Deb, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """The empty virtual environment: pyvenv.cfg, bin/python, the lock inside the image."""

    key: str
    prefix: str  # "/opt/env"
    python: str
    interpreter: str
    pylock: bytes


@dataclass(frozen=True, slots=True)
class Wheels:
    """One big wheel, or one bin of small ones, installed into the environment."""

    key: str
    prefix: str
    python: str
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True, slots=True)
class RunStep:
    """A shell line executed over the layers beneath."""

    key: str
    line: str
    env: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Files:
    """Files of the project at fixed places: one ``copy`` entry, or the CA bundle."""

    key: str
    title: str
    entries: tuple[tuple[str, str, int], ...]  # (image path, source path, mode)


@dataclass(frozen=True, slots=True)
class ProjectCode:
    """The project itself, as an installed wheel or an editable link."""

    key: str
    mode: str  # "wheel" | "editable"
    prefix: str
    python: str
    workdir: str


Layer = BaseLayers | Bootstrap | Apt | Environment | Wheels | RunStep | Files | ProjectCode


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image variant: its layers from the bottom up (the parent's included), its config, the names it gets."""

    id: str
    name: str
    parent: str | None
    platform: str
    layers: tuple[Layer, ...]
    config: dict[str, object]  # the OCI image config's "config" object
    labels: dict[str, str]
    references: tuple[str, ...]
    key: str  # over all layers and the config: the same key means the same manifest
