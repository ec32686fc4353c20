"""Which environments there are. A driver is a module; adding one is a module and a line here."""

import importlib.util
import os
from importlib import import_module

from wardian.envs.base import Driver, Environment
from wardian.errors import Unavailable, WardianError

DRIVERS: dict[str, Driver] = {
    "babyai": Driver("40 levels of BabyAI in words", ("minigrid", "gymnasium"), "babyai", "babyai:BabyAI"),
    "gymnasium": Driver("gymnasium:ID, any registered environment", ("gymnasium",), "gym", "gymnasium_env:Gymnasium"),
    "pettingzoo": Driver(
        "pettingzoo:MODULE, any with a parallel_env", ("pettingzoo",), "gym", "gymnasium_env:PettingZoo"
    ),
}


def lacking(driver: Driver) -> list[str]:
    """The modules a driver needs that this Python does not have."""
    return [name for name in driver.requires if importlib.util.find_spec(name) is None]


def make(name: str, *, agentgym: bool = False) -> Environment:
    """Make the environment of a name, ``DRIVER`` or ``DRIVER:ARGUMENT``.

    Raises ``WardianError`` for a name that no driver has, ``Unavailable`` when what it needs is not installed.
    """
    kind, _, argument = name.partition(":")
    driver = DRIVERS.get(kind)
    if driver is None:
        raise WardianError(f"there is no environment {name!r}", hint=f"there are {', '.join(DRIVERS)}")
    missing = lacking(driver)
    if missing:
        raise Unavailable(
            f"{kind} needs {' and '.join(missing)}, which this Python does not have",
            hint=f"install 'wardian[{driver.extra}]' where the server runs",
        )
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # what it greets with is no answer of ours
    module, function = driver.make.split(":")
    made: Environment = getattr(import_module(f"wardian.envs.{module}"), function)(
        *([argument] if argument else []), agentgym=agentgym
    )
    return made
