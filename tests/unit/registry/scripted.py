"""A transport whose servers are functions of this process: no network, no waiting."""

from collections.abc import Callable
from pathlib import Path

import httpx

from wardian.command import Command, Result
from wardian.registry.auth import Authorizer
from wardian.registry.client import Registry
from wardian.registry.credentials import Keyring
from wardian.registry.exchange import Exchange
from wardian.registry.transport import Transport

Serve = Callable[[httpx.Request], httpx.Response]


class Scripted(Transport):
    """Every request of every host goes to one function."""

    def __init__(self, serve: Serve) -> None:
        super().__init__({}, sleep=lambda _: None)
        self._serve = serve

    def _client(self, url: str) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._serve))


def no_helper(command: Command) -> Result:
    """No credential helper is asked."""
    raise AssertionError(command)


def exchange(serve: Serve) -> Exchange:
    """Talks to that server, as nobody."""
    transport = Scripted(serve)
    return Exchange(transport, Authorizer(transport, Keyring({"HOME": str(Path("/nonexistent"))}, no_helper)))


def registry(serve: Serve) -> Registry:
    """The same, as registries."""
    return Registry(exchange(serve))
