"""Environment servers: text environments for agents over HTTP, their client, and the evaluation of a model in them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wardian.envs.client import AsyncClient, Client, environment_factory

__all__ = ["AsyncClient", "Client", "environment_factory"]


def __getattr__(name: str) -> Any:
    """The client, imported when it is asked for: a server begins without it."""
    if name in __all__:
        from wardian.envs import client

        return getattr(client, name)
    raise AttributeError(f"module 'wardian.envs' has no attribute {name!r}")
