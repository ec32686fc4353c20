"""The sessions of one process: who plays what, for how long, and what a call on one is answered.

Two ways to answer (``Limits.mode``). ``strict``: an episode that is over takes no more actions and pays nothing more,
the score stays within the environment's range, a call on a busy session is refused. ``agentgym``: as AgentGym's
servers do, faults included, for results that are to be compared with theirs.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from wardian.envs.base import Environment, Episode, Lost, NoSuchItem, Turn

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows. Times are in seconds; 0 steps: the environment's own limit."""

    mode: str = "strict"  # strict | agentgym
    max_sessions: int = 1024  # of the server; its processes share them
    idle_ttl: float = 3600
    unused_ttl: float = 900  # created and never reset
    max_steps: int = 0
    max_body: int = 1 << 20
    max_action: int = 16 << 10  # bytes
    step_timeout: float = 60


class Refused(Exception):
    """A call that is answered with a status of HTTP: the text, and for how many seconds not to try again."""

    def __init__(self, status: int, text: str, retry: int | None = None) -> None:
        super().__init__(text)
        self.status, self.retry = status, retry


@dataclass(slots=True)
class Session:
    """One client's place. ``turn`` is the last one, its score filled in."""

    episode: Episode | None = None
    turn: Turn | None = None
    steps: int = 0
    used: float = 0.0
    busy: asyncio.Lock | None = None  # while, and after, a call ran in a thread


class Sessions:
    """All sessions of one process. To be used from its event loop alone."""

    def __init__(
        self,
        environment: Environment,
        limits: Limits,
        *,
        first: int = 0,
        stride: int = 1,
        room: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``first``, ``first + stride`` … are the numbers given: a number tells the process that has the session."""
        self.environment, self.limits, self.clock = environment, limits, clock
        self.strict = limits.mode == "strict"
        self.room = limits.max_sessions if room is None else room
        self.open: dict[int, Session] = {}
        self.reaped = 0
        self.stuck = 0  # threads that were given up
        self._first, self._next, self._stride = first, first, stride
        self._threads = ThreadPoolExecutor(32, "episode") if environment.blocking else None

    def create(self) -> int:
        """Make a session. Raises ``Refused`` (503) when there is no room."""
        if len(self.open) >= self.room:
            raise Refused(503, f"all {self.room} sessions are in use", retry=5)
        number = self._next
        self._next += self._stride
        self.open[number] = Session(used=self.clock())
        return number

    def get(self, number: int) -> Session:
        """The session of a number. Raises ``Refused``: 410 for one that a process had that is no more."""
        session = self.open.get(number)
        if session is None:
            gone = number >= 0 and number % self._stride == self._first % self._stride and number < self._first
            raise Refused(410 if gone else 404, f"The id {number} is not valid.")
        return session

    async def reset(self, number: int, item: int | None, seed: int | None = None) -> Turn:
        """Begin an item in a session; None: the one that the session's number falls on."""
        session = self.get(number)
        items = self.environment.items
        item = number % items if item is None and items else item or 0
        if self.strict and (item < 0 or (items is not None and item >= items)):
            raise Refused(422, f"there is no item {item}: they are 0 to {items - 1}" if items else f"no item {item}")
        return await self._alone(number, session, self._reset(number, session, item, seed))

    async def _reset(self, number: int, session: Session, item: int, seed: int | None) -> Turn:
        old, session.episode, session.turn = session.episode, None, None
        if old is not None:
            old.close()
        try:
            session.episode, turn = await self._do(number, lambda: self.environment.start(item, seed))
        except NoSuchItem as error:
            raise Refused(422, str(error)) from None
        session.steps = 0
        session.turn = self._scored(turn, 0)
        return session.turn

    async def step(self, number: int, action: str) -> Turn:
        """Do an action in a session."""
        session = self.get(number)
        if len(action.encode("utf-8", "surrogatepass")) > self.limits.max_action:
            raise Refused(422, f"an action may have {self.limits.max_action} bytes")
        return await self._alone(number, session, self._step(number, session, action))

    async def _step(self, number: int, session: Session, action: str) -> Turn:
        episode, last = session.episode, session.turn
        if episode is None or last is None:
            wire = self.environment.wire
            said = wire.before_reset(number) if wire and not self.strict else f"session {number} has no item: reset it"
            raise Refused(409, said)
        self.refuse_over(number, last)
        turn = await self._do(number, lambda: episode.step(action))
        session.steps += 1
        if self.limits.max_steps and session.steps >= self.limits.max_steps and not turn.done:
            turn = replace(turn, done=True, truncated=True)
        session.turn = self._scored(turn, last.score or 0)
        return session.turn

    def refuse_over(self, number: int, last: Turn) -> None:
        """Raise ``Refused`` for a session whose episode is over; some servers of AgentGym go on."""
        wire = self.environment.wire
        if last.done and (self.strict or wire is None or wire.finishes):
            raise Refused(409, f"The task with environment {number} has finished.")

    async def alone(self, number: int, work: Callable[[], _Result]) -> _Result:
        """Do what is no step in a session's episode, while no other call does."""
        return await self._alone(number, self.get(number), self._do(number, work))

    def close(self, number: int) -> None:
        """End a session."""
        self.get(number)
        session = self.open.pop(number)
        if session.episode is not None:
            session.episode.close()

    def reap(self) -> int:
        """Close the sessions that nobody has used for too long; how many."""
        now, old = self.clock(), []
        for number, session in self.open.items():
            allowed = self.limits.unused_ttl if session.turn is None else self.limits.idle_ttl
            if now - session.used > allowed and not (session.busy and session.busy.locked()):
                old.append(number)
        for number in old:
            self.close(number)
        self.reaped += len(old)
        return len(old)

    def shut(self) -> None:
        """End all sessions and the environment."""
        for number in list(self.open):
            with contextlib.suppress(Exception):  # one that cannot be closed keeps no other from it
                self.close(number)
        self.environment.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _alone(self, number: int, session: Session, call: Coroutine[Any, Any, _Result]) -> _Result:
        """Make one call on a session at a time: in strict mode a second one is refused, else it waits."""
        if self._threads is None:
            session.used = self.clock()
            return await call
        session.busy = session.busy or asyncio.Lock()
        if session.busy.locked() and self.strict:
            call.close()
            raise Refused(409, f"session {number} is busy with another call")
        async with session.busy:
            if self.open.get(number) is not session:
                call.close()
                raise Refused(404, f"The id {number} is not valid.")
            try:
                return await call
            finally:
                session.used = self.clock()

    async def _do(self, number: int, work: Callable[[], _Result]) -> _Result:
        """Run an environment's own code, and close the session when that fails or takes too long."""
        try:
            if self._threads is None:
                return work()
            loop = asyncio.get_running_loop()
            return await asyncio.wait_for(loop.run_in_executor(self._threads, work), self.limits.step_timeout)
        except NoSuchItem:
            raise
        except TimeoutError:
            self._lose(number)
            self.stuck += 1
            raise Refused(
                504, f"session {number} took more than {self.limits.step_timeout:g} s and is closed"
            ) from None
        except Lost as error:
            self._lose(number)
            raise Refused(410, f"session {number} is gone: {error}") from error
        except Exception as error:
            self._lose(number)
            raise Refused(500, f"session {number} is closed: {type(error).__name__}: {error}") from error

    def _lose(self, number: int) -> None:
        session = self.open.pop(number, None)
        if session is not None and session.episode is not None:
            with contextlib.suppress(Exception):
                session.episode.close()

    def _scored(self, turn: Turn, before: float) -> Turn:
        score = before + turn.reward if turn.score is None else turn.score
        if self.strict and self.environment.max_score is not None:
            score = min(score, self.environment.max_score)
        return replace(turn, score=score)
