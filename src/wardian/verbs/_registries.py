"""The registries as a verb reaches them: this machine's certificates, this user's logins, requests under --verbose."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING

from wardian.errors import WardianError
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.registry.client import Registry
    from wardian.registry.source import Source


@contextmanager
def registries(workspace: Workspace, *, plain: Iterable[str] = ()) -> "Iterator[Registry]":
    """All registries; plain HTTP is spoken to the hosts in ``plain``."""
    from wardian.hosts.machine import read_machine
    from wardian.registry.client import open_registry

    bundle = read_machine(workspace.environ).ca_bundle
    console = workspace.console
    note = console.detail if console.verbose else None
    with open_registry(workspace.environ, workspace.host.run, ca_bundle=bundle, note=note) as registry:
        for host in plain:
            registry = registry.with_plain(host)  # noqa: PLW2901 - the same registries, told more
        yield registry


@contextmanager
def asked_for(workspace: Workspace, name: str) -> Iterator[None]:
    """When no registry gives this image: say so of one that was built here and whose name leads to none."""
    from wardian.oci.model import REF_NAME
    from wardian.registry.client import BUILT

    try:
        yield
    except WardianError as error:
        held = workspace.store.resolve(name)
        if held is None or held.annotations.get(BUILT) != "true":
            raise
        called = held.annotations[REF_NAME]
        raise WardianError(
            f"{called} is an image that was built here, and no registry gives it: {error.message}",
            hint=f"type: wardian push {quote(called)} --to HOST/REPOSITORY, and use the name that it has there",
        ) from error


def source(workspace: Workspace, reference: str) -> "Source":
    """Where a reference is asked for: at its registry, or at what this machine's [substitutes] say instead."""
    from wardian.registry.source import Source
    from wardian.spec.substitute import substitute

    instead = substitute(workspace.spec.substitutes, reference) if workspace.has_project else None
    return Source.parse(instead or reference)
