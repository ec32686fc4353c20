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
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx

from wardian.errors import Unavailable, WardianError

_WAITS = 60  # times that `create` waits for room, by default 5 s each
_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=256)
_HINTS = {401: "this server wants a token", 404: "is this a server of wardian env serve?"}
_Result = TypeVar("_Result")
_Call = Generator[tuple[str, Any] | float, httpx.Response | None, _Result]


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
    """What both clients send, in which order, and how they read it.

    A call is a generator: it yields a path and its data, and is sent the answer; or seconds, which are to be waited.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self.open: set[int] = set()

    def ask(self, path: str, data: Any = None) -> _Call[Any]:
        """One request, a GET without data; the value of its answer. Raises ``ServerGone``."""
        answer = yield path, data
        assert answer is not None
        try:
            value = answer.json()
        except ValueError:
            value = None
        if answer.status_code != 200 or value is None:
            said = value.get("error", value) if isinstance(value, dict) else answer.text[:200]
            if answer.status_code == 503:
                after = answer.headers.get("retry-after", "")
                raise NoRoom(f"{self.url}{path}: {said}", min(float(after), 60.0) if after.isdecimal() else 5.0)
            raise ServerGone(f"{self.url}{path}: {answer.status_code} {said}", hint=_HINTS.get(answer.status_code))
        return value

    def create(self, count: int, waits: int) -> _Call[list[int]]:
        """See ``Client.create``."""
        for left in range(waits, -1, -1):
            try:
                ids: list[int] = (yield from self.ask("/batch/create", {"count": count}))["ids"]
                break
            except NoRoom as full:
                if not left:
                    raise
                wait = full.seconds
            yield wait
        self.open.update(ids)
        return ids

    def each(self, path: str, name: str, sessions: Mapping[int, Any]) -> _Call[list[dict[str, Any]]]:
        """The same in many sessions, each with its own value of one name."""
        data = {"sessions": [{"id": number, name: value} for number, value in sessions.items()]}
        results: list[dict[str, Any]] = (yield from self.ask(path, data))["results"]
        return results

    def close(self, numbers: Sequence[int] | None) -> _Call[None]:
        """Close sessions, without numbers all."""
        closing = list(self.open if numbers is None else numbers)
        self.open.difference_update(closing)
        if closing:
            with contextlib.suppress(ServerGone):  # a server that is gone has no sessions
                yield from self.ask("/batch/close", {"ids": closing})

    def gone(self, path: str, error: httpx.HTTPError) -> ServerGone:
        """What an exchange that failed is told as."""
        return ServerGone(f"{self.url}{path}: {type(error).__name__} {error}".rstrip(), hint="does the server run?")


class Client:
    """A client that waits. ``timeout``: seconds for one request."""

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 120) -> None:
        self._calls = calls = _Calls(url, token)
        self._http = httpx.Client(base_url=calls.url, headers=calls.headers, timeout=timeout, limits=_LIMITS)

    def info(self) -> dict[str, Any]:
        """What the server serves: env, items, mode, versions, max_score, success, system."""
        found: dict[str, Any] = self._run(self._calls.ask("/info"))
        return found

    def session(self, waits: int = _WAITS) -> "Session":
        """A new session; waits for room so many times, then raises ``NoRoom``."""
        return Session(self, self.create(1, waits)[0])

    def create(self, count: int, waits: int = _WAITS) -> list[int]:
        """So many new sessions, or none. Waits for room so many times, then raises ``NoRoom``."""
        return self._run(self._calls.create(count, waits))

    def reset(self, items: Mapping[int, int | None]) -> list[dict[str, Any]]:
        """Begin items in sessions – number → item – in one request; results as ``turn`` reads them."""
        return self._run(self._calls.each("/batch/reset", "item", items))

    def step(self, actions: Mapping[int, str]) -> list[dict[str, Any]]:
        """Do actions in sessions – number → action – in one request."""
        return self._run(self._calls.each("/batch/step", "action", actions))

    def close(self, numbers: Sequence[int] | None = None) -> None:
        """Close sessions; all that this client made, and its connections, without ``numbers``."""
        try:
            self._run(self._calls.close(numbers))
        finally:
            if numbers is None:
                self._http.close()

    def _run(self, call: _Call[_Result]) -> _Result:
        try:
            asked = next(call)
            while True:
                if isinstance(asked, float):
                    time.sleep(asked)
                    asked = next(call)
                    continue
                path, data = asked
                try:
                    answer = self._http.get(path) if data is None else self._http.post(path, json=data)
                except httpx.HTTPError as error:
                    asked = call.throw(self._calls.gone(path, error))
                else:
                    asked = call.send(answer)
        except StopIteration as end:
            result: _Result = end.value
            return result

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
        self._calls = calls = _Calls(url, token)
        self._http = httpx.AsyncClient(base_url=calls.url, headers=calls.headers, timeout=timeout, limits=_LIMITS)

    async def info(self) -> dict[str, Any]:
        """What the server serves."""
        found: dict[str, Any] = await self._run(self._calls.ask("/info"))
        return found

    async def session(self, waits: int = _WAITS) -> "AsyncSession":
        """A new session; waits for room so many times, then raises ``NoRoom``."""
        return AsyncSession(self, (await self.create(1, waits))[0])

    async def create(self, count: int, waits: int = _WAITS) -> list[int]:
        """So many new sessions, or none. Waits for room so many times, then raises ``NoRoom``."""
        return await self._run(self._calls.create(count, waits))

    async def reset(self, items: Mapping[int, int | None]) -> list[dict[str, Any]]:
        """Begin items in sessions – number → item – in one request; results as ``turn`` reads them."""
        return await self._run(self._calls.each("/batch/reset", "item", items))

    async def step(self, actions: Mapping[int, str]) -> list[dict[str, Any]]:
        """Do actions in sessions – number → action – in one request."""
        return await self._run(self._calls.each("/batch/step", "action", actions))

    async def close(self, numbers: Sequence[int] | None = None) -> None:
        """Close sessions; all that this client made, and its connections, without ``numbers``."""
        try:
            await self._run(self._calls.close(numbers))
        finally:
            if numbers is None:
                await self._http.aclose()

    async def _run(self, call: _Call[_Result]) -> _Result:
        try:
            asked = next(call)
            while True:
                if isinstance(asked, float):
                    await asyncio.sleep(asked)
                    asked = next(call)
                    continue
                path, data = asked
                try:
                    answer = await (self._http.get(path) if data is None else self._http.post(path, json=data))
                except httpx.HTTPError as error:
                    asked = call.throw(self._calls.gone(path, error))
                else:
                    asked = call.send(answer)
        except StopIteration as end:
            result: _Result = end.value
            return result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncSession:
    """One session of an ``AsyncClient``."""

    def __init__(self, client: AsyncClient, number: int) -> None:
        self.client, self.number = client, number

    async def reset(self, item: int | None = None) -> Turn:
        """Begin an item. Raises ``SessionFailed``."""
        return turn((await self.client.reset({self.number: item}))[0])

    async def step(self, action: str) -> Turn:
        """Do an action. Raises ``SessionFailed``."""
        return turn((await self.client.step({self.number: action}))[0])

    async def close(self) -> None:
        """Close the session."""
        await self.client.close([self.number])

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
