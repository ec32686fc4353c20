"""`wardian env serve` as clients meet it: real processes, real sockets, AgentGym's and OpenEnv's protocols."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.machines import wait_for
from tests.servers import Served, serving
from tests.walks import digest, walk

WARDIAN = [sys.executable, "-m", "wardian"]
GOLDEN = json.loads((Path(__file__).parents[1] / "cases" / "envs" / "babyai.json").read_text())


@pytest.fixture(scope="module")
def strict() -> Iterator[Served]:
    with serving("babyai", "--max-sessions", "64") as served:
        yield served


@pytest.fixture(scope="module")
def agentgym() -> Iterator[Served]:
    with serving("babyai", "--mode", "agentgym") as served:
        yield served


@pytest.fixture(params=["strict", "agentgym"])
def either(request: pytest.FixtureRequest) -> Served:
    served: Served = request.getfixturevalue(request.param)
    return served


def new(served: Served) -> int:
    number = served.ok("/create")["id"]
    assert isinstance(number, int)
    return number


def test_the_bytes_are_agentgyms(agentgym: Served) -> None:
    """Sixty episodes over HTTP, as its client plays them: each answer's text is the reference's."""
    for item in range(0, 800, 13):
        number = new(agentgym)

        def ask(path: str, number: int = number, **data: Any) -> Any:
            answer = agentgym.post(path, {**data, "id": number})
            assert answer.headers["content-type"] == "application/json"
            assert answer.text == json.dumps(answer.json(), ensure_ascii=False, separators=(",", ":"))
            return answer.json()

        answers = walk(
            item, lambda data_idx: ask("/reset", data_idx=data_idx), lambda action: ask("/step", action=action)
        )
        answers[-1] = answers[-1].replace(f"environment {number} ", "environment 0 ")
        assert digest(answers) == GOLDEN["digests"].split()[item]
        assert agentgym.ok("/close", {"id": number}) is True


def test_what_agentgyms_client_asks_first(either: Served) -> None:
    assert either.client.get("/").json() == "This is environment BabyAI."
    number = new(either)
    begun = either.ok("/reset", {"id": number, "data_idx": 3})
    assert either.client.get(f"/observation?id={number}").json() == begun
    turned = either.ok("/step", {"id": number, "action": "turn left"})
    seen = either.client.get(f"/observation?id={number}").json()
    goal = begun["observation"].partition("\n")[0]
    assert seen == {**turned, "observation": f"{goal}\n{turned['observation']}", "deleted": False}
    assert either.ok("/close", {"id": number}) is True


def test_a_picture_of_a_level(either: Served) -> None:
    number = new(either)
    assert either.post("/render", {"id": number}).status_code == (409 if _mode(either) == "strict" else 200)
    either.ok("/reset", {"id": number, "data_idx": 3})
    pictures = []
    for action in ("turn left", "turn right"):
        url = either.ok("/render", {"id": number})
        pictures.append(base64.b64decode(url.removeprefix("data:image/png;base64,")))
        either.ok("/step", {"id": number, "action": action})
    assert [picture[:8] for picture in pictures] == [b"\x89PNG\r\n\x1a\n"] * 2
    level = 4 * 32  # GoToObjS6 of minigrid 2.3.1: four tiles of 32 pixels each way
    assert {struct.unpack(">II", picture[16:24]) for picture in pictures} == {(level, level)}
    assert pictures[0] != pictures[1]
    either.ok("/close", {"id": number})


# what is asked; what strict answers; what agentgym answers (status and error)
BAD = [
    ("/step", {"id": 10**9, "action": "x"}, 404, "The id 1000000000 is not valid."),
    ("/reset", {"id": 10**9, "data_idx": 0}, 404, "The id 1000000000 is not valid."),
    ("/step", {"id": "NEW", "action": "x"}, 409, "NEW"),
    ("/reset", {"id": "NEW", "data_idx": -1}, 422, "Seed must be greater or equal to zero, actual value: -1"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case[3][:30])
def test_what_is_logically_wrong(strict: Served, agentgym: Served, case: tuple[str, dict[str, Any], int, str]) -> None:
    """Strict says it with a status; AgentGym's servers say 200 and an error, which their clients never look for."""
    path, data, status, said = case
    for served, expected in ((strict, status), (agentgym, 200)):
        number = new(served)
        filled = {key: number if value == "NEW" else value for key, value in data.items()}
        answer = served.post(path, filled)
        assert answer.status_code == expected
        if served is agentgym:
            assert answer.json() == {"error": str(number) if said == "NEW" else said}
        else:
            assert answer.json()["error"]
        served.post("/close", {"id": number})


@pytest.mark.parametrize("value", ["abc", 1.5, None, [], {}, "", "1e3"])
def test_what_is_no_number(either: Served, value: Any) -> None:
    number = new(either)
    for data in ({"id": number, "data_idx": value}, {"id": value, "data_idx": 0}):
        answer = either.post("/reset", data)
        assert (answer.status_code, answer.json()["detail"][0]["msg"]) == (422, "Input should be a valid integer")
    assert either.ok("/close", {"id": number}) is True


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"id": 0}', b"[" * 100_000, b'"x"'])
def test_what_is_no_request(either: Served, body: bytes) -> None:
    for path in ("/step", "/reset"):
        answer = either.client.post(path, content=body)
        assert (answer.status_code, "detail" in answer.json()) == (422, True)


@pytest.mark.parametrize("action", ["", "\0", "🐍🪴", "a" * (16 << 10), "\u2028", "x" * 5000])
def test_odd_actions_are_answered(either: Served, action: str) -> None:
    number = new(either)
    either.ok("/reset", {"id": number, "data_idx": 0})
    assert either.ok("/step", {"id": number, "action": action})["reward"] == 0
    too_long = either.post("/step", {"id": number, "action": "a" * (64 << 10)})
    assert too_long.status_code == (
        422 if either.ok("/batch/close", {"ids": []}) and _mode(either) == "strict" else 200
    )
    assert "error" in too_long.json()
    either.ok("/close", {"id": number})


def _mode(served: Served) -> str:
    return str(served.client.get("/info").json()["mode"])


def test_closing_twice(strict: Served, agentgym: Served) -> None:
    for served, second in ((strict, (404, None)), (agentgym, (200, False))):
        number = new(served)
        assert served.ok("/close", {"id": number}) is True  # created, never reset: the reference says false, and leaks
        answer = served.post("/close", {"id": number})
        assert answer.status_code == second[0]
        assert second[1] is None or answer.json() is second[1]


def test_an_episode_that_is_over(strict: Served, agentgym: Served) -> None:
    for served, status in ((strict, 409), (agentgym, 200)):
        number = new(served)
        served.ok("/reset", {"id": number, "data_idx": 2})
        said = served.ok("/step", {"id": number, "action": "go to red ball 1"})
        assert (said["done"], said["score"]) == (True, said["reward"])
        answer = served.post("/step", {"id": number, "action": "turn left"})
        assert answer.status_code == status
        over = {"error": f"The task with environment {number} has finished."}
        assert answer.json() == over
        seen = served.client.get(f"/observation?id={number}")
        assert (seen.status_code, seen.json() == over) == (200, served is agentgym)


def test_routes_that_are_not(either: Served) -> None:
    assert either.client.get("/step").status_code == 405
    assert either.client.get("/no/such").status_code == 404
    assert either.client.request("DELETE", "/create").status_code == 405


def test_a_large_request_is_refused(strict: Served) -> None:
    assert strict.client.post("/step", content=b'{"id": 0, "action": "' + b"a" * (1 << 20) + b'"}').status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b"a" * (64 << 10)

    assert strict.client.post("/step", content=chunks()).status_code == 413
    assert strict.client.get("/health").status_code == 200


def test_a_batch_is_the_same_as_its_parts(strict: Served) -> None:
    ids = strict.ok("/batch/create", {"count": 5})["ids"]
    begun = strict.ok("/batch/reset", {"sessions": [{"id": number, "item": 40 + number % 3} for number in ids]})[
        "results"
    ]
    assert [one["id"] for one in begun] == ids
    single = new(strict)
    assert strict.ok("/reset", {"id": single, "data_idx": 40 + ids[0] % 3})["observation"] == begun[0]["observation"]
    acted = strict.ok(
        "/batch/step",
        {
            "sessions": [
                *[{"id": number, "action": "turn left"} for number in ids],
                {"id": 10**9, "action": "x"},
                {"id": single, "action": 7},
            ]
        },
    )["results"]
    assert [one.get("status", 200) for one in acted] == [200] * 5 + [404, 422]
    assert acted[0]["observation"] == strict.ok("/step", {"id": single, "action": "turn left"})["observation"]
    assert set(acted[0]) == {"id", "observation", "reward", "score", "done", "truncated", "success", "valid"}
    closed = strict.ok("/batch/close", {"ids": [*ids, ids[0], single]})["results"]
    assert [one.get("closed", one.get("status")) for one in closed] == [True] * 5 + [404, True]
    bad: dict[str, Any]
    for bad in ({}, {"sessions": 3}, {"sessions": [3]}, {"sessions": [{}]}):
        assert strict.post("/batch/step", bad).status_code == 422
    assert strict.post("/batch/create", {"count": 0}).status_code == 422
    assert strict.post("/batch/create", {"count": 10**6}).status_code == 422


def test_room_time_and_numbers(tmp_path: Path) -> None:
    """1,000 clients that create and go: refused above the cap, forgotten after the time, and room again."""
    with serving("babyai", "--max-sessions", "20", "--unused-ttl", "1", "--idle-ttl", "2") as served:
        statuses = [served.post("/create").status_code for _ in range(1000)]
        assert statuses == [200] * 20 + [503] * 980
        refused = served.post("/batch/create", {"count": 3})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        until = time.monotonic() + 12
        while (again := served.post("/create")).status_code == 503 and time.monotonic() < until:
            time.sleep(0.1)
        assert again.status_code == 200
        assert again.json()["id"] >= 20
        text = served.client.get("/metrics").text
        assert 'wardian_env_requests_total{path="/create",status="503"}' in text
        assert re.search(r'wardian_env_sessions_reaped_total\{env="babyai"\} (1[0-9]|20)\n', text)


def test_half_a_batch_is_never_made() -> None:
    with serving("babyai", "--max-sessions", "4") as served:
        assert served.post("/batch/create", {"count": 3}).status_code == 200
        assert served.post("/batch/create", {"count": 2}).status_code == 503
        assert served.post("/batch/create", {"count": 1}).status_code == 200


def test_a_token_is_wanted() -> None:
    with serving("babyai", "--token-env", "SECRET", SECRET="leaf") as served:
        assert served.client.get("/health").status_code == 200  # a probe has no token
        for shown in ({}, {"authorization": "Bearer le"}, {"authorization": "leaf"}, {"authorization": "Basic leaf"}):
            assert served.client.post("/create", headers=shown).status_code == 401
        assert served.client.post("/create", headers={"authorization": "Bearer leaf"}).status_code == 200
        assert served.client.get("/metrics").status_code == 401


def test_several_processes_are_one_server() -> None:
    """Each session lives in one process; any connection reaches it, and the sums are of all."""
    with serving("babyai", "--workers", "3", "--max-sessions", "30") as served:
        ids = served.ok("/batch/create", {"count": 30})["ids"]
        assert sorted(number % 3 for number in ids) == [0] * 10 + [1] * 10 + [2] * 10
        assert served.post("/create").status_code == 503
        begun = served.ok("/batch/reset", {"sessions": [{"id": number, "item": 7} for number in ids]})["results"]
        assert {one["observation"] for one in begun} == {begun[0]["observation"]}
        for number in ids:
            served.client.headers["connection"] = "close"  # another connection each time: another process answers
            said = served.ok("/step", {"id": number, "action": "turn left"})
            assert not said["done"]
        assert 'wardian_env_sessions{env="babyai"} 30' in served.client.get("/metrics").text
        assert len(served.ok("/batch/close", {"ids": ids})["results"]) == 30
        assert 'wardian_env_sessions{env="babyai"} 0' in served.client.get("/metrics").text


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def workers(served: Served) -> list[int]:
    return [pid for pid in children(served.process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_process_that_is_killed_is_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    """Its sessions are gone, and told so; the others' live; no number is given twice."""
    with serving("babyai", "--workers", "2", "--max-sessions", "8") as served:
        ids = served.ok("/batch/create", {"count": 8})["ids"]
        victim = workers(served)[0]
        os.kill(victim, signal.SIGKILL)
        until = time.monotonic() + 20
        while len(workers(served)) < 2 or victim in workers(served):
            assert time.monotonic() < until
            time.sleep(0.05)
        statuses = set()
        while time.monotonic() < until:
            served.client.headers["connection"] = "close"
            try:
                results = served.ok("/batch/reset", {"sessions": [{"id": n, "item": 0} for n in ids]})["results"]
            except Exception:  # noqa: BLE001 - a connection that the killed one had taken
                time.sleep(0.1)
                continue
            statuses = {(one["id"] % 2, one.get("status", 200)) for one in results}
            if len(statuses) == 2 and served.post("/batch/create", {"count": 4}).status_code == 200:
                break
        assert sorted(status for _, status in statuses) == [200, 410]
        assert served.end() == 0
    assert "its sessions are gone" in capfd.readouterr().err


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_quick_and_leaves_nothing(count: str, sent: signal.Signals) -> None:
    with serving("babyai", "--workers", count) as served:
        new(served)
        below = children(served.process.pid)
        served.process.send_signal(sent)
        assert served.process.wait(10) == 0
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 10)


def test_the_processes_end_with_the_first_one() -> None:
    with serving("babyai", "--workers", "2") as served:
        below = workers(served)
        before = set(Path("/tmp").glob("env-peers-*"))
        assert before
        served.process.kill()
        served.process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 10)
        assert set(Path("/tmp").glob("env-peers-*")) != before


def test_a_client_that_goes_in_the_middle(strict: Served) -> None:
    host, port = strict.url.removeprefix("http://").split(":")
    for sent in (b"POST /step HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{", b"POST /st", b"\0\0\0\0", b""):
        with socket.create_connection((host, int(port))) as line:
            line.sendall(sent)
    assert strict.client.get("/health").json() == {"status": "healthy"}


def test_many_at_once_keep_apart(strict: Served) -> None:
    """Eight clients, each with its own items: none meets another's."""
    faults: list[str] = []

    def play(at: int) -> None:
        number = new(strict)
        for _ in range(5):
            first = strict.ok("/reset", {"id": number, "data_idx": at})["observation"]
            strict.ok("/step", {"id": number, "action": "turn left"})
            if strict.ok("/reset", {"id": number, "data_idx": at})["observation"] != first:
                faults.append(f"{at}")
        strict.ok("/close", {"id": number})

    threads = [threading.Thread(target=play, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


async def _openenv(url: str) -> list[Any]:
    heard = []
    async with websockets.connect(url.replace("http", "ws") + "/ws") as line:
        for message in (
            {"type": "reset", "data": {"data_idx": 2}},
            {"type": "step", "data": {"message": "turn left"}},
            {"type": "state"},
            {"type": "step", "data": {}},
            {"type": "step", "data": {"message": "x" * (20 << 10)}},
            {"type": "sing"},
            {"type": "reset", "data": {"data_idx": -5}},
            {"type": "reset", "data": {"data_idx": 2}},
            {"type": "step", "data": {"message": "go to red ball 1"}},
            {"type": "step", "data": {"message": "turn left"}},
        ):
            await line.send(json.dumps(message))
            heard.append(json.loads(await line.recv()))
        await line.send("{")
        heard.append(json.loads(await line.recv()))
        await line.send(json.dumps({"type": "close"}))
        with pytest.raises(websockets.ConnectionClosedOK):
            await line.recv()
    return heard


def test_openenvs_websocket(strict: Served) -> None:
    heard = asyncio.run(_openenv(strict.url))
    kinds = [one["data"].get("code", one["type"]) for one in heard]
    assert kinds == [
        "observation", "observation", "state", "VALIDATION_ERROR", "VALIDATION_ERROR", "UNKNOWN_TYPE",
        "VALIDATION_ERROR", "observation", "observation", "EXECUTION_ERROR", "INVALID_JSON",
    ]  # fmt: skip
    assert heard[0]["data"]["observation"]["text"].startswith("Your goal: ")
    assert heard[2]["data"] == {"episode_id": heard[2]["data"]["episode_id"], "step_count": 1}
    assert (heard[8]["data"]["done"], heard[8]["data"]["reward"] > 0.9) == (True, True)
    assert strict.client.get("/schema").json()["action"]["required"] == ["message"]


def test_openenvs_sessions_are_counted_and_end() -> None:
    async def work(url: str) -> list[Any]:
        place = url.replace("http", "ws") + "/ws"
        async with websockets.connect(place), websockets.connect(place) as second:
            await second.send('{"type": "reset"}')
            await second.recv()
            async with websockets.connect(place) as third:
                refused = json.loads(await third.recv())
                with pytest.raises(websockets.ConnectionClosed):
                    await third.recv()
        async with websockets.connect(place) as again:
            await again.send('{"type": "reset", "data": {"seed": 3}}')
            return [refused, json.loads(await again.recv())]

    with serving("babyai", "--max-sessions", "2") as served:
        refused, begun = asyncio.run(work(served.url))
    assert refused["data"]["code"] == "CAPACITY_REACHED"
    assert begun["type"] == "observation"


def test_a_socket_that_nobody_uses_loses_its_session() -> None:
    async def work(url: str, kind: str) -> list[Any]:
        async with websockets.connect(url.replace("http", "ws") + "/ws") as line:
            await asyncio.sleep(2)
            await line.send(json.dumps({"type": kind, "data": {"message": "x"}}))
            said = json.loads(await line.recv())
            with pytest.raises(websockets.ConnectionClosed):
                await line.recv()
            return [said["type"], said["data"]["code"]]

    with serving("babyai", "--unused-ttl", "0.3") as served:
        for kind in ("state", "step", "reset"):
            assert asyncio.run(work(served.url, kind)) == ["error", "EXECUTION_ERROR"]


def test_gymnasium_over_http() -> None:
    with serving("gymnasium:CartPole-v1") as served:
        info = served.client.get("/info").json()
        assert (info["env"], info["items"], info["max_score"]) == ("gymnasium:CartPole-v1", None, None)
        ids = served.ok("/batch/create", {"count": 8})["ids"]
        done: set[int] = set()
        results = served.ok("/batch/reset", {"sessions": [{"id": number, "item": number} for number in ids]})["results"]
        while len(done) < 8:
            live = [one["id"] for one in results if not one["done"]]
            results = served.ok("/batch/step", {"sessions": [{"id": number, "action": "1"} for number in live]})[
                "results"
            ]
            done |= {one["id"] for one in results if one["done"]}
            assert all(one["valid"] for one in results)
        assert served.end() == 0


def test_check_says_whether_a_server_is_well(strict: Served) -> None:
    done = subprocess.run([*WARDIAN, "env", "check", strict.url, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["info"]["env"] == "babyai"
    gone = subprocess.run([*WARDIAN, "env", "check", "http://127.0.0.1:9"], capture_output=True, text=True, check=False)
    assert (gone.returncode, "type: wardian env serve" in gone.stderr) == (1, True)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nosuch"], "there is no environment 'nosuch'"),
        (["gymnasium"], "gymnasium wants an environment's id"),
        (["gymnasium:Nope-v0"], "Nope"),
        (["babyai", "--max-sessions", "0"], "max-sessions"),
        (["babyai", "--workers", "9", "--max-sessions", "3"], "9 processes for 3 sessions"),
        (["babyai", "--token-env", "NO_SUCH"], "NO_SUCH is not set"),
        (["babyai", "--host", "203.0.113.7", "--port", "1"], "cannot listen on 203.0.113.7:1"),
    ],
)
def test_what_cannot_be_served(argv: list[str], said: str) -> None:
    done = subprocess.run([*WARDIAN, "env", "serve", *argv], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert said in done.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*WARDIAN, "env", "serve", "babyai", "--port", port],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, "choose another with --port" in done.stderr) == (1, True)
