"""The lock: every input of every image, pinned. Written by ``wardian lock``, never by ``build``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Pin(BaseModel):
    """Something pinned: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Deb(Pin):
    """One Debian package file; ``url`` is the canonical address, a mirror replaces its prefix at fetch time."""

    name: str
    version: str
    architecture: str
    url: str
    sha256: Sha256
    size: int


class Base(Pin):
    """What an image stands on: a manifest by digest, or the packages of a bootstrapped root file system."""

    reference: str  # as the project wrote it
    substitute: str | None = None  # what a machine's [substitutes] made of it, if anything
    digest: str | None = None  # of the image manifest for the platform, "sha256:…"; None for a bootstrap
    debs: tuple[Deb, ...] = ()


class Tool(Pin):
    """A wheel that another wheel was built with. ``url`` is "" when only its name and hash are known elsewhere."""

    name: str
    version: str
    filename: str
    url: str = ""
    sha256: Sha256


class Built(Pin):
    """A wheel that was built from a source distribution because its index has none."""

    name: str
    version: str
    sdist_url: str
    sdist_sha256: Sha256
    filename: str
    sha256: Sha256
    build: tuple[Tool, ...] = ()  # the whole build environment, by name
    debs: tuple[Deb, ...] = ()  # packages present only during the build
    env: dict[str, str] = {}  # variables set only during the build


class LockedImage(Pin):
    """One image variant: its base (for a root image), the packages its ``apt`` step adds, its wheels."""

    inputs: Sha256  # digest of everything in the spec that resolution reads; another value means stale
    wants: dict[str, tuple[str, ...]] = {}  # the same, readable: what was asked for, by input (see lock.stale)
    base: Base | None = None  # None when the image stands on another image of the project
    debs: tuple[Deb, ...] = ()
    python: str | None = None  # "3.11"
    interpreter: str | None = None  # path inside the image, "/usr/bin/python3.11"
    pylock: str | None = None  # file name beside wardian.lock; the whole closure, also what the parent has
    pylock_sha256: Sha256 | None = None
    built: tuple[Built, ...] = ()
    build: tuple[Tool, ...] = ()  # what the project's own wheel is built with, by name
    inherited: tuple[str, ...] = ()  # "name==version" of distributions already in a foreign base


class Lock(Pin):
    """``wardian.lock``: image variant id → its pins."""

    version: Literal[1] = 1
    images: dict[str, LockedImage] = {}
