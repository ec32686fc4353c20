"""The routes: AgentGym's own for the environment, one protocol for all environments, and what operators ask.

A handler gets the request's data and gives a status and what is answered. Nothing here knows of HTTP's bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import wardian
from wardian.envs.base import NoSuchItem, Turn, Wire
from wardian.envs.sessions import Refused, Sessions

Data = dict[str, Any]
NATIVE = Wire("This is an environment of Wardian.")


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and a JSON value."""

    status: int
    value: Any
    retry: int | None = None


class Peers(Protocol):
    """The other processes of one server."""

    def others(self) -> list[int]:
        """Their numbers."""
        ...

    async def ask(self, worker: int, path: str, data: Data) -> Reply:
        """Have another process handle a request."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """``session`` names the field that says whose request it is; None: any process may answer."""

    method: str
    handle: Callable[[Data], Awaitable[Reply]]
    session: str | None = None


class Invalid(Exception):
    """A request whose data is not as the route wants it; in the words of FastAPI, which AgentGym's servers use."""

    def __init__(self, kind: str, where: Sequence[str | int], text: str, value: Any = None) -> None:
        super().__init__(text)
        self.detail = [{"type": kind, "loc": list(where), "msg": text, "input": value}]


class Api:
    """All routes of one process."""

    def __init__(self, sessions: Sessions, *, worker: int = 0, workers: int = 1, peers: Peers | None = None) -> None:
        self.sessions = sessions
        self.environment = sessions.environment
        self._worker, self._workers, self.peers = worker, workers, peers
        wire = self.environment.wire or NATIVE
        self.wire = wire
        post, get = "POST", "GET"
        self.routes: dict[str, Route] = {
            "/": Route(get, self._hello),
            "/create": Route(post, self._create),
            "/step": Route(post, self._step, wire.session),
            "/reset": Route(post, self._reset, wire.session),
            "/observation": Route(get, self._observation, wire.session),
            "/close": Route(post, self._close, wire.session),
            "/batch/create": Route(post, self._batch_create),
            "/batch/reset": Route(post, self._batch_reset),
            "/batch/step": Route(post, self._batch_step),
            "/batch/close": Route(post, self._batch_close),
            "/health": Route(get, self._health),
            "/info": Route(get, self._info),
            **{path: Route(get, self._more(tell, "query"), wire.session) for path, tell in wire.more.items()},
            **{path: Route(post, self._more(tell, "body"), wire.session) for path, tell in wire.shown.items()},
            **{path: Route(post, self._stepped(*how), wire.session) for path, how in wire.steps.items()},
            **{path: Route(post, self._asked(answer)) for path, answer in wire.asked.items()},
        }

    async def call(self, path: str, data: Data, *, mine: bool = False) -> Reply:
        """Answer a request; ``mine``: a peer asks, so that it is not handed on again."""
        route = self.routes[path]
        try:
            if self._workers > 1 and not mine:
                owner = self._owner(integer(data, route.session)) if route.session else self._worker
                if owner != self._worker and self.peers is not None:
                    return await self.peers.ask(owner, path, data)
                data["_spread"] = True
            return await route.handle(data)
        except Invalid as error:
            return Reply(422, {"detail": error.detail})
        except Refused as error:
            return self._refusal(error)

    def _owner(self, number: int) -> int:
        return number % self._workers

    def _refusal(self, error: Refused) -> Reply:
        """AgentGym's servers say most of what is wrong with status 200; a lack of room they do not know."""
        status = error.status
        if not self.sessions.strict and status not in (503, 504):
            status = 200
        return Reply(status, {"error": str(error)}, error.retry)

    # AgentGym's routes

    async def _hello(self, _: Data) -> Reply:
        return Reply(200, self.wire.hello)

    async def _create(self, data: Data) -> Reply:
        number = await self._somewhere(data)
        if isinstance(number, Reply):
            return number
        turn = None
        if self.wire.create_item:
            try:
                turn = await self.sessions.reset(number, self.wire.create_item(data))
            except NoSuchItem as error:
                self.sessions.close(number)
                raise Refused(422, str(error)) from None
            except BaseException:
                self.sessions.close(number)
                raise
        return Reply(200, self.wire.created(number, turn))

    async def _somewhere(self, data: Data) -> int | Reply:
        """A new session here; when there is no room, another process's answer."""
        try:
            return self.sessions.create()
        except Refused:
            if not data.pop("_spread", False) or self.peers is None:
                raise
            for other in range(self._workers):
                if other != self._worker:
                    reply = await self.peers.ask(other, "/create", data)
                    if reply.status != 503:
                        return reply
            raise

    async def _step(self, data: Data) -> Reply:
        number, action = integer(data, self.wire.session), text(data, "action")
        return Reply(200, self.wire.step(number, await self.sessions.step(number, action)))

    async def _reset(self, data: Data) -> Reply:
        number = integer(data, self.wire.session)
        default = self.wire.item_default
        item = default if default is not None and self.wire.item not in data else integer(data, self.wire.item)
        return Reply(200, self.wire.reset(number, await self.sessions.reset(number, item)))

    async def _observation(self, data: Data) -> Reply:
        number = integer(data, self.wire.session, "query")
        episode, turn = self._last(number)
        return Reply(200, self.wire.observation(episode, turn))

    async def _close(self, data: Data) -> Reply:
        number = integer(data, self.wire.session)
        try:
            self.sessions.close(number)
        except Refused:
            if self.sessions.strict:
                raise
            return Reply(200, value=False)
        return Reply(200, value=True)

    def _more(self, tell: Callable[[Any], Any], where: str) -> Callable[[Data], Awaitable[Reply]]:
        async def handle(data: Data) -> Reply:
            number = integer(data, self.wire.session, where)
            episode, _ = self._last(number)
            return Reply(200, await self.sessions.alone(number, lambda: tell(episode)))

        return handle

    def _stepped(
        self, meant: Callable[[str], str], tell: Callable[[Any, Turn], Any]
    ) -> Callable[[Data], Awaitable[Reply]]:
        async def handle(data: Data) -> Reply:
            number, action = integer(data, self.wire.session), text(data, "action")
            turn = await self.sessions.step(number, meant(action))
            episode = self.sessions.get(number).episode
            return Reply(200, await self.sessions.alone(number, lambda: tell(episode, turn)))

        return handle

    def _asked(self, answer: Callable[[Any, Data], Any]) -> Callable[[Data], Awaitable[Reply]]:
        async def handle(data: Data) -> Reply:
            data.pop("_spread", None)
            try:
                return Reply(200, await asyncio.to_thread(answer, self.environment, data))
            except NoSuchItem as error:
                raise Refused(422, str(error)) from None

        return handle

    def _last(self, number: int) -> tuple[Any, Turn]:
        """What a session plays, and its last turn."""
        session = self.sessions.get(number)
        if session.turn is None:
            raise Refused(409, self.wire.before_reset(number))
        if not self.sessions.strict:
            self.sessions.refuse_over(number, session.turn)
        return session.episode, session.turn

    # One protocol for all environments

    async def _batch_create(self, data: Data) -> Reply:
        count = integer(data, "count")
        if not 1 <= count <= self.sessions.limits.max_sessions:
            raise Refused(422, f"count is 1 to {self.sessions.limits.max_sessions}, not {count}")
        made: list[int] = []
        spread = data.pop("_spread", False)
        try:
            while len(made) < count:
                made.append(self.sessions.create())
        except Refused:
            if spread and self.peers is not None:
                made += await self._elsewhere(count - len(made))
            if len(made) < count:
                await self._batch_close({"ids": made, "_spread": spread})
                raise
        return Reply(200, {"ids": made})

    async def _elsewhere(self, count: int) -> list[int]:
        """Up to ``count`` sessions of other processes."""
        made: list[int] = []
        for other in range(self._workers):
            while other != self._worker and self.peers is not None and len(made) < count:
                reply = await self.peers.ask(other, "/batch/create", {"count": 1})
                if reply.status != 200:
                    break
                made += reply.value["ids"]
        return made

    async def _batch_reset(self, data: Data) -> Reply:
        async def one(entry: Data) -> Turn:
            seed = integer(entry, "seed") if entry.get("seed") is not None else None
            item = integer(entry, "item") if entry.get("item") is not None else None
            if seed is not None and item is None:
                item = 0
            return await self.sessions.reset(entry["id"], item, seed)

        return await self._batch("/batch/reset", data, one)

    async def _batch_step(self, data: Data) -> Reply:
        async def one(entry: Data) -> Turn:
            return await self.sessions.step(entry["id"], text(entry, "action"))

        return await self._batch("/batch/step", data, one)

    async def _batch_close(self, data: Data) -> Reply:
        async def one(entry: Data) -> None:
            self.sessions.close(entry["id"])

        ids = data.get("ids")
        if isinstance(ids, list) and "sessions" not in data:
            data = {**data, "sessions": [{"id": number} for number in ids]}
        return await self._batch("/batch/close", data, one)

    async def _batch(self, path: str, data: Data, one: Callable[[Data], Awaitable[Turn | None]]) -> Reply:
        """Do the same in many sessions, each in the process that has it; a fault in one is its own answer."""
        entries = data.get("sessions")
        if not isinstance(entries, list):
            raise Invalid("list_type", ["body", "sessions"], "Input should be a valid list", entries)
        for at, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise Invalid("dict_type", ["body", "sessions", at], "Input should be a valid dictionary", entry)
            integer(entry, "id")
        elsewhere: dict[int, list[Data]] = {}
        if data.pop("_spread", False) and self.peers is not None:
            for entry in entries:
                elsewhere.setdefault(self._owner(entry["id"]), []).append(entry)
            entries_here = elsewhere.pop(self._worker, [])
        else:
            entries_here = entries
        found: dict[int, list[Data]] = {}

        async def here() -> None:
            results = await gather(
                *(self._result(entry, one) for entry in entries_here), at_once=self.environment.blocking
            )
            for result in results:
                found.setdefault(result["id"], []).append(result)

        async def there(worker: int, some: list[Data]) -> None:
            assert self.peers is not None
            reply = await self.peers.ask(worker, path, {"sessions": some})
            for entry, result in zip(some, reply.value.get("results", ()), strict=False):
                found.setdefault(entry["id"], []).append(result)

        await gather(here(), *(there(worker, some) for worker, some in elsewhere.items()), at_once=bool(elsewhere))
        lost = {"error": "the process that had this session is gone", "status": 410}
        return Reply(
            200,
            {"results": [found[e["id"]].pop(0) if found.get(e["id"]) else {"id": e["id"], **lost} for e in entries]},
        )

    async def _result(self, entry: Data, one: Callable[[Data], Awaitable[Turn | None]]) -> Data:
        number = entry["id"]
        try:
            turn = await one(entry)
        except Refused as error:
            return {"id": number, "error": str(error), "status": error.status}
        except Invalid as error:
            return {"id": number, "error": str(error), "status": 422}
        return {"id": number, "closed": True} if turn is None else {"id": number, **told(turn)}

    # What operators and clients ask

    async def _health(self, _: Data) -> Reply:
        return Reply(200, {"status": "healthy"})

    async def _info(self, _: Data) -> Reply:
        environment, limits = self.environment, self.sessions.limits
        return Reply(
            200,
            {
                "env": environment.name,
                "items": environment.items,
                "mode": limits.mode,
                "wardian": wardian.__version__,
                "versions": dict(environment.versions()),
                "max_score": environment.max_score,
                "success": environment.success,
                "system": environment.system,
                "actions": environment.actions,
                "max_sessions": limits.max_sessions,
                "max_steps": limits.max_steps,
            },
        )


async def gather(*work: Awaitable[Any], at_once: bool = True) -> list[Any]:
    """The results of all, in order; one after another where nothing of it waits."""
    if not at_once:
        return [await one for one in work]
    return list(await asyncio.gather(*work))


def told(turn: Turn) -> Data:
    """A turn in the protocol for all environments."""
    return {
        "observation": turn.text,
        "reward": turn.reward,
        "score": turn.score,
        "done": turn.done,
        "truncated": turn.truncated,
        "success": turn.success,
        "valid": turn.valid,
        **({"extra": dict(turn.extra)} if turn.extra else {}),
    }


def integer(data: Mapping[str, Any], name: str, where: str = "body") -> int:
    """A whole number. As pydantic takes it: also ``"3"`` and ``3.0``, but no truth value in disguise."""
    if name not in data:
        raise Invalid("missing", [where, name], "Field required", dict(data))
    value = data[name]
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal() and len(value) < 100:
        return int(value)
    kind = "int_parsing" if isinstance(value, str) else "int_from_float" if isinstance(value, float) else "int_type"
    raise Invalid(kind, [where, name], "Input should be a valid integer", value)


def text(data: Mapping[str, Any], name: str) -> str:
    """A string."""
    if name not in data:
        raise Invalid("missing", ["body", name], "Field required", dict(data))
    if not isinstance(data[name], str):
        raise Invalid("string_type", ["body", name], "Input should be a valid string", data[name])
    return str(data[name])
