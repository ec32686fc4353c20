"""`wardian eval` with a real environment server and a scripted model over HTTP: scores, files, faults, resuming."""

import asyncio
import gc
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machines import wait_for
from tests.models import Messages, ScriptedModel, babyai, model
from tests.servers import Served, serving
from wardian.envs import AsyncClient, Client, environment_factory
from wardian.envs.client import AsyncSession, NoRoom, ServerGone, Session, SessionFailed


@pytest.fixture(scope="module")
def env() -> Iterator[Served]:
    with serving("babyai", "--max-sessions", "16") as served:
        yield served


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedModel]:
    with model(babyai) as script:
        yield script


@pytest.fixture(autouse=True)
def fresh(scripted: ScriptedModel) -> None:
    scripted.faults, scripted.always, scripted.policy = [], None, babyai
    scripted.requests.clear()
    scripted.keys.clear()


def evaluate(env: Served, script: ScriptedModel, output: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "wardian", "eval", "babyai", "--model", "m", "--base-url", script.url]
    where = ["--env-url", env.url, "--output", str(output)]
    variables = {**os.environ, "OPENAI_API_KEY": "sk-leaf"}
    return subprocess.run(
        [*argv, *where, *options], capture_output=True, text=True, check=False, env=variables, cwd=output.parent
    )


def sessions(env: Served) -> int:
    line = next(one for one in env.client.get("/metrics").text.splitlines() if one.startswith("wardian_env_sessions{"))
    return int(line.split()[-1])


def test_items_are_played_and_counted(env: Served, scripted: ScriptedModel, tmp_path: Path) -> None:
    """The score is what the environment paid; success is not what the reference calls so."""
    done = evaluate(env, scripted, tmp_path / "out", "--limit", "24", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    files = sorted((tmp_path / "out").glob("babyai_*.json"))
    assert len(files) == 24
    results = [json.loads(path.read_text()) for path in files]
    assert said["all"]["score"] == pytest.approx(sum(one["reward"] for one in results) / 24)
    assert said["all"]["success"] > 0.2  # the policy solves the simple levels
    assert said["all"]["reference_success"] == 0  # BabyAI never pays 1
    one = json.loads((tmp_path / "out" / "babyai_0.json").read_text())
    assert {"conversations", "item_id", "reward", "success"} <= one.keys()
    assert one["item_id"] == "babyai_0"
    assert [message["role"] for message in one["conversations"][:4]] == ["user", "assistant", "user", "assistant"]
    assert one["conversations"][3]["reasoning_content"] == "because"
    assert (one["mode"], one["versions"]["minigrid"], one["tokens"]) == (
        "strict",
        "2.3.1",
        [7 * one["rounds"], 3 * one["rounds"]],
    )
    assert (tmp_path / "out" / "summary.svg").read_text().startswith("<svg")
    assert set(scripted.keys) == {"Bearer sk-leaf"}
    assert not any("sk-leaf" in path.read_text() for path in (tmp_path / "out").iterdir())
    assert "sk-leaf" not in done.stdout + done.stderr
    assert {request["temperature"] for request in scripted.requests} == {1.0}
    assert sessions(env) == 0


def test_it_goes_on_where_it_stopped(env: Served, scripted: ScriptedModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(env, scripted, out, "--limit", "6").returncode == 0
    asked = len(scripted.requests)
    (out / "babyai_2.json").write_text("{")  # half a file
    spoiled = json.loads((out / "babyai_3.json").read_text())
    (out / "babyai_3.json").write_text(json.dumps({**spoiled, "error": "the model: gone"}))
    (out / "babyai_5.json").unlink()
    kept = (out / "babyai_0.json").stat().st_mtime_ns
    scripted.requests.clear()
    assert evaluate(env, scripted, out, "--limit", "6").returncode == 0
    assert 0 < len(scripted.requests) < asked
    assert (out / "babyai_0.json").stat().st_mtime_ns == kept
    assert json.loads((out / "babyai_3.json").read_text())["error"] is None
    (out / "settings.json").rename(tmp_path / "kept")
    foreign = evaluate(env, scripted, out, "--limit", "6")  # as a folder of the reference's runner
    assert (foreign.returncode, "choose another --output" in foreign.stderr) == (2, True)
    (tmp_path / "kept").rename(out / "settings.json")
    other = evaluate(env, scripted, out, "--limit", "6", "--max-rounds", "3")
    assert (other.returncode, "max_rounds 10, now 3" in other.stderr, "--output" in other.stderr) == (2, True, True)


@pytest.mark.parametrize("status", ["401", "403", "404", "429 insufficient_quota"])
def test_what_will_never_work_stops_at_once(env: Served, scripted: ScriptedModel, tmp_path: Path, status: str) -> None:
    """The reference asks for ever: 35 requests in 40 seconds, and still at it."""
    scripted.always = status
    start = time.monotonic()
    done = evaluate(env, scripted, tmp_path / "out", "--limit", "20", "--concurrency", "4")
    assert done.returncode == 2
    assert f"scripted {status.split()[0]} for Bearer …" in done.stderr  # servers repeat the key; we do not
    assert time.monotonic() - start < 10
    assert len(scripted.requests) <= 4
    assert not list((tmp_path / "out").glob("babyai_*.json"))
    assert sessions(env) == 0


@pytest.mark.parametrize("fault", ["429 0.05", "500 0", "503 0", "cut", "{", "[]", '{"choices": []}'])
def test_what_passes_is_tried_again(env: Served, scripted: ScriptedModel, tmp_path: Path, fault: str) -> None:
    scripted.faults = [fault]
    done = evaluate(env, scripted, tmp_path / "out", "--limit", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "babyai_0.json").read_text())["error"] is None


@pytest.mark.parametrize(("fault", "tries"), [("400", 1), ("429 0", 2), ("hang", 2)])
def test_what_does_not_pass_is_an_error_of_the_item(
    env: Served, scripted: ScriptedModel, tmp_path: Path, fault: str, tries: int
) -> None:
    """Counted as an error, never as a score of 0; exit code 1; the next run plays it again."""
    scripted.always = fault
    done = evaluate(env, scripted, tmp_path / "out", "--limit", "1", "--tries", "2", "--timeout", "0.5", "--json")
    assert done.returncode == 1
    assert len(scripted.requests) == tries
    said = json.loads(done.stdout)["all"]
    assert (said["errors"], said["score"]) == (1, None)
    scripted.always = None
    again = evaluate(env, scripted, tmp_path / "out", "--limit", "1", "--json")
    assert (again.returncode, json.loads(again.stdout)["all"]["errors"]) == (0, 0)
    assert sessions(env) == 0


def test_an_answer_without_words_is_one(env: Served, scripted: ScriptedModel, tmp_path: Path) -> None:
    """A model that spends all its tokens on reasoning says null: it has had its round, and is not asked six times."""
    scripted.always = '{"choices": [{"message": {"content": null, "reasoning_content": "hm"}}]}'
    done = evaluate(env, scripted, tmp_path / "out", "--limit", "1", "--max-rounds", "3")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out" / "babyai_0.json").read_text())
    assert (told["rounds"], told["invalid"], told["error"], len(scripted.requests)) == (3, 3, None, 3)


def test_samples_categories_and_seeds(env: Served, scripted: ScriptedModel, tmp_path: Path) -> None:
    lists = tmp_path / "babyai"
    lists.mkdir()
    for name, numbers in (("babyai_test", (0, 2, 11)), ("GoTo", (0, 2)), ("Open", (11,))):
        (lists / f"{name}.json").write_text(
            json.dumps([{"item_id": f"babyai_{n}", "conversations": []} for n in numbers])
        )
    items = ("--items", str(lists / "babyai_test.json"))
    done = evaluate(env, scripted, tmp_path / "out", *items, "--samples", "3", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert sorted(path.name for path in (tmp_path / "out").glob("babyai_*"))[:3] == [
        "babyai_0.1.json", "babyai_0.2.json", "babyai_0.json",
    ]  # fmt: skip
    assert (said["all"]["samples"], said["categories"]["GoTo"]["items"], list(said["all"]["pass_at_k"])) == (
        9,
        2,
        ["1", "2", "3"],
    )
    assert {request["seed"] for request in scripted.requests} == {7, 8, 9}
    again = evaluate(env, scripted, tmp_path / "out", "--reverify", str(tmp_path / "out"), "--json")
    assert json.loads(again.stdout)["categories"] == said["categories"]
    shown = evaluate(env, scripted, tmp_path / "out", *items, "--samples", "3", "--seed", "7")
    assert [word in shown.stdout for word in ("AVG@3", "PASS@3", "GoTo")] == [True] * 3


def test_a_killed_environment_is_a_clear_failure(scripted: ScriptedModel, tmp_path: Path) -> None:
    with serving("babyai") as served:

        def policy(messages: Messages) -> str:
            served.process.send_signal(signal.SIGKILL)
            return babyai(messages)

        scripted.policy = policy
        done = evaluate(served, scripted, tmp_path / "out", "--limit", "8", "--concurrency", "2")
    assert done.returncode == 1
    assert served.url in done.stderr
    assert "does the server run?" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_closes_its_sessions(
    env: Served, scripted: ScriptedModel, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    def slow(messages: Messages) -> str:
        time.sleep(0.2)
        return babyai(messages)

    scripted.policy = slow
    argv = [sys.executable, "-m", "wardian", "eval", "babyai", "--model", "m", "--base-url", scripted.url]
    process = subprocess.Popen([*argv, "--env-url", env.url, "--output", str(tmp_path / "out"), "--limit", "50"])
    wait_for(lambda: len(scripted.requests) > 20)
    assert sessions(env) == 8
    process.send_signal(number)
    assert process.wait(20) == code
    wait_for(lambda: sessions(env) == 0, 5)


def test_reverify_replays_what_was_done(env: Served, scripted: ScriptedModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(env, scripted, out, "--limit", "8").returncode == 0
    asked = len(scripted.requests)
    same = evaluate(env, scripted, out, "--reverify", str(out), "--json")
    assert (same.returncode, json.loads(same.stdout)["differences"]) == (0, [])
    path = out / "babyai_2.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "reward": 1, "success": False}))
    other = evaluate(env, scripted, out, "--reverify", str(out))
    assert (other.returncode, "babyai_2: reward 1, now" in other.stderr) == (1, True)
    put_right = json.loads(path.read_text())
    assert (put_right["reward"], put_right["before"]["reward"]) == (told["reward"], 1)
    assert len(scripted.requests) == asked


def test_what_cannot_be_played_like_this(env: Served, scripted: ScriptedModel, tmp_path: Path) -> None:
    plan = evaluate(env, scripted, tmp_path / "out", "--dry-run", "--limit", "5")
    assert (plan.returncode, "would play 5 episodes" in plan.stdout, (tmp_path / "out").exists()) == (0, True, False)
    wrong = subprocess.run(
        [sys.executable, "-m", "wardian", "eval", "sciworld", "--model", "m", "--env-url", env.url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (wrong.returncode, "serves babyai, not sciworld" in wrong.stderr) == (2, True)
    gone = subprocess.run(
        [sys.executable, "-m", "wardian", "eval", "babyai", "--model", "m", "--env-url", "http://127.0.0.1:9"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (gone.returncode, "does the server run?" in gone.stderr) == (1, True)
    keyless = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    secret = subprocess.run(
        [sys.executable, "-m", "wardian", "eval", "babyai", "--model", "m", "--env-url", env.url, "--output", "o"],
        capture_output=True, text=True, check=False, env=keyless, cwd=tmp_path,
    )  # fmt: skip
    assert (secret.returncode, "OPENAI_API_KEY is not set" in secret.stderr) == (2, True)


def test_agentgym_mode_scores_as_the_reference(scripted: ScriptedModel, tmp_path: Path) -> None:
    """The same conversation, played by hand over AgentGym's routes: the same score."""
    with serving("babyai", "--mode", "agentgym") as served:
        done = evaluate(served, scripted, tmp_path / "out", "--limit", "12", "--max-rounds", "20")
        assert done.returncode == 0, done.stderr
        for item in range(12):
            told = json.loads((tmp_path / "out" / f"babyai_{item}.json").read_text())
            number = served.ok("/create")["id"]
            said = served.ok("/reset", {"id": number, "data_idx": item})
            for message in told["conversations"][2:]:
                if message["role"] == "user":
                    assert message["content"] == said["observation"]
                elif not said["done"]:
                    said = served.ok("/step", {"id": number, "action": message["content"].rpartition("Action:\n")[2]})
            assert told["reward"] == said["score"]


def test_the_client_pools_batches_and_closes(env: Served) -> None:
    with Client(env.url) as client:
        assert client.info()["env"] == "babyai"
        numbers = client.create(4)
        assert sessions(env) == 4
        results = client.reset(dict.fromkeys(numbers, 2))
        assert len({one["observation"] for one in results}) == 1
        results = client.step(dict.fromkeys(numbers, "turn left"))
        assert not any(one["done"] for one in results)
        with client.session() as session:
            first = session.reset(2)
            assert session.step("go to red ball 1").success
            with pytest.raises(SessionFailed) as caught:
                session.step("turn left")
            assert (caught.value.status, first.score) == (409, 0)
        other = Client(env.url)
        with pytest.raises(ZeroDivisionError), other:
            assert other.create(3)[0] / 0
        assert sessions(env) == 4
    assert sessions(env) == 0
    with pytest.raises(ServerGone), Client("http://127.0.0.1:9") as gone:
        gone.info()


def test_the_asynchronous_client_is_the_same_with_await(env: Served) -> None:
    async def play() -> None:
        async with AsyncClient(env.url) as client:
            assert (await client.info())["env"] == "babyai"
            numbers = await client.create(2)
            results = await client.reset(dict.fromkeys(numbers, 2))
            assert len({one["observation"] for one in results}) == 1
            assert not (await client.step({numbers[0]: "turn left"}))[0]["done"]
            async with await client.session() as session:
                assert (await session.reset(2)).score == 0
                assert (await session.step("go to red ball 1")).success
                with pytest.raises(SessionFailed, match="has finished"):
                    await session.step("turn left")
            assert sessions(env) == 2
        with pytest.raises(ServerGone, match=r"127\.0\.0\.1:9"):
            async with AsyncClient("http://127.0.0.1:9") as gone:
                await gone.create(1)

    asyncio.run(play())
    assert sessions(env) == 0


def test_both_clients_have_the_same_methods() -> None:
    for ours, awaited in ((Client, AsyncClient), (Session, AsyncSession)):
        for name, method in inspect.getmembers(ours, inspect.isfunction):
            if name[0] != "_":
                other = getattr(awaited, name)
                assert list(inspect.signature(method).parameters) == list(inspect.signature(other).parameters)
                assert inspect.iscoroutinefunction(other)


def test_as_many_play_as_there_is_room_for(scripted: ScriptedModel, tmp_path: Path) -> None:
    """Eight players at a server of two: two play all items, and nobody waits five minutes to end the run."""
    with serving("babyai", "--max-sessions", "2") as served:
        start = time.monotonic()
        done = evaluate(served, scripted, tmp_path / "out", "--limit", "12", "--concurrency", "8", "--json")
        assert (done.returncode, json.loads(done.stdout)["all"]["items"]) == (0, 12), done.stderr
        assert time.monotonic() - start < 60


def test_the_client_waits_for_room() -> None:
    with serving("babyai", "--max-sessions", "1", "--idle-ttl", "1", "--unused-ttl", "1") as served:
        served.ok("/create")
        with Client(served.url) as client:
            start = time.monotonic()
            assert client.session().reset(0).observation.startswith("Your goal")
            assert 1 < time.monotonic() - start < 15
            with pytest.raises(NoRoom, match="all 1 sessions are in use"):
                client.create(1, waits=0)


def test_trls_environment_factory(env: Served) -> None:
    """As trl 1.16 looks at it: every public function of the class but two becomes a tool of the model."""
    kind = environment_factory(env.url)
    functions = [name for name, _ in inspect.getmembers(kind, predicate=inspect.isfunction) if name[0] != "_"]
    assert functions == ["act", "get_reward", "reset"]
    made: Any = kind()
    assert sessions(env) == 0  # trl makes one only to look at it
    assert made.reset(prompt="a column of the dataset", item=2).startswith("Your goal: go to the red ball")
    assert "Available actions" in made.act("turn left")
    made.act("turn right")
    made.act("go to red ball 1")
    assert made.get_reward() > 0.8
    with pytest.raises(ValueError, match="over"):
        made.act("turn left")
    assert sessions(env) == 1
    del made
    gc.collect()
    assert sessions(env) == 0
