"""The ASGI application of one process: HTTP and, for OpenEnv's clients, a WebSocket."""

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from wardian.envs import openenv
from wardian.envs.api import Api, Data, Reply, gather
from wardian.envs.metrics import Metrics, exposition

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON = (b"content-type", b"application/json")
REAP_EVERY = 5.0
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class App:
    """Give to an ASGI server. ``token``: what a client has to show as ``Authorization: Bearer``."""

    def __init__(self, api: Api, *, token: str | None = None) -> None:
        self.api, self.metrics = api, Metrics()
        self._token = f"Bearer {token}".encode() if token else None
        self._limits = api.sessions.limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection of the kind that ``scope`` tells."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif not self._allowed(scope):
            await self._deny(scope, send)
        elif scope["type"] == "websocket":
            if scope["path"] == "/ws":
                await openenv.serve(self.api, receive, send)
            else:
                await send({"type": "websocket.close", "code": 4404})
        else:
            start = time.perf_counter()
            path = scope["path"]
            reply = await self._answer(path, scope, receive)
            self.metrics.request(
                path if reply.status != 404 or path in self.api.routes else "",
                reply.status,
                time.perf_counter() - start,
            )
            await respond(send, reply)

    async def _answer(self, path: str, scope: Message, receive: Receive) -> Reply:
        route = self.api.routes.get(path)
        if route is None:
            if path == "/metrics" and scope["method"] == "GET":
                return Reply(200, await self._metrics())
            if path == "/schema" and scope["method"] == "GET":
                return Reply(200, openenv.SCHEMA)
            return Reply(404, {"detail": "Not Found"})
        if scope["method"] != route.method:
            return Reply(405, {"detail": "Method Not Allowed"})
        if route.method == "GET":
            return await self.api.call(path, dict(parse_qsl(scope["query_string"].decode("latin-1"))))
        body = await read(receive, self._limits.max_body)
        if body is None:
            return Reply(413, {"error": f"a request may have {self._limits.max_body} bytes"})
        data = parsed(body)
        return data if isinstance(data, Reply) else await self.api.call(path, data)

    async def state(self) -> dict[str, Any]:
        """This process's numbers."""
        return self.metrics.state(len(self.api.sessions.open), self.api.sessions.reaped)

    async def _metrics(self) -> str:
        peers = self.api.peers
        replies = await gather(*(peers.ask(other, "/state", {}) for other in peers.others())) if peers else []
        states = [await self.state(), *(reply.value for reply in replies if reply.status == 200)]
        return exposition(states, self.api.environment.name, self._limits.max_sessions)

    def _allowed(self, scope: Message) -> bool:
        if self._token is None or scope.get("path") in ("/health", "/"):
            return True
        shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(shown, self._token)

    async def _deny(self, scope: Message, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401})
        else:
            await respond(send, Reply(401, {"error": "this server wants a bearer token"}))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        reaper: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                reaper = asyncio.create_task(self._reap())
                await send({"type": "lifespan.startup.complete"})
            else:
                if reaper is not None:
                    reaper.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await reaper
                self.api.sessions.shut()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _reap(self) -> None:
        shortest = min(self._limits.idle_ttl, self._limits.unused_ttl)
        while True:
            await asyncio.sleep(min(REAP_EVERY, shortest))
            self.api.sessions.reap()


async def read(receive: Receive, limit: int) -> bytes | None:
    """The body of a request; None: it is longer than ``limit`` bytes."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= limit else None
    parts, size = [body], len(body)
    while message.get("more_body", False) and message["type"] == "http.request":
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
    return b"".join(parts)


def parsed(body: bytes) -> Data | Reply:
    """The object in a request's body, where an empty one stands for {}; or the answer to one that has none."""
    if not body:
        return {}
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        detail = [{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}]
        return Reply(422, {"detail": detail})
    if not isinstance(data, dict):
        detail = [{"type": "dict_type", "loc": ["body"], "msg": "Input should be a valid dictionary", "input": {}}]
        return Reply(422, {"detail": detail})
    return data


def encoded(value: Any) -> bytes:
    """JSON as FastAPI writes it. What no UTF-8 has (half a surrogate pair) is replaced."""
    return _ENCODE(value).encode("utf-8", "replace")


async def respond(send: Send, reply: Reply) -> None:
    """Send a reply; text as it is, all else as JSON."""
    if isinstance(reply.value, str) and reply.value.startswith("# HELP"):
        body, kind = reply.value.encode(), (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
    else:
        body, kind = encoded(reply.value), JSON
    headers = [kind, (b"content-length", str(len(body)).encode())]
    if reply.retry is not None:
        headers.append((b"retry-after", str(reply.retry).encode()))
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
