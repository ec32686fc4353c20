"""OpenEnv's protocol: a WebSocket is a session (message types and codes of openenv 0.10, core/env_server/types.py)."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from wardian.envs.api import Api, Invalid, integer, text, told
from wardian.envs.base import Turn
from wardian.envs.sessions import Refused

Message = MutableMapping[str, Any]
SCHEMA = {
    "action": {
        "type": "object",
        "properties": {"message": {"type": "string"}},
        "required": ["message"],
        "additionalProperties": False,
    },
    "observation": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "score": {"type": "number"},
            "truncated": {"type": "boolean"},
            "success": {"type": "boolean"},
            "valid": {"type": "boolean"},
        },
        "required": ["text", "score", "truncated", "success", "valid"],
    },
    "state": {
        "type": "object",
        "properties": {"episode_id": {"type": ["string", "null"]}, "step_count": {"type": "integer"}},
    },
}


class Fault(Exception):
    """What a message is answered with in place of an observation."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


async def serve(
    api: Api, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Serve one connection: a session that begins with it and ends with it."""
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    sessions = api.sessions
    try:
        number = sessions.create()
    except Refused as error:
        await send({"type": "websocket.send", "text": _error("CAPACITY_REACHED", str(error))})
        await send({"type": "websocket.close", "code": 1013})
        return
    try:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            try:
                answer = await _answer(api, number, message.get("text"))
            except Fault as fault:
                answer = _error(fault.code, str(fault))
            if answer is None:
                await send({"type": "websocket.close", "code": 1000})
                return
            await send({"type": "websocket.send", "text": answer})
            if number not in sessions.open:  # it failed or took too long
                await send({"type": "websocket.close", "code": 1011})
                return
    finally:
        if number in sessions.open:
            sessions.close(number)


async def _answer(api: Api, number: int, raw: str | None) -> str | None:
    """The answer to one message; None: the client takes its leave."""
    if raw is None:
        raise Fault("INVALID_JSON", "a message is text")
    if len(raw) > api.sessions.limits.max_body:
        raise Fault("VALIDATION_ERROR", f"a message may have {api.sessions.limits.max_body} characters")
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Fault("INVALID_JSON", f"Invalid JSON: {error}") from None
    kind = message.get("type") if isinstance(message, dict) else None
    data = message.get("data", {}) if isinstance(message, dict) else {}
    if kind == "close":
        return None
    if kind not in ("reset", "step", "state"):
        raise Fault("UNKNOWN_TYPE", f"Unknown message type: {kind}")
    if not isinstance(data, dict):
        raise Fault("VALIDATION_ERROR", "data is an object")
    try:
        if kind == "state":
            return _told("state", {"episode_id": str(number), "step_count": api.sessions.get(number).steps})
        return _told("observation", _observation(await _turn(api, number, kind, data)))
    except Invalid as error:
        raise Fault("VALIDATION_ERROR", f"{error.detail[0]['loc'][-1]}: {error}") from None
    except Refused as error:
        raise Fault("VALIDATION_ERROR" if error.status == 422 else "EXECUTION_ERROR", str(error)) from None


async def _turn(api: Api, number: int, kind: str, data: dict[str, Any]) -> Turn:
    if kind == "step":
        return await api.sessions.step(number, text(data, "message"))
    seed = integer(data, "seed") if data.get("seed") is not None else None
    item = integer(data, "data_idx") if data.get("data_idx") is not None else None
    return await api.sessions.reset(number, 0 if item is None and seed is not None else item, seed)


def _observation(turn: Turn) -> dict[str, Any]:
    said = told(turn)
    return {
        "observation": {
            "text": said.pop("observation"),
            **{k: said[k] for k in ("score", "truncated", "success", "valid")},
        },
        "reward": turn.reward,
        "done": turn.done,
    }


def _told(kind: str, data: dict[str, Any]) -> str:
    return json.dumps({"type": kind, "data": data}, ensure_ascii=False)


def _error(code: str, said: str) -> str:
    return _told("error", {"message": said, "code": code})
