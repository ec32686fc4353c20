"""What a container is before any runtime sees it: an image and argv, environment, mounts, user, devices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of the host, seen inside the container at ``target``."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """Who the program is inside, and so who owns what it writes."""

    mode: Literal["host", "root", "ids"]
    uid: int
    gid: int
    name: str  # of the passwd entry
    home: str  # inside the container


@dataclass(frozen=True, slots=True)
class Container:
    """An image to run, and everything a runtime must arrange; ``argv`` reaches the program unchanged."""

    image: str  # manifest digest, "sha256:…"
    argv: tuple[str, ...]
    user: User
    env: Mapping[str, str] = field(default_factory=dict)  # complete: image, [run], flags; secrets are in env_pass
    env_pass: tuple[str, ...] = ()  # names only; the runtime reads the values at the last moment
    workdir: str = "/"
    binds: tuple[Bind, ...] = ()
    shm: int = 64 * 1024**2  # bytes
    gpus: tuple[str, ...] = ()  # CDI device names, "nvidia.com/gpu=0"
    network: bool = True  # the host's network; False: loopback only
    tty: bool = False
    read_only: bool = False  # no writable scratch on top
