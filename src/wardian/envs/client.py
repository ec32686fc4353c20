"""Clients of environment servers: many sessions over pooled connections, a batch of them in one request, all closed.

    with Client("http://127.0.0.1:36001") as client:
        session = client.session()
        turn = session.reset(item=12)
        while not turn.done:
            turn = session.step(policy(turn.observation))

``AsyncClient`` is the same with ``await``. Both speak the protocol for all environments (``/batch/…``).
"""

import asyncio
import contextlib
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from wardian.errors import Unavailable, WardianError

_WAITS = 60  # times that `create` waits for room, by default 5 s each
_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=256)


@dataclass(frozen=True, slots=True)
class Turn:
    """What an environment answers to a reset or an action."""

    observation: str
    reward: float
    score: float
    done: bool
    truncated: bool = False
    success: bool = False
    valid: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)


class SessionFailed(WardianError):
    """One session's call was refused; ``status`` is HTTP's word for why."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ServerGone(Unavailable):
    """A server does not answer, or not as a server of environments."""


class NoRoom(ServerGone):
    """A server has as many sessions as it may have; after ``seconds`` one may ask again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message, hint="more room: wardian env serve --max-sessions N")
        self.seconds = seconds


def turn(said: Mapping[str, Any]) -> Turn:
    """A turn of a batch's result. Raises ``SessionFailed``."""
    if "error" in said:
        raise SessionFailed(f"session {said.get('id')}: {said['error']}", int(said.get("status", 500)))
    return Turn(**{name: said[name] for name in Turn.__slots__ if name in said})


class _Calls:
    """What both clients send, and how they read it."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def read(self, path: str, answer: httpx.Response) -> Any:
        """The value of an answer. Raises ``ServerGone``."""
        try:
            value = answer.json()
        except ValueError:
            value = None
        if answer.status_code != 200 or value is None:
            said = value.get("error", value) if isinstance(value, dict) else answer.text[:200]
            if answer.status_code == 503:
                after = answer.headers.get("retry-after", "")
                raise NoRoom(f"{self.url}{path}: {said}", min(float(after), 60.0) if after.isdecimal() else 5.0)
            raise ServerGone(f"{self.url}{path}: {answer.status_code} {said}", hint=_hint(answer.status_code))
        return value

    def gone(self, path: str, error: httpx.HTTPError) -> ServerGone:
        """What an exchange that failed is told as."""
        return ServerGone(f"{self.url}{path}: {type(error).__name__} {error}".rstrip(), hint="does the server run?")


def _hint(status: int) -> str | None:
    return {401: "this server wants a token", 404: "is this a server of wardian env serve?"}.get(status)


class Client:
    """A client that waits. ``timeout``: seconds for one request."""

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 120) -> None:
        self._calls = _Calls(url, token)
        self._http = httpx.Client(
            base_url=self._calls.url, headers=self._calls.headers, timeout=timeout, limits=_LIMITS
        )
        self._open: set[int] = set()

    def info(self) -> dict[str, Any]:
        """What the server serves: env, items, mode, versions, max_score, success, system."""
        try:
            found: dict[str, Any] = self._calls.read("/info", self._http.get("/info"))
        except httpx.HTTPError as error:
            raise self._calls.gone("/info", error) from error
        return found

    def session(self) -> "Session":
        """A new session; waits for room while the server says there is none."""
        return Session(self, self.create(1)[0])

    def create(self, count: int, waits: int = _WAITS) -> list[int]:
        """So many new sessions, or none. Waits for room so many times, then raises ``NoRoom``."""
        for left in range(waits, -1, -1):
            try:
                ids: list[int] = self._calls.read("/batch/create", self._send("/batch/create", {"count": count}))["ids"]
                break
            except NoRoom as full:
                if not left:
                    raise
                time.sleep(full.seconds)
        self._open.update(ids)
        return ids

    def reset(self, items: Mapping[int, int | None]) -> list[dict[str, Any]]:
        """Begin items in sessions – number → item – in one request; results as ``turn`` reads them."""
        return self._results("/batch/reset", [{"id": number, "item": item} for number, item in items.items()])

    def step(self, actions: Mapping[int, str]) -> list[dict[str, Any]]:
        """Do actions in sessions – number → action – in one request."""
        return self._results("/batch/step", [{"id": number, "action": action} for number, action in actions.items()])

    def close(self, numbers: Sequence[int] | None = None) -> None:
        """Close sessions; all that this client made, and its connections, without ``numbers``."""
        closing = list(self._open if numbers is None else numbers)
        self._open.difference_update(closing)
        try:
            if closing:
                with contextlib.suppress(ServerGone):  # a server that is gone has no sessions
                    self._send("/batch/close", {"ids": closing})
        finally:
            if numbers is None:
                self._http.close()

    def _results(self, path: str, sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self._calls.read(path, self._send(path, {"sessions": sessions}))["results"]
        return results

    def _send(self, path: str, data: Any) -> httpx.Response:
        try:
            return self._http.post(path, json=data)
        except httpx.HTTPError as error:
            raise self._calls.gone(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """One session of a ``Client``."""

    def __init__(self, client: Client, number: int) -> None:
        self.client, self.number = client, number

    def reset(self, item: int | None = None) -> Turn:
        """Begin an item. Raises ``SessionFailed``."""
        return turn(self.client.reset({self.number: item})[0])

    def step(self, action: str) -> Turn:
        """Do an action. Raises ``SessionFailed``."""
        return turn(self.client.step({self.number: action})[0])

    def close(self) -> None:
        """Close the session."""
        self.client.close([self.number])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """``Client`` for an event loop."""

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 120) -> None:
        self._calls = _Calls(url, token)
        self._http = httpx.AsyncClient(
            base_url=self._calls.url, headers=self._calls.headers, timeout=timeout, limits=_LIMITS
        )
        self._open: set[int] = set()

    async def info(self) -> dict[str, Any]:
        """What the server serves."""
        try:
            found: dict[str, Any] = self._calls.read("/info", await self._http.get("/info"))
        except httpx.HTTPError as error:
            raise self._calls.gone("/info", error) from error
        return found

    async def create(self, count: int, waits: int = _WAITS) -> list[int]:
        """So many new sessions, or none. Waits for room so many times, then raises ``NoRoom``."""
        for left in range(waits, -1, -1):
            answer = await self._send("/batch/create", {"count": count})
            try:
                ids: list[int] = self._calls.read("/batch/create", answer)["ids"]
                break
            except NoRoom as full:
                if not left:
                    raise
                await asyncio.sleep(full.seconds)
        self._open.update(ids)
        return ids

    async def reset(self, number: int, item: int | None) -> Turn:
        """Begin an item in a session. Raises ``SessionFailed``."""
        return await self._one("/batch/reset", {"id": number, "item": item})

    async def step(self, number: int, action: str) -> Turn:
        """Do an action in a session. Raises ``SessionFailed``."""
        return await self._one("/batch/step", {"id": number, "action": action})

    async def close(self, numbers: Sequence[int] | None = None) -> None:
        """Close sessions; all that this client made, and its connections, without ``numbers``."""
        closing = list(self._open if numbers is None else numbers)
        self._open.difference_update(closing)
        try:
            if closing:
                with contextlib.suppress(ServerGone):
                    await self._send("/batch/close", {"ids": closing})
        finally:
            if numbers is None:
                await self._http.aclose()

    async def _one(self, path: str, session: dict[str, Any]) -> Turn:
        answer = await self._send(path, {"sessions": [session]})
        return turn(self._calls.read(path, answer)["results"][0])

    async def _send(self, path: str, data: Any) -> httpx.Response:
        try:
            return await self._http.post(path, json=data)
        except httpx.HTTPError as error:
            raise self._calls.gone(path, error) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def environment_factory(url: str, *, token: str | None = None) -> type:
    """A class as TRL's ``GRPOTrainer(environment_factory=…)`` wants it (trl 1.16): one tool, ``act``, and the reward.

    Each instance is a session on the server, begun at its first reset and closed with the instance; ``item`` of a row
    of the dataset says what is played. The reward is the episode's score.
    """

    class Environment:
        """One session; public methods but ``reset`` and ``get_reward`` are the model's tools."""

        def __init__(self) -> None:
            self._client = Client(url, token=token)
            self._session: Session | None = None
            self._score = 0.0
            self.done = False
            weakref.finalize(self, self._client.close)

        def reset(self, item: int | None = None, **_: Any) -> str:
            """Begin an item; what is seen first."""
            if self._session is None:
                self._session = self._client.session()
            begun = self._session.reset(item)
            self._score, self.done = begun.score, begun.done
            return begun.observation

        def act(self, action: str) -> str:
            """
            Do one action in the environment.

            Args:
                action: The action, as the environment's text names it.

            Returns:
                What is seen after it.
            """
            if self._session is None or self.done:
                raise ValueError("the episode is over")
            after = self._session.step(action)
            self._score, self.done = after.score, after.done
            return after.observation

        def get_reward(self) -> float:
            """The episode's score so far."""
            return self._score

    return Environment
