"""TextCraft: every goal can be reached by what is told, and nothing else counts."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wardian.envs.base import Turn
from wardian.envs.textcraft import TextCraft, TextCraftEpisode, own, read
from wardian.errors import WardianError

ENV = TextCraft()
ITEMS = ENV.items or 0


def plan(commands: str, goal: str) -> list[str]:
    """The actions to a goal, from the text alone: what no recipe makes is got."""
    recipes: dict[str, list[tuple[int, list[tuple[int, str]], str]]] = {}
    for line in commands.splitlines():
        match = re.fullmatch(r"craft (\d+) (.*) using (.*)", line)
        assert match
        takes = [(int(part.split(" ", 1)[0]), part.split(" ", 1)[1]) for part in match[3].split(", ")]
        recipes.setdefault(match[2], []).append((int(match[1]), takes, match[3]))
    held: dict[str, int] = {}
    actions: list[str] = []

    def have(count: int, name: str) -> str:
        real = {"planks": "oak planks", "wool": "white wool"}.get(name, name)
        while held.get(real, 0) < count:
            if real not in recipes:
                actions.append(f"get {count} {real}")
                held[real] = held.get(real, 0) + count
                continue
            made, takes, _ = recipes[real][0]
            used = [(number, have(number, one)) for number, one in takes]
            while any(held[one] < number for number, one in used):  # what comes later may have used what came before
                used = [(number, have(number, one)) for number, one in takes]
            for number, one in used:
                held[one] -= number
            actions.append(f"craft {made} {real} using " + ", ".join(f"{number} {one}" for number, one in used))
            held[real] = held.get(real, 0) + made
        return real

    have(1, goal)
    return actions


def begun(item: int) -> tuple[TextCraftEpisode, str, str]:
    episode, turn = ENV.start(item, None)
    match = re.fullmatch(r"Crafting commands:\n(.*)\n\nGoal: craft (.*)\.", turn.text, re.DOTALL)
    assert match
    return episode, match[1], match[2]


@pytest.mark.parametrize("item", range(ITEMS))
def test_every_goal_can_be_reached(item: int) -> None:
    episode, commands, goal = begun(item)
    turns = [episode.step(action) for action in plan(commands, goal)]
    assert [turn.done for turn in turns] == [False] * (len(turns) - 1) + [True]
    assert (turns[-1].reward, turns[-1].success) == (1, True)
    assert all(turn.valid for turn in turns)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (["get 3 iron ingot", "inventory"], "Inventory: [iron ingot] (3) "),
        (["inventory"], "Inventory: You are not carrying anything."),
        (["get 1 bucket"], "Could not find bucket"),  # it is crafted
        (["get 1 planks"], "Could not find planks"),  # a group is no thing
        (["get 1 moon"], "Could not find moon"),
        (["get 9999999999999 coal"], "Could not find coal"),
        (["craft 1 bucket using 3 iron ingot"], "Could not find enough items to craft minecraft:bucket"),
        (["get 9 iron ingot", "craft 1 bucket using 4 iron ingot"], "Could not find a valid recipe for bucket"),
        (["get 9 iron ingot", "craft 1 bucket using 3 iron ingot, 1 coal"], "Could not find enough"),
        (["craft x using y"], "Wrong item format: y"),
        (["dance"], "Could not execute dance"),
        ([""], "Could not execute "),
    ],
)
def test_what_is_said(actions: list[str], said: str) -> None:
    episode, _ = ENV.start(0, None)
    turn = Turn("")
    for action in actions:
        turn = episode.step(action)
    assert turn.text.startswith(said)
    assert not turn.done


def test_a_member_stands_for_its_group() -> None:
    episode, _ = ENV.start(0, None)
    for action in ("get 1 birch log", "craft 4 birch planks using 1 birch log"):
        last = episode.step(action)
    assert last.text == "Crafted 4 minecraft:birch_planks"
    assert episode.step("craft 4 stick using 2 birch planks").text == "Crafted 4 minecraft:stick"
    assert episode.step("inventory").text == "Inventory: [birch planks] (2) [stick] (4) "


def test_an_item_is_the_same_in_every_process() -> None:
    """In the reference it depends on PYTHONHASHSEED."""
    code = "from wardian.envs.textcraft import TextCraft as T; print([T().start(n, None)[1].text for n in range(34)])"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(told) == 1


def minecraft(folder: Path, name: str, **said: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(said))


def test_minecrafts_own_recipes(tmp_path: Path) -> None:
    shaped, shapeless = "minecraft:crafting_shaped", "minecraft:crafting_shapeless"
    log = {"item": "minecraft:oak_log"}
    minecraft(
        tmp_path, "oak_planks", type=shapeless, group="planks", ingredients=[log],
        result={"item": "minecraft:oak_planks", "count": 4},
    )  # fmt: skip
    minecraft(
        tmp_path, "stick", type=shaped, pattern=["#", "#"], key={"#": {"tag": "minecraft:planks"}},
        result={"item": "minecraft:stick", "count": 4},
    )  # fmt: skip
    minecraft(tmp_path, "cooked", type="minecraft:smelting", ingredient=log, result="minecraft:charcoal")
    iron = "minecraft:iron_"
    minecraft(
        tmp_path, "b", type=shaped, pattern=["##"], key={"#": {"item": iron + "ingot"}}, result={"item": iron + "block"}
    )
    minecraft(tmp_path, "i", type=shapeless, ingredients=[{"item": iron + "block"}], result={"item": iron + "ingot"})
    recipes = read(tmp_path)
    assert [goal.removeprefix("minecraft:") for goal in recipes.goals] == ["iron_block", "oak_planks", "stick"]
    assert recipes.told("minecraft:stick", random.Random(0)) in (
        ["craft 4 stick using 2 planks", "craft 4 oak planks using 1 oak log"],
        ["craft 4 oak planks using 1 oak log", "craft 4 stick using 2 planks"],
    )
    episode, turn = TextCraft(recipes=str(tmp_path)).start(2, None)
    assert turn.text.endswith("Goal: craft stick.")
    assert episode.step("get 1 oak log").valid


def test_recipes_that_need_themselves_lead_nowhere(tmp_path: Path) -> None:
    shapeless = "minecraft:crafting_shapeless"
    for one, other in (("a", "b"), ("b", "a")):
        minecraft(
            tmp_path,
            one,
            type=shapeless,
            ingredients=[{"item": f"minecraft:{one}"}],
            result={"item": f"minecraft:{other}"},
        )
    assert read(tmp_path).goals == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"type": "minecraft:crafting_shaped"}', "null"])
def test_what_is_no_recipe_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(WardianError, match=r"bad\.json is no recipe"):
        read(tmp_path)


def test_a_folder_without_recipes_is_named(tmp_path: Path) -> None:
    with pytest.raises(WardianError, match="has no recipes"):
        read(tmp_path / "nowhere")


def test_ours_are_whole() -> None:
    recipes = own()
    assert len(recipes.goals) == len(recipes.of) == ITEMS == 34
