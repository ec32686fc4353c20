"""Environment servers by process accounting: processor time, latency and memory rather than requests per second.

    python bench/envs.py [--quick] [--json FILE]

Rows: `babyai mix` (create, reset, 20 steps, close, keep-alive), its 4,000 live sessions and their churn, `sciworld`
(gold paths in one Java machine), `retrieval 200k`. Medians of 3. The reference server is on GitHub alone, so what it
needed stands beside as design/envs.md measured it on a machine like this one.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

import httpx

from measure import Row, table, write

REFERENCE = {  # envs.md § 4.4: AgentGym's own servers
    ("babyai mix", "cpu ms per request"): 5.13,
    ("babyai 32 sessions", "p50 ms"): 122.0,
    ("sciworld", "cpu ms per step"): 1000 / 8,
    ("sciworld", "MB for 32 sessions"): 400.0 * 32,
}
GOALS = {
    ("babyai mix", "cpu ms per request"): "0.5",
    ("babyai 32 sessions", "p50 ms"): "20",
    ("babyai 4000 sessions", "kb per session"): "40",
    ("babyai churn", "kb grown per session"): "0",
    ("sciworld", "cpu ms per step"): "10",
    ("sciworld", "MB for 32 sessions"): "1000",
    ("retrieval 200k", "p50 ms"): "10",
}
TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def server(env: str, *options: str) -> Iterator[tuple[int, httpx.Client]]:
    """A server's process and a client of it."""
    argv = [sys.executable, "-m", "wardian", "env", "serve", env, "--port", "0", "--json", *options]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{env}: the server ended")
            text += line
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        with httpx.Client(base_url=json.loads(text)["url"], timeout=120, trust_env=False, limits=limits) as client:
            yield process.pid, client
    finally:
        process.terminate()
        process.wait(30)


def below(pid: int) -> list[int]:
    """A process and all below it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(deep for task in tasks for one in task.read_text().split() for deep in below(int(one)))]


def cpu(pid: int) -> float:
    """Seconds of processor time of a process and those below it."""
    total = 0
    for one in below(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pid: int) -> float:
    """MB that a process and those below it hold (proportional set size)."""
    total = 0
    for one in below(pid):
        rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1000


def post(client: httpx.Client, path: str, data: object = None) -> dict[str, object]:
    """What a POST is answered."""
    answer = client.post(path, json=data)
    answer.raise_for_status()
    said: dict[str, object] = answer.json() if isinstance(answer.json(), dict) else {}
    return said


def episode(client: httpx.Client, item: int, steps: int) -> list[float]:
    """Play an item of BabyAI as AgentGym's client would; seconds of each step."""
    chance, times = random.Random(item), []
    number = post(client, "/create")["id"]
    said = post(client, "/reset", {"id": number, "data_idx": item})
    for _ in range(steps):
        offered = json.loads(str(said["observation"]).partition("\nAvailable actions: ")[2])
        start = time.perf_counter()
        said = post(client, "/step", {"id": number, "action": chance.choice(offered)})
        times.append(time.perf_counter() - start)
        if said["done"]:
            said = post(client, "/reset", {"id": number, "data_idx": item})
    client.post("/close", json={"id": number})
    return times


def lean(port: int, item: int, steps: int) -> list[float]:
    """Seconds of each step of a client that costs little: with 32 of httpx's, they are what is slow."""
    line, times = HTTPConnection("127.0.0.1", port), []

    def ask(path: str, data: object) -> dict[str, object]:
        line.request("POST", path, json.dumps(data), {"Content-Type": "application/json"})
        said: dict[str, object] = json.loads(line.getresponse().read())
        return said

    number = ask("/create", {})["id"]
    ask("/reset", {"id": number, "data_idx": item})
    for at in range(steps):
        start = time.perf_counter()
        said = ask("/step", {"id": number, "action": ("turn left", "move forward", "turn right")[at % 3]})
        times.append(time.perf_counter() - start)
        if "error" in said or said["done"]:
            ask("/reset", {"id": number, "data_idx": item})
    ask("/close", {"id": number})
    return times


def babyai(quick: bool) -> Iterator[tuple[str, str, float]]:  # noqa: FBT001
    """The mix over all levels, and 32 sessions at once."""
    count = 40 if quick else 200
    with server("babyai") as (pid, client):
        episode(client, 0, 20)
        before = cpu(pid)
        for item in range(count):
            episode(client, item, 20)
        yield "babyai mix", "cpu ms per request", (cpu(pid) - before) * 1000 / (count * 23)
        with ThreadPoolExecutor(32) as pool:
            port = client.base_url.port or 0
            times = [one for some in pool.map(lambda item: lean(port, item, 60), range(32)) for one in some]
        yield "babyai 32 sessions", "p50 ms", median(times) * 1000


def live(quick: bool) -> Iterator[tuple[str, str, float]]:  # noqa: FBT001
    """Many sessions at once, and whether they grow when they are played, closed and made anew."""
    count = 400 if quick else 4000
    with server("babyai", "--max-sessions", str(count)) as (pid, client):
        for item in range(40):
            episode(client, item, 2)
        empty = memory(pid)
        ids = [number for _ in range(count // 100) for number in _ids(client, 100)]
        _play(client, ids, 0)
        full = memory(pid)
        yield "babyai 4000 sessions", "kb per session", (full - empty) * 1000 / count
        for turn in range(14 if quick else 50):
            if turn == 10:  # one generation later: freed memory is used again
                full = memory(pid)
            part = ids[: count // 10]
            post(client, "/batch/close", {"ids": part})
            ids = ids[count // 10 :] + _ids(client, count // 10)
            _play(client, ids[-count // 10 :], turn + 1)
        yield "babyai churn", "kb grown per session", (memory(pid) - full) * 1000 / count


def _ids(client: httpx.Client, count: int) -> list[int]:
    made = post(client, "/batch/create", {"count": count})["ids"]
    assert isinstance(made, list)
    return made


def _play(client: httpx.Client, ids: list[int], turn: int) -> None:
    for at in range(0, len(ids), 100):
        some = ids[at : at + 100]
        post(client, "/batch/reset", {"sessions": [{"id": number, "item": number + turn} for number in some]})
        for _ in range(3):
            post(client, "/batch/step", {"sessions": [{"id": number, "action": "turn left"} for number in some]})


def sciworld(quick: bool) -> Iterator[tuple[str, str, float]]:  # noqa: FBT001
    """32 sessions at once in one Java machine."""
    steps = 10 if quick else 60
    with server("sciworld") as (pid, client):
        ids = _ids(client, 32)
        begin = {"sessions": [{"id": number, "item": number * 140} for number in ids]}
        post(client, "/batch/reset", begin)
        actions = ("look around", "inventory", "open door to kitchen", "go to kitchen", "look in cupboard", "wait1")
        for action in actions:
            post(client, "/batch/step", {"sessions": [{"id": number, "action": action} for number in ids]})
        before = cpu(pid)
        for at in range(steps):
            action = actions[at % len(actions)]
            post(client, "/batch/step", {"sessions": [{"id": number, "action": action} for number in ids]})
        yield "sciworld", "cpu ms per step", (cpu(pid) - before) * 1000 / (steps * 32)
        yield "sciworld", "MB for 32 sessions", memory(pid)


def retrieval(quick: bool) -> Iterator[tuple[str, str, float]]:  # noqa: FBT001
    """Queries of eight words over made-up passages of 100 words."""
    count = 20_000 if quick else 200_000
    chance = random.Random(0)
    words = [f"w{int(chance.paretovariate(0.7)) % 100_000}" for _ in range(400_000)]
    with tempfile.TemporaryDirectory() as folder:
        corpus, questions = Path(folder, "corpus.jsonl"), Path(folder, "questions.jsonl")
        with corpus.open("w") as file:
            for at in range(count):
                text = " ".join(chance.choices(words, k=100))
                file.write(json.dumps({"id": str(at), "contents": f'"Title {at}"\n{text}'}) + "\n")
        questions.write_text(json.dumps({"question": "x", "golden_answers": ["x"]}) + "\n")
        with server("searchqa", "--with", f"corpus={corpus}", "--with", f"questions={questions}") as (pid, client):
            times = []
            before = cpu(pid)
            for _ in range(200):
                start = time.perf_counter()
                post(client, "/retrieve", {"queries": [" ".join(chance.choices(words, k=8))], "topk": 3})
                times.append(time.perf_counter() - start)
            yield f"retrieval {count // 1000}k", "cpu ms per query", (cpu(pid) - before) * 1000 / len(times)
            yield f"retrieval {count // 1000}k", "p50 ms", median(times) * 1000
            yield f"retrieval {count // 1000}k", "MB", memory(pid)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small counts, once each")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    for work in (babyai, live, sciworld, retrieval):
        for _ in range(1 if given.quick else 3):
            for name, measure, value in work(given.quick):
                found.setdefault((name, measure), []).append(value)
    rows, lines = [], []
    for (name, measure), values in found.items():
        peer = REFERENCE.get((name, measure))
        row = Row(name, measure, median(values), peer, "AgentGym's server" if peer else None)
        rows.append(row)
        spread = f"{median(values):.3g} ({min(values):.3g}-{max(values):.3g})"
        ratio = f"1/{1 / row.ratio:.1f}" if row.ratio else "–"
        lines.append([name, measure, spread, f"{peer:.3g}" if peer else "–", ratio, GOALS.get((name, measure), "–")])
    print(table(["work", "measure", "wardian", "reference", "ratio", "goal"], lines))
    write(rows, given.json)


if __name__ == "__main__":
    main()
