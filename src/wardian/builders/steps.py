"""What a system step is – Debian packages, or a shell line – whoever executes it.

Certificates, proxies, package indexes and name resolution of this machine reach a `run` step by bound files and by
variables that exist only while it runs. Locked packages reach `apt` as files; it has no network.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wardian.builders.base import Beneath, Site
from wardian.builders.execute import PATH
from wardian.hosts.machine import Machine, local_path
from wardian.plan.containers import Bind
from wardian.plan.layers import Apt, RunStep, shortened
from wardian.store.store import LayerRecord

OURS = "/run/wardian"  # what is bound for a step lies here; nothing beneath /run enters a layer
HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")
UMASK = 'umask 022 && exec "$@"'  # files do not depend on the caller's
_BUNDLE = f"{OURS}/ca-certificates.crt"
_CA_NAMES = ("NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "NIX_SSL_CERT_FILE")
_POLICY = "/usr/sbin/policy-rc.d"  # asked by invoke-rc.d: 101 forbids to start services
# Slim images, and ours, have no manuals and not even their folders, where alternatives (Java, PostgreSQL) want a link.
_INSTALL = r"""
set -e
made=
for section in 1 2 3 4 5 6 7 8; do
  folder=/usr/share/man/man$section
  [ -d $folder ] || { mkdir -p $folder; made="$made $folder"; }
done
if command -v apt-get >/dev/null; then
  apt-get -y --no-install-recommends --allow-downgrades \
    -o APT::Sandbox::User=root -o APT::Install-Suggests=false -o Dpkg::Use-Pty=false \
    -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null \
    -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef \
    install "$@"
else
  dpkg --force-unsafe-io --force-confold --force-confdef --unpack "$@"
  dpkg --force-confold --force-confdef --configure --pending
fi
for folder in $made; do rmdir $folder 2>/dev/null || true; done
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One program to run over layers: what it sees beyond them, and how it is named in messages."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str = "/"
    network: bool = False
    binds: tuple[Bind, ...] = ()
    packages: tuple[str, ...] = ()  # that it installs


class Execute(Protocol):
    """Runs a step over what lies beneath, in a folder of its own; what it changed becomes the layer."""

    def __call__(
        self, layer: Apt | RunStep, step: Step, beneath: Beneath, site: Site, *, work: Path, say: Callable[[str], None]
    ) -> LayerRecord:
        """Run it. Raises ``CommandFailed`` with its last lines; nothing is kept then."""
        ...


def apt(layer: Apt, beneath: Beneath, site: Site, say: Callable[[str], None], execute: Execute) -> LayerRecord:
    """Install exactly these packages. The machine's network is out of reach: everything is on disk."""
    paths = site.sources.debs(layer.debs, say)
    with site.temporary() as work:
        repository = work / "debs"
        repository.mkdir()
        for path in paths:
            os.link(path, repository / path.name)
        policy = work / "policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        env = {**environment(beneath.env, (), site.epoch), "DEBIAN_FRONTEND": "noninteractive", "TZ": "UTC"}
        inside = f"{OURS}/debs"
        step = Step(
            f"image {beneath.image}, apt",
            ("sh", "-c", _INSTALL, "sh", *(f"{inside}/{path.name}" for path in paths)),
            env,
            binds=(Bind(str(repository), inside, read_only=True), Bind(str(policy), _POLICY, read_only=True)),
            packages=tuple(f"{deb.name}={deb.version}" for deb in layer.debs),
        )
        return execute(layer, step, beneath, site, work=work, say=say)


def run(layer: RunStep, beneath: Beneath, site: Site, say: Callable[[str], None], execute: Execute) -> LayerRecord:
    """Execute one shell line with network, the machine's certificates, proxies and package indexes."""
    binds, ours = passage(site.machine)
    step = Step(
        f"image {beneath.image}, run {layer.number} ({shortened(layer.line)})",
        ("sh", "-ec", layer.line),
        {**ours, **environment(beneath.env, layer.env, site.epoch)},
        layer.workdir or "/",
        network=True,
        binds=binds,
    )
    with site.temporary() as work:
        return execute(layer, step, beneath, site, work=work, say=say)


def environment(base: Mapping[str, str], own: Sequence[tuple[str, str]], epoch: int) -> dict[str, str]:
    """What a step sees: the base's environment, the image's on top; ``$PATH`` in a PATH is the base's."""
    path = base.get("PATH") or PATH
    env = {"HOME": "/root", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(epoch), **base, "PATH": path}
    for name, value in own:
        env[name] = value.replace("$PATH", path) if name == "PATH" else value
    return env


def passage(machine: Machine) -> tuple[tuple[Bind, ...], dict[str, str]]:
    """How a step reaches the world as this machine does: (binds, variables). Neither enters the image."""
    binds = [Bind(path, path, read_only=True) for path in HOST_FILES if Path(path).exists()]
    bundle = machine.ca_bundle if machine.ca_bundle and Path(machine.ca_bundle).is_file() else None
    if bundle:
        binds.append(Bind(bundle, _BUNDLE, read_only=True))
    env = machine.environment(_BUNDLE if bundle else None)
    if bundle:
        env |= dict.fromkeys(_CA_NAMES, _BUNDLE)
    else:
        env = {name: value for name, value in env.items() if value != machine.ca_bundle}
    for at, place in enumerate(machine.folders):
        if Path(place).is_dir():
            inside = f"{OURS}/indexes/{at}"
            binds.append(Bind(place, inside, read_only=True))
            env = {name: _moved(value, place, inside) for name, value in env.items()}
    return tuple(binds), env


def _moved(value: str, place: str, inside: str) -> str:
    """A list of places in a variable, with one folder at its place inside."""
    words = value.replace(",", " , ").split(" ")
    return " ".join(_inside(word, place, inside) for word in words).replace(" , ", ",")


def _inside(word: str, place: str, inside: str) -> str:
    path = local_path(word) if word.startswith(("/", "file:")) else None
    if path is None or str(path) != place:
        return word
    return f"file://{inside}" if word.startswith("file:") else inside
