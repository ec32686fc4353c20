"""What the user may write: the tables of ``wardian.toml`` as pydantic models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from wardian.spec.units import seconds, size

Duration = Annotated[float, BeforeValidator(seconds)]  # seconds; written "60s", "5m", "1h30m" or a number
Size = Annotated[int, BeforeValidator(size)]  # bytes; written "16g", "512m" or a number
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=128)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Table(BaseModel):
    """A table of the file: frozen, no unknown keys, keys written with hyphens."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
    )


class Project(Table):
    """``[project]``: the project's name and the registry that ``push`` writes to."""

    name: Name
    registry: str | None = None


class Copy(Table):
    """One entry of ``copy``: a file or folder of the project, and its absolute path in the image."""

    source: str
    target: Annotated[str, Field(pattern=r"^/")]


class Check(Table):
    """A named check: a shell line run inside the image; passes on exit 0 and, if given, ``expect`` in its output."""

    run: str
    expect: str | None = None
    timeout: Duration = 300.0


class Sdist(Table):
    """How a distribution without a wheel is built: packages present only then, and its build requirements.

    ``requires`` replaces ``[build-system] requires`` of the source distribution (its pins may contradict the image's);
    a name that is locked for the image takes the locked version.
    """

    requires: tuple[str, ...] | None = None
    apt: tuple[str, ...] = ()
    env: dict[EnvName, str] = {}


def _check(value: Any) -> Any:
    return {"run": value} if isinstance(value, str) else value


class Image(Table):
    """``[images.NAME]``: what an image stands on and what is added, in the order the layers are made."""

    from_: Annotated[str, Field(min_length=1)]  # a reference, "@image" of this file, or "bootstrap:debian:SUITE"
    platform: Annotated[str, Field(pattern=r"^linux/[a-z0-9]+(?:/v[0-9])?$")] = "linux/amd64"
    apt: tuple[str, ...] = ()
    python: Annotated[str, Field(pattern=r"^3\.[0-9]+$")] | None = None
    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # requirement files, relative to the project
    groups: tuple[str, ...] = ()  # dependency groups (PEP 735) of pyproject.toml
    extras: tuple[str, ...] = ()  # extras of pyproject.toml; an empty string stands for its dependencies alone
    index: tuple[str, ...] = ()  # package indexes, before the machine's own
    sdists: dict[str, Sdist] = {}
    run: tuple[str, ...] = ()
    copy_: tuple[Copy, ...] = ()
    project: Literal["wheel", "editable", "none"] = "none"
    env: dict[EnvName, str] = {}
    workdir: Annotated[str, Field(pattern=r"^/")] | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    labels: dict[str, str] = {}
    ca: bool = False  # put the machine's CA bundle into the image
    matrix: dict[Name, tuple[str, ...]] = {}
    tags: tuple[str, ...] = ("latest",)
    tests: dict[str, Annotated[Check, BeforeValidator(_check)]] = {}


class Run(Table):
    """``[run]``: defaults of ``run``, ``shell`` and ``exec``."""

    image: str | None = None
    gpus: str = "auto"  # auto | all | none | a count | a comma-separated list of ids
    shm: Size = 64 * 1024**2
    user: Annotated[str, Field(pattern=r"^(host|root|[0-9]+:[0-9]+)$")] = "host"
    env: dict[EnvName, str] = {}
    env_pass: tuple[EnvName, ...] = ()
    ports: dict[Name, Annotated[int, Field(ge=1, le=65535)]] = {}


class Mount(Table):
    """``[mounts.NAME]``: a path of this machine inside the container."""

    source: str
    target: Annotated[str, Field(pattern=r"^/")]
    enabled: bool = True
    read_only: bool = False


class Spec(Table):
    """The whole file, after all sources were merged."""

    project: Project
    images: Annotated[dict[Name, Image], Field(min_length=1)]
    run: Run = Run()
    mounts: dict[Name, Mount] = {}
    substitutes: dict[
        str, str
    ] = {}  # reference or URL prefix (a trailing * matches the rest) → what to use here instead
