"""A merged model behind OpenAI's chat completions: it answers with one of the actions that the last message offers.

wardian up model            # models/merged, or MODEL_DIR in .env
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from agent.policy import Policy, goal, offered

LOCK = threading.Lock()  # a generator of random numbers for all


def answer(policy: Policy, request: dict) -> dict:
    """The completion for a request. Raises what a request that is none makes Python raise."""
    seen = [one["content"] for one in request["messages"] if one["role"] == "user"]
    wanted = next((goal(text) for text in seen if "Your goal: " in text), "")
    some = offered(seen[-1])
    heat = float(request.get("temperature", 1))
    with LOCK, torch.no_grad():
        logs = policy.log_probabilities([wanted], [some])[0]
        pick = int(logs.argmax()) if not heat else int(torch.multinomial((logs / heat).softmax(-1), 1))
    content = f"Thought:\nMy goal is to {wanted}.\n\nAction:\n{some[pick]}"
    count = len(policy.tokenizer.encode(wanted))
    return {
        "object": "chat.completion",
        "model": request.get("model"),
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": count, "completion_tokens": 5, "total_tokens": count + 5},
    }


def main() -> None:
    """Serve until the process is ended."""
    policy = Policy(Path(sys.argv[1]))
    torch.set_num_threads(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200 if self.path == "/health" else 404, {"status": "ok"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                self._send(200, answer(policy, json.loads(body)))
            except (ValueError, KeyError, IndexError, TypeError) as error:
                self._send(400, {"error": {"message": f"{type(error).__name__}: {error}"}})

        def _send(self, status: int, value: dict) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    place = (os.environ.get("WARDIAN_LISTEN", "127.0.0.1"), int(os.environ.get("WARDIAN_PORT", "8000")))
    print(f"serving {sys.argv[1]} on {place[0]}:{place[1]}", flush=True)
    ThreadingHTTPServer(place, Handler).serve_forever()


if __name__ == "__main__":
    main()
