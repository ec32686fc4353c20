"""TextCraft as AgentGym serves it: craft a goal from things that can be had, by the recipes that are told.

Recipes are Minecraft's own JSON (``recipes=DIR``), or a small set of ours. Items are the goals that need at least one
recipe, the shallow ones first. In the reference, which recipes an item shows depends on PYTHONHASHSEED; here all is
sorted, so an item is the same everywhere.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from wardian.envs.base import NoSuchItem, Turn, Wire
from wardian.errors import WardianError

PREFIX = "minecraft:"
DISTRACTORS = 10
CRAFT, GET, COUNT = re.compile("craft (.*) using (.*)"), re.compile("get ([0-9]+) (.*)"), re.compile("([0-9]+) (.*)")
SYSTEM = """You are given a few useful crafting recipes to craft items in Minecraft. Crafting commands are of the \
format "craft [target object] using [input ingredients]". Every round I will give you an observation, you have to \
respond an action based on the state and instruction. You can "get" an object (ingredients) from the inventory \
or the environment, look-up the game inventory by "inventory", or "craft" (target) using any of the crafting \
commands. You can use ONLY these crafting commands provided, do not use your own crafting commands. However, if \
the crafting command uses a generic ingredient like "planks", you can use special types of the same ingredient \
e.g. "dark oak planks" in the command instead."""
# goal: (how many, what it takes); a group names what any of its members may stand for
OWN: Mapping[str, tuple[int, Mapping[str, int], str | None]] = {
    "oak planks": (4, {"oak log": 1}, "planks"),
    "birch planks": (4, {"birch log": 1}, "planks"),
    "stick": (4, {"planks": 2}, None),
    "crafting table": (1, {"planks": 4}, None),
    "chest": (1, {"planks": 8}, None),
    "torch": (4, {"coal": 1, "stick": 1}, None),
    "ladder": (3, {"stick": 7}, None),
    "wooden pickaxe": (1, {"planks": 3, "stick": 2}, None),
    "stone pickaxe": (1, {"cobblestone": 3, "stick": 2}, None),
    "iron pickaxe": (1, {"iron ingot": 3, "stick": 2}, None),
    "iron sword": (1, {"iron ingot": 2, "stick": 1}, None),
    "bucket": (1, {"iron ingot": 3}, None),
    "shears": (1, {"iron ingot": 2}, None),
    "furnace": (1, {"cobblestone": 8}, None),
    "rail": (16, {"iron ingot": 6, "stick": 1}, None),
    "minecart": (1, {"iron ingot": 5}, None),
    "chest minecart": (1, {"chest": 1, "minecart": 1}, None),
    "furnace minecart": (1, {"furnace": 1, "minecart": 1}, None),
    "paper": (3, {"sugar cane": 3}, None),
    "book": (1, {"paper": 3, "leather": 1}, None),
    "bookshelf": (1, {"planks": 6, "book": 3}, None),
    "oak sign": (3, {"oak planks": 6, "stick": 1}, None),
    "item frame": (1, {"stick": 8, "leather": 1}, None),
    "bow": (1, {"stick": 3, "string": 3}, None),
    "arrow": (4, {"flint": 1, "stick": 1, "feather": 1}, None),
    "white wool": (1, {"string": 4}, "wool"),
    "white bed": (1, {"wool": 3, "planks": 3}, None),
    "painting": (1, {"stick": 8, "wool": 1}, None),
    "bread": (1, {"wheat": 3}, None),
    "bowl": (4, {"planks": 3}, None),
    "mushroom stew": (1, {"brown mushroom": 1, "red mushroom": 1, "bowl": 1}, None),
    "clock": (1, {"gold ingot": 4, "redstone": 1}, None),
    "compass": (1, {"iron ingot": 4, "redstone": 1}, None),
    "map": (1, {"paper": 8, "compass": 1}, None),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """``takes`` are names of things or groups, with a count each."""

    makes: str
    count: int
    takes: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        taken = ", ".join(f"{count} {words(name)}" for name, count in self.takes)
        return f"craft {self.count} {words(self.makes)} using {taken}"


def words(name: str) -> str:
    """A thing's name in words.

    >>> words("minecraft:dark_oak_sign")
    'dark oak sign'
    """
    return name.replace(PREFIX, "").replace("_", " ")


class Recipes:
    """What can be crafted. ``groups``: thing → the group that it may stand for."""

    def __init__(self, recipes: Sequence[Recipe], groups: Mapping[str, str]) -> None:
        self.groups = groups
        self.of: dict[str, list[Recipe]] = {}
        for recipe in recipes:
            self.of.setdefault(recipe.makes, []).append(recipe)
        members = {group: [thing for thing in sorted(groups) if groups[thing] == group] for group in groups.values()}
        self.by_group = {
            group: [one for thing in some for one in self.of.get(thing, ())] for group, some in members.items()
        }
        named = {name for recipe in recipes for name, _ in recipe.takes}
        self.things = {*self.of, *(name for name in named if name not in self.by_group)}

    def ways(self, name: str) -> list[Recipe]:
        """The recipes of a thing, or of the members of a group."""
        return self.of.get(name) or self.by_group.get(name) or []

    @cached_property
    def goals(self) -> list[str]:
        """What needs a recipe, the shallow first, then by name."""
        depths: dict[str, int] = {}

        def depth(name: str, above: frozenset[str]) -> int:
            if name in above:
                return 1000  # only by itself
            if name not in depths:
                ways = [max(depth(one, above | {name}) + 1 for one, _ in way.takes) for way in self.ways(name)]
                if above:
                    return min(ways, default=0)
                depths[name] = min(ways, default=0)
            return depths[name]

        found = sorted((depth(name, frozenset()), name) for name in self.of)
        return [name for deep, name in found if 1 <= deep < 1000]

    def told(self, goal: str, chance: random.Random) -> list[str]:
        """The recipes to a goal, and some that use the same things, shuffled."""
        needed: dict[str, None] = {}
        waiting, met = [goal], {goal}
        while waiting:
            for recipe in self.ways(waiting.pop()):
                needed[str(recipe)] = None
                new = [name for name, _ in recipe.takes if name not in met]
                met.update(new)
                waiting += new
        others = sorted(
            {str(one) for ways in self.of.values() for one in ways if any(name in met for name, _ in one.takes)}
            - needed.keys()
        )
        shown = sorted(needed) + chance.sample(others, min(len(others), DISTRACTORS))
        chance.shuffle(shown)
        return shown


def own() -> Recipes:
    """The recipes that are always there."""
    named = {thing: PREFIX + thing.replace(" ", "_") for _, takes, _ in OWN.values() for thing in takes}
    named |= {thing: PREFIX + thing.replace(" ", "_") for thing in OWN}
    for _, _, group in OWN.values():
        if group:
            named[group] = PREFIX + group
    recipes = [
        Recipe(named[thing], count, tuple((named[one], number) for one, number in takes.items()))
        for thing, (count, takes, _) in OWN.items()
    ]
    return Recipes(recipes, {named[thing]: named[group] for thing, (_, _, group) in OWN.items() if group})


def read(folder: Path) -> Recipes:
    """Minecraft's recipes (``crafting_shaped`` and ``crafting_shapeless``), a file each. Raises ``WardianError``."""
    recipes, groups = [], {}
    files = sorted(folder.glob("*.json"))
    if not files:
        raise WardianError(f"{folder} has no recipes", hint="name a folder with Minecraft's recipes, *.json")
    for path in files:
        try:
            recipe = _recipe(json.loads(path.read_text()))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise WardianError(f"{path} is no recipe: {type(error).__name__} {error}") from error
        if recipe is None:
            continue
        made, group = recipe
        if len(made.takes) == 1 and made.takes[0][0].endswith("_block"):
            continue  # as the reference: a block only packs what it is made of
        recipes.append(made)
        if group and group != made.makes:
            groups[made.makes] = group
    return Recipes(recipes, groups)


def _recipe(said: Mapping[str, Any]) -> tuple[Recipe, str | None] | None:
    takes: dict[str, int] = {}
    if said["type"] == PREFIX + "crafting_shaped":
        for key, one in said["key"].items():
            name = _thing(one)
            takes[name] = takes.get(name, 0) + sum(line.count(key) for line in said["pattern"])
    elif said["type"] == PREFIX + "crafting_shapeless":
        for one in said["ingredients"]:
            name = _thing(one)
            takes[name] = takes.get(name, 0) + 1
    else:
        return None
    result = said["result"]
    makes, count = (result, 1) if isinstance(result, str) else (result["item"], int(result.get("count") or 1))
    group = PREFIX + said["group"] if said.get("group") else None
    return Recipe(makes, count, tuple(takes.items())), group


def _thing(one: Any) -> str:
    one = one[0] if isinstance(one, list) else one
    return str(one["item"] if "item" in one else one["tag"])


class Failed(Exception):
    """An action that cannot be done, and why."""


class TextCraftEpisode:
    """One goal."""

    __slots__ = ("_held", "_recipes", "commands", "goal")

    def __init__(self, recipes: Recipes, goal: str, commands: str) -> None:
        self._recipes, self.goal, self.commands = recipes, goal, commands
        self._held: dict[str, int] = {}

    def first(self) -> Turn:
        """The recipes and the goal."""
        return Turn(f"Crafting commands:\n{self.commands}\n\nGoal: craft {words(self.goal)}.")

    def step(self, action: str) -> Turn:
        """Get, craft, or look at what is held."""
        try:
            if match := CRAFT.match(action):
                made, said = self._craft(match[1], match[2])
            elif match := GET.match(action):
                made, said = self._get(match[2], match[1])
            elif action.startswith("inventory"):
                held = "".join(f"[{words(name)}] ({count}) " for name, count in self._held.items())
                return Turn("Inventory: " + (held or "You are not carrying anything."))
            else:
                return Turn(f"Could not execute {action}", valid=False)
        except Failed as failed:
            return Turn(str(failed), valid=False)
        won = made == self.goal
        return Turn(said, int(won), won, success=won)

    def _get(self, item: str, amount: str) -> tuple[str, str]:
        name, recipes = PREFIX + item.replace(" ", "_"), self._recipes
        if recipes.ways(name) or name not in recipes.things or len(amount) > 9:
            raise Failed(f"Could not find {item}")
        self._add(name, int(amount))
        return name, f"Got {int(amount)} {item}"

    def _craft(self, target: str, given: str) -> tuple[str, str]:
        match = COUNT.match(target)
        name = PREFIX + (match[2] if match else target).replace(" ", "_")
        takes = []
        for part in given.split(","):
            match = COUNT.match(part.strip())
            if not match or len(match[1]) > 9:
                raise Failed(f"Wrong item format: {part.strip()}")
            takes.append((PREFIX + match[2].replace(" ", "_"), int(match[1])))
        if any(self._held.get(one, 0) < count for one, count in takes):
            raise Failed(f"Could not find enough items to craft {name}")
        recipe = next((one for one in self._recipes.of.get(name, ()) if self._fits(one, takes)), None)
        if recipe is None:
            raise Failed(f"Could not find a valid recipe for {words(name)}")
        for one, count in takes:
            self._add(one, -count)
        self._add(name, recipe.count)
        return name, f"Crafted {recipe.count} {name}"

    def _fits(self, recipe: Recipe, takes: Sequence[tuple[str, int]]) -> bool:
        left = list(takes)
        for wanted, count in recipe.takes:
            one = next((one for one in left if wanted in (one[0], self._recipes.groups.get(one[0]))), None)
            if one is None or one[1] != count:
                return False
            left.remove(one)
        return not left

    def _add(self, name: str, count: int) -> None:
        held = self._held.get(name, 0) + count
        if held > 0:
            self._held[name] = held
        else:
            self._held.pop(name, None)

    def close(self) -> None:
        """Nothing is held."""


def _no_own_recipes(data: Mapping[str, Any]) -> None:
    if data.get("commands") or data.get("goal"):
        raise NoSuchItem("recipes of a request are not taken: give the server its own, --with recipes=DIR")


def _told(number: int, turn: Turn) -> dict[str, Any]:
    return {"id": number, "observation": turn.text, "done": turn.done, "reward": turn.reward}


class TextCraft:
    """All goals of a set of recipes."""

    name = "textcraft"
    max_score = 1.0
    success = "reward == 1"
    system = SYSTEM
    actions = "words"
    blocking = False
    max_sessions = 1024
    wire = Wire(
        "This is environment TextCraft.",
        item_default=0,
        created=lambda number, turn: _told(number, turn or Turn("")),
        create_item=_no_own_recipes,
        finishes=False,
        reset=_told,
        step=lambda _, turn: {"observation": turn.text, "reward": turn.reward, "done": turn.done},
        more={
            "/commands": lambda episode: episode.commands,
            "/goal": lambda episode: episode.goal,
            "/detail": lambda episode: {"commands": episode.commands, "goal": episode.goal, "deleted": False},
        },
    )

    def __init__(self, *, agentgym: bool = False, recipes: str | None = None) -> None:
        if agentgym:  # the reference takes recipes of a request, and then plays its own
            self.wire = replace(self.wire, create_item=lambda _: None)
        self._recipes = read(Path(recipes)) if recipes else own()
        self.items: int | None = len(self._recipes.goals)

    def start(self, item: int, seed: int | None) -> tuple[TextCraftEpisode, Turn]:
        """Begin with a goal; a seed chooses which recipes are shown beside those that are needed."""
        goals = self._recipes.goals
        if not goals:
            raise NoSuchItem("no recipe leads anywhere")
        goal = goals[item % len(goals)]
        chance = random.Random(f"{goal} {42 if seed is None else seed}")  # noqa: S311 - no secret
        episode = TextCraftEpisode(self._recipes, goal, "\n".join(self._recipes.told(goal, chance)))
        return episode, episode.first()

    def versions(self) -> Mapping[str, str]:
        """Nothing but Wardian decides the items."""
        return {}

    def close(self) -> None:
        """Nothing is held."""
