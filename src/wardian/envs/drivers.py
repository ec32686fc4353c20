"""Which environments there are. A driver is a module; adding one is a module and a line here."""

import importlib.util
import os
from collections.abc import Mapping
from importlib import import_module

from wardian.envs.base import Driver, Environment
from wardian.errors import SpecError, Unavailable

DRIVERS: dict[str, Driver] = {
    "babyai": Driver("40 levels of BabyAI in words", ("minigrid", "gymnasium"), "babyai", "babyai:BabyAI"),
    "sciworld": Driver("4,639 variations of ScienceWorld's tasks", ("scienceworld",), "sciworld", "sciworld:SciWorld"),
    "searchqa": Driver(
        "questions that a search in a corpus answers",
        ("bm25s",),
        "searchqa",
        "searchqa:SearchQA",
        options={
            "questions": "a file of JSON lines: question, golden_answers",
            "corpus": "a file of JSON lines: id, contents",
            "index": "a folder where the corpus's index is kept",
            "retriever": "a server of Search-R1's /retrieve, in place of a corpus",
            "topk": "how many passages a search shows (3)",
            "answers": "how many answers an episode takes; 0: no limit (1; agentgym: 0)",
        },
    ),
    "textcraft": Driver(
        "craft things by recipes",
        (),
        "envs",
        "textcraft:TextCraft",
        options={"recipes": "a folder of Minecraft's recipes"},
    ),
    "textworld": Driver(
        "text adventures, made from their numbers",
        ("textworld",),
        "textworld",
        "textworld:TextWorld",
        options={
            "games": "a folder of games of tw-make (.z8, .json), in place of made ones",
            "rooms": "rooms of a made game (3)",
            "objects": "objects of a made game (6)",
            "quest": "commands that a made game's quest takes (4)",
            "commands": "yes: name the commands that do something after each text (no)",
        },
    ),
    "gymnasium": Driver("gymnasium:ID, any registered environment", ("gymnasium",), "gym", "gymnasium_env:Gymnasium"),
    "pettingzoo": Driver(
        "pettingzoo:MODULE, any with a parallel_env", ("pettingzoo",), "gym", "gymnasium_env:PettingZoo"
    ),
}


def lacking(driver: Driver) -> list[str]:
    """The modules a driver needs that this Python does not have."""
    return [name for name in driver.requires if importlib.util.find_spec(name) is None]


def kind_of(name: str, options: Mapping[str, str]) -> type[Environment]:
    """The class of the environment of a name, ``DRIVER`` or ``DRIVER:ARGUMENT``.

    Raises ``SpecError`` for a name that no driver has or an option that it does not know, ``Unavailable`` when what it
    needs is not installed.
    """
    kind = name.partition(":")[0]
    driver = DRIVERS.get(kind)
    if driver is None:
        raise SpecError(f"there is no environment {name!r}", hint=f"there are {', '.join(DRIVERS)}")
    unknown = [option for option in options if option not in driver.options]
    if unknown:
        known = f"it has {', '.join(driver.options)}" if driver.options else "it has none"
        raise SpecError(f"{kind} has no option {unknown[0]!r}", hint=known)
    missing = lacking(driver)
    if missing:
        raise Unavailable(
            f"{kind} needs {' and '.join(missing)}, which this Python does not have",
            hint=f"install 'wardian[{driver.extra}]' where the server runs",
        )
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # what it greets with is no answer of ours
    module, function = driver.make.split(":")
    found: type[Environment] = getattr(import_module(f"wardian.envs.{module}"), function)
    return found


def make(name: str, options: Mapping[str, str], *, agentgym: bool = False) -> Environment:
    """Make the environment of a name. Raises as ``kind_of`` does, and whatever its making raises."""
    argument = name.partition(":")[2]
    made: Environment = kind_of(name, options)(*([argument] if argument else []), agentgym=agentgym, **options)  # type: ignore[call-arg]
    return made
