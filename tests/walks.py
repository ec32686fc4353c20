"""Walks through BabyAI's items that depend on nothing but what the server says: the same against any server."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

NO_ACTIONS = (
    "",
    "check",
    "dance",
    "  Turn LEFT ",
    "pick up red ball 1",
    "drop",
    "toggle",
    "move forward",
    "go through",
)
STEPS = 25


def walk(item: int, reset: Callable[[int], Mapping[str, Any]], step: Callable[[str], Mapping[str, Any]]) -> list[str]:
    """The answers, as JSON, of an episode that chooses among what is offered, and of one call after it."""
    chance = random.Random(item)
    said = reset(item)
    answers = [json.dumps(said)]
    for _ in range(STEPS):
        if "error" in said or said["done"]:
            break
        offered = json.loads(said["observation"].partition("\nAvailable actions: ")[2])
        said = step(chance.choice(offered if chance.random() < 0.8 else NO_ACTIONS))
        answers.append(json.dumps(said))
    return [*answers, json.dumps(step("turn left"))]


def digest(answers: list[str]) -> str:
    """A short name of a transcript."""
    return hashlib.sha256("\n".join(answers).encode()).hexdigest()[:16]
