"""Container → running process."""

from importlib import import_module
from typing import cast

from wardian.runtimes.base import Runtime

RUNTIMES = {"sandbox": "wardian.runtimes.sandbox"}


def runtime(name: str = "sandbox") -> Runtime:
    """The driver with this name."""
    return cast("Runtime", import_module(RUNTIMES[name]))
