"""What a machine's owner configured for everybody on it: package indexes, certificates, proxies.

Read once, from the environment and from the files that pip and uv read, into one frozen value; a company's or a
university's mirrors then work without a word in the project. Nothing of it reaches a lock or an image.
"""

import configparser
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

PYPI = "https://pypi.org/simple"
_CA = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")


@dataclass(frozen=True, slots=True)
class Machine:
    """The package indexes, certificates and proxies of this machine."""

    index: str = PYPI
    extra_indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()  # folders and pages
    no_index: bool = False
    index_strategy: str = "first-index"  # uv's word for which index wins
    credentials: tuple[tuple[str, str, str], ...] = ()  # (index without them, user, password)
    trusted: tuple[str, ...] = ()  # hosts whose certificates are not checked
    ca_bundle: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)  # "http", "https", "all" → proxy
    no_proxy: str | None = None
    netrc: str | None = None

    @property
    def indexes(self) -> tuple[str, ...]:
        """Every package index, in the order in which uv asks them (the default one comes last)."""
        return () if self.no_index else unique((*self.extra_indexes, self.index))

    def environment(self, ca_bundle: str | None = None) -> dict[str, str]:
        """Variables that carry certificates, proxies and indexes to a program that sees the bundle at ``ca_bundle``."""
        values: dict[str, str] = {}
        for scheme, proxy in sorted(self.proxies.items()):
            values |= {f"{scheme}_proxy": proxy, f"{scheme.upper()}_PROXY": proxy}
        if self.no_proxy:
            values |= {"no_proxy": self.no_proxy, "NO_PROXY": self.no_proxy}
        bundle = ca_bundle or self.ca_bundle
        if bundle:
            values |= dict.fromkeys(_CA, bundle)
        return values | self._indexes()

    def _indexes(self) -> dict[str, str]:
        values: dict[str, str] = {}
        if self.index != PYPI:
            values |= {"PIP_INDEX_URL": self.index, "UV_DEFAULT_INDEX": self.index}
        if self.extra_indexes:
            joined = " ".join(self.extra_indexes)
            values |= {"PIP_EXTRA_INDEX_URL": joined, "UV_INDEX": joined}
        if self.find_links:
            values |= {"PIP_FIND_LINKS": " ".join(self.find_links), "UV_FIND_LINKS": ",".join(self.find_links)}
        if self.no_index:
            values |= {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"}
        if self.index_strategy != "first-index":
            values["UV_INDEX_STRATEGY"] = self.index_strategy
        return values

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of this machine that the indexes and find-links name, absolute."""
        named = (local_path(place) for place in (*self.find_links, *self.indexes))
        return unique(str(path.absolute()) for path in named if path is not None)


def read_machine(environ: Mapping[str, str], *, prefix: str = sys.prefix) -> Machine:
    """Read the machine's configuration; ``prefix`` is the virtual environment whose pip.conf counts."""
    pip = _pip(environ, prefix)
    uv = _uv(environ)
    named = [*_named(environ.get("UV_DEFAULT_INDEX", "").split()), *_named(environ.get("UV_INDEX", "").split())]
    credentials = [(url, *pair) for name, url in (*named, *_uv_named(uv)) if (pair := _credentials(environ, name))]
    default = _first(
        *(url for _, url in _named([environ.get("UV_DEFAULT_INDEX", "")]) if url),
        environ.get("UV_INDEX_URL"),
        environ.get("PIP_INDEX_URL"),
        *(entry["url"] for entry in _entries(uv) if entry.get("default")),
        uv.get("index-url"),
        pip.get("index-url"),
    )
    pip_extra = _words(environ.get("PIP_EXTRA_INDEX_URL") or pip.get("extra-index-url"))
    extra = [
        *(url for _, url in _named(environ.get("UV_INDEX", "").split())),
        *_words(environ.get("UV_EXTRA_INDEX_URL")),
        *(entry["url"] for entry in _entries(uv) if not entry.get("default")),
        *_listed(uv.get("extra-index-url")),
        *pip_extra,
    ]
    return Machine(
        index=(default or PYPI).rstrip("/"),
        extra_indexes=unique(url.rstrip("/") for url in extra),
        find_links=unique(
            [
                *(environ.get("UV_FIND_LINKS") or "").replace(",", " ").split(),
                *_words(environ.get("PIP_FIND_LINKS") or pip.get("find-links")),
                *_listed(uv.get("find-links")),
            ]
        ),
        no_index=any(
            map(
                _true,
                (environ.get("UV_NO_INDEX"), environ.get("PIP_NO_INDEX"), uv.get("no-index"), pip.get("no-index")),
            )
        ),
        # pip takes the best version of all indexes: who configured pip's extra indexes expects that.
        index_strategy=environ.get("UV_INDEX_STRATEGY")
        or uv.get("index-strategy")
        or ("unsafe-best-match" if pip_extra else "first-index"),
        credentials=tuple(credentials),
        trusted=unique(
            [
                *_words(environ.get("PIP_TRUSTED_HOST") or pip.get("trusted-host")),
                *_words(environ.get("UV_INSECURE_HOST")),
                *_listed(uv.get("allow-insecure-host")),
            ]
        ),
        ca_bundle=_first(*(environ.get(name) for name in _CA), pip.get("cert")),
        proxies=_proxies(environ, pip),
        no_proxy=environ.get("no_proxy") or environ.get("NO_PROXY"),
        netrc=environ.get("NETRC") or (str(Path(environ["HOME"], ".netrc")) if environ.get("HOME") else None),
    )


def bare(url: str) -> str:
    """A URL without user and password: what may be written down.

    >>> bare("https://ada:secret@pypi.example.org/simple")
    'https://pypi.example.org/simple'
    """
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def userinfo(url: str) -> tuple[str, str] | None:
    """User and password of a URL, decoded."""
    parts = urlsplit(url)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def local_path(place: str) -> Path | None:
    """The path of a ``file://`` URL or of a plain path; None for another URL."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme and "://" in place else Path(place)


def unique(values: Iterable[str]) -> tuple[str, ...]:
    """The values without repetitions, in order."""
    return tuple(dict.fromkeys(values))


def _pip(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    """What pip would merge: ``[global]`` and ``[install]``. Source: pip's documentation, "Configuration files"."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return {}
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    config = Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME") else home / ".config" if home else None
    shared = [
        Path(folder, "pip", "pip.conf")
        for folder in reversed((environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"))
    ]
    paths = [
        *shared,
        Path("/etc/pip.conf"),
        *([home / ".pip" / "pip.conf"] if home else []),
        *([config / "pip" / "pip.conf"] if config else []),
    ]
    paths += [Path(prefix, "pip.conf"), *([Path(chosen)] if chosen else [])]
    merged: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in paths:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue  # pip itself says what is wrong with its files; a lock does not depend on them
        for section, values in merged.items():
            if parser.has_section(section):
                values |= {name.lower().replace("_", "-"): value for name, value in parser.items(section)}
    return merged["global"] | merged["install"]


def _uv(environ: Mapping[str, str]) -> dict[str, Any]:
    """What uv would merge, with its ``[pip]`` table on top. Source: uv's documentation, "Configuration files"."""
    if _true(environ.get("UV_NO_CONFIG")):
        return {}
    home = environ.get("XDG_CONFIG_HOME") or (str(Path(environ["HOME"], ".config")) if environ.get("HOME") else None)
    paths = [Path("/etc/uv/uv.toml"), *([Path(home, "uv", "uv.toml")] if home else [])]
    if chosen := environ.get("UV_CONFIG_FILE"):
        paths = [Path(chosen)]
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        merged |= values | values.get("pip", {})
    return merged


def _entries(uv: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        entry
        for entry in uv.get("index", ())
        if isinstance(entry, dict) and entry.get("url") and not entry.get("explicit")
    ]


def _uv_named(uv: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(entry.get("name", ""), entry["url"]) for entry in _entries(uv)]


def _named(words: Iterable[str]) -> list[tuple[str, str]]:
    """(name, URL) of uv's ``name=https://…`` words."""
    found = (re.match(r"(?:([A-Za-z0-9._-]+)=)?(.+)", word) for word in words)
    return [(match[1] or "", match[2]) for match in found if match]


def _credentials(environ: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """``UV_INDEX_<NAME>_USERNAME`` and ``…_PASSWORD`` of a named index."""
    stem = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
    user, password = environ.get(f"{stem}_USERNAME"), environ.get(f"{stem}_PASSWORD")
    return (user or "", password or "") if name and (user or password) else None


def _proxies(environ: Mapping[str, str], pip: Mapping[str, str]) -> dict[str, str]:
    """Proxies by scheme; the lower-case variables win, as in curl."""
    named = {
        scheme: environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY")
        for scheme in ("http", "https", "all")
    }
    configured = environ.get("PIP_PROXY") or pip.get("proxy")
    if configured and not any(named.values()):
        named = {"http": configured, "https": configured}
    return {scheme: proxy for scheme, proxy in named.items() if proxy}


def _words(value: str | None) -> list[str]:
    try:
        return shlex.split(value or "")
    except ValueError:
        return (value or "").split()


def _listed(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list | tuple) else []


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value), None)


def _true(value: object) -> bool:
    return value is True or str(value or "").lower() in {"1", "true", "yes", "on", "t", "y"}
