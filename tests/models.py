"""A model's server: the chat completions of OpenAI, answered by a script, and every way in which one can fail."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving import served

Messages = Sequence[dict[str, Any]]
Policy = Callable[[Messages], str]


class ScriptedModel:
    """What the server was asked, and how it will fail: ``faults`` are taken one for each request, in order."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.faults: list[str] = []
        self.always: str | None = None
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""
        self._lock = threading.Lock()

    def take(self, request: dict[str, Any], key: str | None) -> str | None:
        """Note a request; how to fail it."""
        with self._lock:
            self.requests.append(request)
            self.keys.append(key)
            return self.faults.pop(0) if self.faults else self.always


@contextlib.contextmanager
def model(policy: Policy) -> Iterator[ScriptedModel]:
    """Serve a model on loopback, until the block ends."""
    script = ScriptedModel(policy)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/chat/completions", self.path
            fault = script.take(request, self.headers.get("authorization"))
            if fault is None:
                self._answer(200, completion(script.policy(request["messages"])))
            elif fault == "hang":
                time.sleep(3)
                self.close_connection = True
            elif fault == "cut":
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": [')
                self.close_connection = True
            elif fault[0] in "{[":
                self._answer(200, fault.encode())
            else:
                status, _, after = fault.partition(" ")
                code, after = (None, after) if after.replace(".", "").isdecimal() else (after, "")
                message = f"scripted {status} for {script.keys[-1]}"  # as OpenAI's server repeats a wrong key
                said = json.dumps({"error": {"message": message, "type": "x", "code": code}}).encode()
                self._answer(int(status), said, {"retry-after": after} if after else {})

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    with served(server):
        yield script


def completion(content: str) -> bytes:
    """A chat completion with usage."""
    message = {"role": "assistant", "content": content, "reasoning_content": "because"}
    return json.dumps(
        {"choices": [{"message": message}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    ).encode()


def babyai(messages: Messages) -> str:
    """A policy that reads the goal and what is offered, and explores when neither fits: it solves many of the items."""
    seen = [one["content"] for one in messages if one["role"] == "user"]
    goal = next(text for text in seen if text.startswith("Your goal: ")).splitlines()[0].removeprefix("Your goal: ")
    offered = json.loads(seen[-1].rpartition("\nAvailable actions: ")[2])
    words = goal.replace("the ", "").replace("a ", "").replace("pick up", "pickup").split(" and ")[0]
    wanted = words if words.startswith(("go to", "pickup")) else words.replace("open", "toggle and go through")
    for action in offered:
        if action.startswith(wanted) or (
            wanted.split()[0] in action and all(word in action for word in wanted.split()[-2:])
        ):
            return f"Thought:\nI see it.\n\nAction:\n{action}"
    turn = ("turn left", "move forward", "turn right", "move forward")[len(messages) // 2 % 4]
    return f"Thought:\nI look around.\n\nAction:\n{turn if turn in offered else 'turn left'}"
