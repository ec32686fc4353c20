"""What the user may write: the tables of ``wardian.toml`` as pydantic models."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from wardian.spec.units import seconds, size

Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=float | str)]  # seconds
Size = Annotated[int, BeforeValidator(size, json_schema_input_type=int | str)]  # bytes
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=128)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Absolute = Annotated[str, Field(pattern=r"^/")]


class Table(BaseModel):
    """A table of the file: frozen, no unknown keys, keys written with hyphens."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
    )


class Project(Table):
    """The project's name and what its images are called."""

    name: Name = Field(description="the project's name")
    registry: str | None = Field(None, description="images are called <registry>/<image>:<tag>; default: the name")

    @property
    def repository(self) -> str:
        """What the references of the project's images start with."""
        return (self.registry or self.name).rstrip("/")


class Copy(Table):
    """A file or folder of the project, and its place in the image."""

    source: str = Field(description="path in the project")
    target: Absolute = Field(description="absolute path in the image")


class Check(Table):
    """A named check, run inside the image: passes on exit 0 and, if given, ``expect`` in its output."""

    run: str = Field(description="a shell line")
    expect: str | None = Field(None, description="text that the output must contain")
    timeout: Duration = Field(300.0, description='seconds, or "60s", "5m", "1h30m"')


class Sdist(Table):
    """How a distribution without a wheel is built. Its packages are present only then."""

    requires: tuple[str, ...] | None = Field(
        None,
        description="replaces [build-system] requires of the sdist (whose pins may contradict the image's);"
        " a name that is locked for the image takes the locked version",
    )
    apt: tuple[str, ...] = Field((), description="Debian packages for the build")
    env: dict[EnvName, str] = Field({}, description="environment of the build")


def _check(value: Any) -> Any:
    return {"run": value} if isinstance(value, str) else value


class Image(Table):
    """What an image stands on and what is added, in the order the layers are made."""

    from_: str = Field(min_length=1, description='a reference, "@image" of this file, or "bootstrap:debian:SUITE"')
    platform: str = Field("linux/amd64", pattern=r"^linux/[a-z0-9]+(?:/v[0-9])?$", description="default: the parent's")
    apt: tuple[str, ...] = Field((), description="Debian packages, NAME or NAME=VERSION")
    python: Annotated[str, Field(pattern=r"^3\.[0-9]+$")] | None = Field(None, description='such as "3.11"')
    requirements: tuple[str, ...] = Field((), description="Python distributions (PEP 508)")
    files: tuple[str, ...] = Field((), description="requirement files, relative to the project")
    groups: tuple[str, ...] = Field((), description="dependency groups (PEP 735) of pyproject.toml")
    extras: tuple[str, ...] = Field((), description='extras of pyproject.toml; "" stands for its dependencies alone')
    index: tuple[str, ...] = Field((), description="package indexes, before the machine's own")
    sdists: dict[str, Sdist] = Field({}, description="distribution → how it is built when it has no wheel")
    run: tuple[str, ...] = Field((), description="shell steps, the last resort; each is a layer")
    copy_: tuple[Copy, ...] = Field((), description="files of the project at fixed places")
    project: Literal["wheel", "editable", "none"] = Field("none", description="how this project gets in")
    env: dict[EnvName, str] = Field({}, description="environment sealed into the image; never a secret")
    workdir: Absolute | None = Field(None, description="where programs start")
    entrypoint: tuple[str, ...] | None = Field(None, description="words before every argv")
    command: tuple[str, ...] | None = Field(None, description="argv when none is given")
    labels: dict[str, str] = Field({}, description="OCI annotations of the image")
    ca: bool = Field(default=False, description="put the machine's CA bundle into the image")
    matrix: dict[Name, tuple[str, ...]] = Field({}, description="axis → values; {axis} is filled in everywhere")
    tags: tuple[str, ...] = Field(
        ("latest",), description="templates: {axis}, {axis:nodot}, {python}, {python:nodot}, {version:DISTRIBUTION}"
    )
    tests: dict[str, Annotated[Check, BeforeValidator(_check, json_schema_input_type=Check | str)]] = Field(
        {}, description="named checks, run inside the image by `wardian test`"
    )


class Build(Table):
    """How images are built here."""

    engine: Literal["sandbox", "docker", "podman"] = Field(
        "sandbox", description="what executes `apt` and `run` steps; the layers are the same"
    )


class Run(Table):
    """Defaults of ``run``, ``shell`` and ``exec``. ``${NAME}`` is filled in from the environment and ``.env``."""

    image: str | None = Field(None, description="the image to run in: one of this file, or a reference")
    gpus: str = Field("auto", description="auto, all, none, a count, or ids with commas")
    shm: Size = Field(64 * 1024**2, description='size of /dev/shm, bytes or "16g"')
    engine: Literal["auto", "sandbox", "docker", "podman"] = Field(
        "auto", description="what runs containers: auto takes the sandbox, else docker, else podman"
    )
    user: str = Field("host", pattern=r"^(host|root|[0-9]+:[0-9]+)$", description='host, root or "uid:gid"')
    fix_perms: bool = Field(default=False, description="give what other users wrote under mounts to the caller")
    env: dict[EnvName, str] = Field({}, description="environment of the program")
    env_pass: tuple[EnvName, ...] = Field((), description="variables handed over by name: the place for secrets")
    ports: dict[Name, Annotated[int, Field(ge=1, le=65535)]] = Field({}, description="name → port")
    forward: tuple[Literal["x11", "ssh-agent"], ...] = Field(
        (), description="what of this session the program may use, where there is one: x11, ssh-agent"
    )


class OnCluster(Table):
    """A mount on a cluster, where paths are others."""

    path: str | None = Field(None, description="path on the cluster, instead of the source")
    sync: bool = Field(default=False, description="copy the source there before a job starts")


class Mount(Table):
    """A path of this machine inside the container, over what the image has there."""

    source: str | None = Field(None, description="path on this machine, relative to the project")
    target: str = Field(
        pattern=r"^(?:/|@site-packages/[^/])",
        description="absolute path in the container, or @site-packages/PACKAGE: over an installed package",
    )
    enabled: bool | None = Field(None, description="false: keep it, but do not mount it; default: with a source, true")
    read_only: bool = Field(default=False, description="the program cannot write to it")
    cluster: OnCluster = Field(OnCluster(), description="where it is on a cluster")

    @property
    def on(self) -> bool:
        """Whether it is to be mounted."""
        return self.source is not None if self.enabled is None else self.enabled


def _port(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value) else value


def _ports(value: Any) -> Any:
    """A list of ports names each by its number."""
    if not isinstance(value, list | tuple):
        return value
    for one in value:
        if type(_port(one)) is not int or not 1 <= _port(one) <= 65535:
            message = f"{one!r} is not a port"
            raise ValueError(message)
    return {str(port): port for port in value}


def _tcp(value: Any) -> Any:
    if value is False:
        message = "must be true (the first port) or a port"
        raise ValueError(message)
    return 0 if value is True else _port(value)


def _line(value: Any) -> Any:
    return ["sh", "-c", value] if isinstance(value, str) else value


Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_port, json_schema_input_type=int | str)]
Ports = dict[Name, Port]
Words = Annotated[tuple[str, ...], BeforeValidator(_line, json_schema_input_type=str | list[str])]


class Ready(Table):
    """How one knows that a service can be used: one of http, tcp, command and log."""

    http: Absolute | None = Field(None, description="path that is answered with a status below 400, on the first port")
    tcp: Annotated[int, Field(ge=0, le=65535), BeforeValidator(_tcp, json_schema_input_type=bool | int)] | None = Field(
        None, description="true (the first port), or a port: somebody listens on it"
    )
    command: Words | None = Field(
        None, description="a shell line, or words, that exit with 0 inside the service's container"
    )
    log: str | None = Field(None, description="a regular expression that is found in what the service writes")
    timeout: Duration = Field(60.0, gt=0, description='seconds, or "60s", "5m": by then it must be ready')
    interval: Duration = Field(0.5, gt=0, description="time between two looks")


class Service(Table):
    """A program that others talk to. ``${NAME}`` is filled in from the environment and ``.env``."""

    use: Literal["jupyter", "tensorboard", "debugpy"] | None = Field(None, description="a ready-made service")
    image: str | None = Field(None, description="the image to run in; default: [run].image")
    command: Words | None = Field(None, description="a shell line, or words; default: the image's")
    ports: Annotated[Ports, BeforeValidator(_ports, json_schema_input_type=Ports | list[int | str])] = Field(
        {}, description="name → port, or a list of ports; the first is the one that others are told"
    )
    ready: Ready | None = Field(None, description="when it can be used; default: when it has run for a second")
    profiles: tuple[Name, ...] = Field((), description="started with one of these; none: always started")
    depends_on: tuple[str, ...] = Field((), description="services that must be ready before this one starts")
    volumes: tuple[str, ...] = Field(
        (), description='"NAME:/path[:ro][:shared]" is kept between runs, "./folder:/path[:ro]" is a folder of yours'
    )
    env: dict[EnvName, str] = Field({}, description="environment of the service")
    env_pass: tuple[EnvName, ...] = Field((), description="variables handed over by name: the place for secrets")
    user: str | None = Field(
        None, pattern=r"^(host|root|[0-9]+:[0-9]+)$", description='host, root or "uid:gid"; default: [run].user'
    )
    shm: Size | None = Field(None, description="size of /dev/shm; default: [run].shm")
    gpus: str = Field("none", description="none, auto, all, a count, or ids with commas")


class Ci(Table):
    """What happens to images in a registry as time goes by."""

    retention: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {}, description='pattern of tags → how many images `registry prune` keeps: { "nightly-*" = 3 }'
    )


class Spec(Table):
    """The whole file, after all sources were merged."""

    project: Project = Field(description="the project itself")
    images: dict[Name, Image] = Field(min_length=1, description="name → image")
    build: Build = Field(Build(), description="how images are built")
    run: Run = Field(Run(), description="defaults of run and shell")
    mounts: dict[Name, Mount] = Field({}, description="name → mount")
    services: dict[Name, Service] = Field({}, description="name → service, started by `wardian up`")
    ci: Ci = Field(Ci(), description="retention in a registry")
    substitutes: dict[str, str] = Field(
        {}, description="reference or URL prefix (a trailing * matches the rest) → what to use here instead"
    )
