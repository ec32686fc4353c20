"""Who we are to a registry: docker's and podman's files, credential helpers, identity tokens, netrc.

Sources: docker's config.json (cli/config/configfile), containers-auth.json(5), the docker-credential-helpers protocol.
"""

import base64
import binascii
import json
import netrc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wardian.command import Command, Result
from wardian.errors import Unavailable, WardianError

HUB_KEY = "https://index.docker.io/v1/"
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credential:
    """A way to say who we are, and where it was found. Its secrets stay out of ``repr``."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)  # an OAuth2 refresh token
    registry_token: str = field(default="", repr=False)  # a bearer token, used as it is

    @property
    def basic(self) -> str:
        """The value of a Basic Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Keyring:
    """Finds credentials. ``tried`` says, for the error message, where it looked and what it met."""

    def __init__(self, environ: Mapping[str, str], run: Callable[[Command], Result]) -> None:
        self._environ = environ
        self._run = run
        self.tried: list[str] = []

    def find(self, host: str, repository: str = "") -> Credential | None:
        """The first credential for a registry host (or for a part of it, as podman allows); None when there is none."""
        self.tried = []
        for path in auth_files(self._environ):
            if found := self._in_file(path, host, repository):
                return found
        return self._in_netrc(host)

    def _in_file(self, path: Path, host: str, repository: str) -> Credential | None:
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.tried.append(f"{path} ({error.strerror})")
            return None
        self.tried.append(str(path))
        config = _parsed(content, path)
        helper = _lookup(config.get("credHelpers"), host, "") or config.get("credsStore")
        if isinstance(helper, str) and helper and (found := self._from_helper(helper, host)):
            return found
        entry = _lookup(config.get("auths"), host, repository)
        return _from_entry(entry, path) if isinstance(entry, dict) else None

    def _from_helper(self, helper: str, host: str) -> Credential | None:
        program = f"docker-credential-{helper}"
        if "/" in helper:
            raise WardianError(f"{helper!r} is not the name of a credential helper")
        server = HUB_KEY if host in _HUB else host
        try:
            result = self._run(Command((program, "get"), stdin=server.encode()))
        except Unavailable:
            self.tried.append(f"{program} (not on this machine)")
            return None
        self.tried.append(program)
        if result.code:
            return None  # "credentials not found in native keychain": the next place may have them
        try:
            said = json.loads(result.stdout)
            username, secret = str(said["Username"]), str(said["Secret"])
        except (ValueError, LookupError, TypeError) as error:
            raise WardianError(f"{program} answered something that is no credential") from error
        if username == "<token>":
            return Credential(program, identity_token=secret)
        return Credential(program, username, secret) if secret else None

    def _in_netrc(self, host: str) -> Credential | None:
        path = Path(self._environ.get("NETRC") or Path(self._environ.get("HOME", "/")) / ".netrc")
        try:
            entries = netrc.netrc(str(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, netrc.NetrcParseError) as error:
            self.tried.append(f"{path} ({error})")
            return None
        self.tried.append(str(path))
        for name in (host, host.rpartition(":")[0] or host):
            if name in entries.hosts:
                login, _, password = entries.hosts[name]
                return Credential(str(path), login, password or "")
        return None


def auth_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where docker and podman write what ``login`` was told, the explicit places first."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    home = environ.get("HOME")
    if folder := environ.get("DOCKER_CONFIG"):
        yield Path(folder) / "config.json"
    elif home:
        yield Path(home) / ".docker" / "config.json"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    if config := environ.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"):
        yield Path(config) / "containers" / "auth.json"


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise WardianError(
            f"{path} is not JSON: {error}", hint="mend it, or move it away and type: docker login"
        ) from error
    if not isinstance(config, dict):
        raise WardianError(f"{path} is not a JSON object")
    return config


def _lookup(table: object, host: str, repository: str) -> object:
    """The most specific entry: ``host/a/b``, ``host/a``, ``host``; keys may be written as addresses."""
    if not isinstance(table, dict):
        return None
    entries = {_key(name): value for name, value in table.items()}
    parts = [part for part in repository.split("/") if part]
    for name in _HUB if host in _HUB else (host,):
        for count in range(len(parts), -1, -1):
            if (key := "/".join([name, *parts[:count]])) in entries:
                return entries[key]
    return None


def _key(name: str) -> str:
    """``https://index.docker.io/v1/`` as ``index.docker.io``."""
    bare = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _from_entry(entry: Mapping[str, Any], path: Path) -> Credential | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if encoded := entry.get("auth"):
        try:
            text = base64.b64decode(str(encoded).strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise WardianError(f"an `auth` entry of {path} is not base64", hint="type: docker login again") from error
        username, _, password = text.rstrip("\0").partition(":")
    found = Credential(
        str(path), username, password, str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    )
    return found if found.password or found.identity_token or found.registry_token else None
