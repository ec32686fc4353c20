"""The other environments over HTTP: ScienceWorld in one Java machine, SearchQA with two retrievers, TextCraft."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.machines import wait_for
from tests.servers import Served, serving

Need = Callable[..., None]
TASKS = (  # item numbers of eight tasks, a variation each
    "boil", "find-plant", "lifespan-longest-lived", "chemistry-mix", "find-living-thing", "use-thermometer",
    "identify-life-stages-1", "measure-melting-point-known-substance",
)  # fmt: skip


def machines(pid: int) -> list[int]:
    """The Java machines below a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(one) for task in tasks for one in task.read_text().split()]
    return [one for one in found if Path(f"/proc/{one}/comm").read_text().strip() == "java"]


@pytest.fixture(scope="module")
def gold() -> Iterator[dict[str, tuple[int, list[str]]]]:
    """Of each task an item and a way to its end, by the simulator itself."""
    from wardian.envs.sciworld import SciWorld

    environment = SciWorld()
    found = {}
    for task in TASKS:
        item = environment._games.index((task, 0))
        simulator = environment._machine.simulator()
        simulator.load(task, 0, "", True)
        found[task] = (item, [str(action) for action in simulator.getGoldActionSequence()])
    yield found
    environment.close()


@pytest.fixture(scope="module")
def sciworld() -> Iterator[Served]:
    with serving("sciworld") as served:
        yield served


@pytest.mark.engine
def test_an_item_tells_its_room_in_one_order(need: Need) -> None:
    """The simulator keeps things in sets: from machine to machine, a third of the items told them in other orders."""
    from wardian.envs.sciworld import SciWorld

    need("java")

    def told() -> list[list[str]]:
        environment, found = SciWorld(), []
        for item in (*range(0, 4600, 460), 1):
            episode, first = environment.start(item, None)
            found.append([first.text, *(episode.step(action).text for action in ("look around", "inventory"))])
            episode.close()
        again = [environment.start(item, None)[1].text for item in (*range(0, 4600, 460), 1)]
        assert again == [one[0] for one in found]
        environment.close()
        return found

    assert told() == told()


@pytest.mark.engine
def test_gold_paths_played_at_once_in_one_machine(
    sciworld: Served, gold: dict[str, tuple[int, list[str]]], need: Need
) -> None:
    """Eight tasks, interleaved in one Java machine: each ends with 100."""
    need("java")

    def play(task: str) -> tuple[float, bool]:
        item, actions = gold[task]
        number = sciworld.ok("/create")["id"]
        begun = sciworld.ok("/reset", {"id": number, "data_idx": item})
        assert (begun["task_name"], begun["var_num"], begun["score"]) == (task, 0, 0)
        assert list(begun) == [
            "task_name", "var_num", "task_description", "observation", "reward", "score", "deleted", "done",
        ]  # fmt: skip
        said = begun
        paid = 0
        for action in actions:
            said = sciworld.ok("/step", {"id": number, "action": action})
            paid += said["reward"]
            if said["done"]:
                break
        assert paid == said["score"]
        sciworld.ok("/close", {"id": number})
        return said["score"], said["done"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(play, TASKS)) == [(100, True)] * 8
    assert len(machines(sciworld.process.pid)) == 1


def test_what_agentgyms_client_asks_of_sciworld(sciworld: Served, need: Need) -> None:
    need("java")
    number = sciworld.ok("/create")["id"]
    begun = sciworld.ok("/reset", {"id": number, "data_idx": 0})
    assert sciworld.client.get(f"/observation?id={number}").json() == begun["observation"]
    hint = sciworld.client.get(f"/action_hint?id={number}").json()
    assert "look around" in " ".join(hint["possible_actions"]) or hint["possible_actions"]
    assert hint["possible_objects"]
    assert "GoalFind" in sciworld.client.get(f"/goals?id={number}").json()["goals"]
    assert sciworld.client.get(f"/task_description?id={number}").json()["task_description"] == begun["task_description"]
    assert sciworld.client.get(f"/detail?id={number}").json() == begun
    wrong = sciworld.ok("/batch/step", {"sessions": [{"id": number, "action": "sing"}]})["results"][0]
    assert (wrong["observation"], wrong["valid"]) == ("No known action matches that input.", False)
    assert sciworld.client.get("/info").json()["items"] == 4639
    fresh = sciworld.ok("/batch/reset", {"sessions": [{"id": number, "item": 0}]})["results"][0]
    assert fresh["observation"] == f"{begun['task_description']}\n{begun['observation']}"
    sciworld.ok("/close", {"id": number})


def test_what_agentgyms_page_asks_of_sciworld(sciworld: Served, need: Need) -> None:
    """What it shows of a game, and a step in the words of a model."""
    need("java")
    number = sciworld.ok("/create")["id"]
    assert sciworld.client.get(f"/object_tree?id={number}").status_code == 409
    begun = sciworld.ok("/reset", {"id": number, "data_idx": 0})
    state = sciworld.client.get(f"/state?id={number}").json()
    assert (state["observation"].rstrip(), state["environment_info"]) == (begun["observation"].rstrip(), begun)
    assert (state["inventory"].partition("\n")[0], state["current_moves"]) == ("In your inventory, you see:", 0)
    assert (len(state["possible_actions"]), len(state["possible_objects"])) == (10, 10)
    stepped = sciworld.ok("/step_visual", {"id": number, "action": "Thought: out.\nAction: open door to kitchen</s>"})
    assert (stepped["observation"], stepped["moves"]) == ("The door is now open.", 1)
    assert (stepped["info"]["taskName"], "go to kitchen" in map(str, stepped["info"]["valid"])) == ("boil", True)
    assert stepped["object_tree"] == sciworld.client.get(f"/object_tree?id={number}").json()["object_tree"]
    assert sciworld.client.get(f"/state?id={number}").json()["current_moves"] == 1  # a look at it is no move
    sciworld.ok("/close", {"id": number})


def test_too_many_moves_and_a_task_that_is_lost(sciworld: Served, need: Need) -> None:
    need("java")
    number = sciworld.ok("/create")["id"]
    sciworld.ok("/reset", {"id": number, "data_idx": 0})
    said: dict[str, Any] = {}
    for _ in range(110):
        said = sciworld.ok("/batch/step", {"sessions": [{"id": number, "action": "wait1"}]})["results"][0]
        if said["done"]:
            break
    assert (said["truncated"], said["success"]) == (True, False)
    sciworld.ok("/reset", {"id": number, "data_idx": 0})
    lost = sciworld.ok("/step", {"id": number, "action": "focus on picture"})
    assert (lost["score"], lost["done"]) == (-100, True)


def test_items_outside_in_both_modes(need: Need) -> None:
    """AgentGym's server plays the last item for -1, and says "list index out of range" for one too large."""
    need("java")
    with serving("sciworld", "--mode", "agentgym") as served:
        number = served.ok("/create")["id"]
        before = served.ok("/step", {"id": number, "action": "look around"})
        assert before == {"error": "'ScienceWorldEnv' object has no attribute 'variationIdx'"}
        assert served.ok("/reset", {"id": number, "data_idx": 999999}) == {"error": "list index out of range"}
        last = served.ok("/reset", {"id": number, "data_idx": -1})
        assert served.ok("/reset", {"id": number, "data_idx": 4638}) == last


def test_java_that_is_killed_comes_again_and_ends_with_the_server(need: Need) -> None:
    need("java")
    with serving("sciworld", "--max-sessions", "4") as served:
        numbers = [served.ok("/create")["id"] for _ in range(2)]
        for number in numbers:
            served.ok("/reset", {"id": number, "data_idx": 3})
        victim = machines(served.process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        for number in numbers:
            answer = served.post("/step", {"id": number, "action": "look around"})
            assert (answer.status_code, "Java" in answer.json()["error"]) == (410, True)
        number = served.ok("/create")["id"]
        assert served.ok("/reset", {"id": number, "data_idx": 3})["score"] == 0
        again = machines(served.process.pid)
        assert again
        assert victim not in again
        assert served.end() == 0
        assert not Path(f"/proc/{again[0]}").exists()


def test_no_java_outlives_a_server_that_is_killed(need: Need) -> None:
    need("java")
    with serving("sciworld") as served:
        below = machines(served.process.pid)
        served.process.kill()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 10)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"id": "1", "question": "Who wrote Faust?", "golden_answers": ["Goethe"]}) + "\n")
    (tmp_path / "corpus.jsonl").write_text(
        json.dumps({"id": "a", "contents": '"Faust"\nA play by Goethe.'}) + "\n"
        + json.dumps({"id": "b", "contents": '"Hamlet"\nA play by Shakespeare.'}) + "\n"
        + json.dumps({"id": "c", "contents": '"Rust"\nIron oxide.'}) + "\n"
    )  # fmt: skip
    return path


def test_searchqa_by_a_retriever_that_is_another_server(questions: Path) -> None:
    """Search-R1's wire format on both sides: one server finds, the other asks it."""
    corpus = f"corpus={questions.parent / 'corpus.jsonl'}"
    with serving("searchqa", "--with", f"questions={questions}", "--with", corpus) as finds:
        variables = {"WARDIAN_ENV_QUESTIONS": str(questions), "WARDIAN_ENV_RETRIEVER": finds.url}
        with serving("searchqa", **variables) as asks:
            for served in (finds, asks):
                number = served.ok("/create", {"id": 0})
                assert isinstance(number, int)
                prompt = served.ok("/reset", {"env_idx": number, "id": 0})
                assert prompt.endswith("Question: Who wrote Faust?")
                assert served.client.get(f"/observation?env_idx={number}").json() == prompt
                said = served.ok("/step", {"env_idx": number, "action": "<search>Faust</search>"})
                assert said["observation"] == '<information>Doc 1(Title: "Faust") A play by Goethe.</information>'
                right = served.ok("/step", {"env_idx": number, "action": "<answer>goethe</answer>"})
                assert (right["reward"], right["done"], right["info"]) == (1, True, None)
                assert served.ok("/close", {"env_idx": number}) is True
            finds.end()
            number = asks.ok("/create", {"id": 0})
            gone = asks.post("/step", {"env_idx": number, "action": "<search>Faust</search>"})
            assert (gone.status_code, "retriever" in gone.json()["error"]) == (500, True)


def test_textcraft_as_agentgyms_client_plays_it() -> None:
    with serving("textcraft", "--mode", "agentgym") as served:
        created = served.ok("/create", {})
        assert list(created) == ["id", "observation", "done", "reward"]
        begun = served.ok("/reset", {"id": created["id"], "data_idx": 0})
        assert begun["observation"] == created["observation"]
        assert served.client.get(f"/observation?id={created['id']}").json() == begun["observation"]
        assert served.client.get(f"/goal?id={created['id']}").json().startswith("minecraft:")
        assert served.client.get(f"/commands?id={created['id']}").json() in begun["observation"]
        last = {"id": created["id"]}
        served.ok("/step", {**last, "action": "get 2 birch log"})
        won = served.ok("/step", {"id": created["id"], "action": "craft 4 birch planks using 1 birch log"})
        assert won == {"observation": "Crafted 4 minecraft:birch_planks", "reward": 1, "done": True}
        assert (
            "Crafted" in served.ok("/step", {**last, "action": "craft 4 birch planks using 1 birch log"})["observation"]
        )
        given = served.ok("/create", {"commands": "craft 1 x using 1 y", "goal": "x"})
        assert "craft 1 x" not in given["observation"]  # the reference takes them, and plays its own


def test_recipes_of_a_request_are_refused() -> None:
    with serving("textcraft") as served:
        asked = served.post("/create", {"commands": "craft 1 x using 1 y", "goal": "x"})
        assert (asked.status_code, "--with recipes=DIR" in asked.json()["error"]) == (422, True)


def test_a_step_that_hangs_is_cut(tmp_path: Path) -> None:
    """504, and the session is gone; others go on."""
    (tmp_path / "slow_envs.py").write_text(
        "import gymnasium, time\n"
        "class Slow(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n        return 0, {}\n"
        "    def step(self, action):\n        time.sleep(30 * action)\n        return 1, 1.0, True, False, {}\n"
        "gymnasium.register('Slow-v0', entry_point=Slow)\n"
    )
    options = ("--step-timeout", "0.5", "--max-sessions", "3")
    with serving("gymnasium:slow_envs:Slow-v0", *options, PYTHONPATH=str(tmp_path)) as served:
        ids = served.ok("/batch/create", {"count": 2})["ids"]
        served.ok("/batch/reset", {"sessions": [{"id": number, "item": 1} for number in ids]})
        start = time.monotonic()
        slow = [{"id": ids[0], "action": "1"}, {"id": ids[1], "action": "0"}]
        results = served.ok("/batch/step", {"sessions": slow})["results"]
        assert time.monotonic() - start < 5
        assert [one.get("status", 200) for one in results] == [504, 200]
        assert results[1]["done"]
        again = served.ok("/batch/step", {"sessions": slow[:1]})["results"][0]
        assert again["status"] == 404
        assert served.process.poll() is None
