"""What an image sets for the programs that run in it: variables, PATH, workdir, entrypoint, command."""

from dataclasses import dataclass

from wardian.spec.models import Image

PREFIX = "/opt/env"
CA_BUNDLE = "/etc/ssl/certs/wardian-ca-bundle.crt"
CA_NAMES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Config:
    """What an image adds to its base's config. None means: as the base has it."""

    env: tuple[tuple[str, str], ...] = ()  # sorted by name; without PATH unless the user set it
    path: tuple[str, ...] = ()  # folders that go before the base's PATH
    workdir: str | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None


def configured(image: Image, before: Config, *, has_python: bool, has_ca: bool) -> Config:
    """The parent's config and what this image sets. A new entrypoint drops the old command, as in a Dockerfile."""
    env = dict(before.env)
    if has_python:
        env["VIRTUAL_ENV"] = PREFIX
    if has_ca:
        env |= dict.fromkeys(CA_NAMES, CA_BUNDLE)
    env |= image.env
    command = image.command if image.command is not None else before.command
    return Config(
        env=tuple(sorted(env.items())),
        path=(f"{PREFIX}/bin",) if has_python else before.path,
        workdir=image.workdir or before.workdir,
        entrypoint=image.entrypoint if image.entrypoint is not None else before.entrypoint,
        command=() if image.entrypoint is not None and image.command is None else command,
    )
