"""Sessions: room, time, one call at a time, and what the two modes answer."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from wardian.envs.base import Lost, NoSuchItem, Turn, Wire
from wardian.envs.sessions import Limits, Refused, Sessions


class Episode:
    """Counts to three; knows a few words that go wrong."""

    def __init__(self, owner: "Counting") -> None:
        self.owner, self.count = owner, 0

    def step(self, action: str) -> Turn:
        if action == "raise":
            raise ZeroDivisionError("by nought")
        if action == "die":
            raise Lost("its process died")
        if action == "wait":
            assert self.owner.gate.wait(10)
        self.count += 1
        return Turn(f"{self.count}", 0.6, self.count == 3)

    def close(self) -> None:
        self.owner.closed += 1


class Counting:
    """A real environment of the smallest kind."""

    name, success, system, actions, max_sessions = "counting", "done", "", "words", 4
    items: int | None = 10
    max_score: float | None = 1.0
    wire: Wire | None = None

    def __init__(self, *, blocking: bool = False) -> None:
        self.blocking, self.closed, self.ended = blocking, 0, False
        self.gate = threading.Event()

    def start(self, item: int, seed: int | None) -> tuple[Episode, Turn]:
        if item == 9:
            raise NoSuchItem("nine is not there")
        return Episode(self), Turn(f"item {item}, seed {seed}")

    def versions(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        self.ended = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(mode: str = "strict", *, blocking: bool = False, **limits: Any) -> Sessions:
    allowed = Limits(mode=mode, **{"max_sessions": 4, **limits})
    return Sessions(Counting(blocking=blocking), allowed, clock=Clock())


def refused(work: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        asyncio.run(work()) if asyncio.iscoroutinefunction(work) else work()
    return caught.value


def test_there_is_room_for_so_many() -> None:
    sessions = made()
    assert [sessions.create() for _ in range(4)] == [0, 1, 2, 3]
    error = refused(sessions.create)
    assert (error.status, error.retry) == (503, 5)
    sessions.close(2)
    assert sessions.create() == 4  # a number is never given twice


def test_a_process_among_several_gives_its_own_numbers() -> None:
    sessions = Sessions(Counting(), Limits(), first=1 + 3 * 10, stride=3)
    assert [sessions.create() for _ in range(3)] == [31, 34, 37]
    assert refused(lambda: sessions.get(4)).status == 410  # of the process whose place this one took
    assert refused(lambda: sessions.get(40)).status == 404
    assert refused(lambda: sessions.get(5)).status == 404  # another's
    assert refused(lambda: sessions.get(-2)).status == 404


async def _played(sessions: Sessions) -> list[Turn]:
    number = sessions.create()
    return [await sessions.reset(number, 1), *[await sessions.step(number, "on") for _ in range(3)]]


def test_strict_keeps_the_score_below_the_highest() -> None:
    assert [turn.score for turn in asyncio.run(_played(made()))] == [0, 0.6, 1.0, 1.0]


def test_agentgym_adds_without_end() -> None:
    assert [turn.score for turn in asyncio.run(_played(made("agentgym")))] == [0, 0.6, 1.2, pytest.approx(1.8)]


@pytest.mark.parametrize("mode", ["strict", "agentgym"])
def test_an_episode_that_is_over_takes_no_action(mode: str) -> None:
    sessions = made(mode)

    async def work() -> None:
        await _played(sessions)
        await sessions.step(0, "on")

    error = refused(work)
    assert (error.status, str(error)) == (409, "The task with environment 0 has finished.")


def test_a_step_before_the_first_reset() -> None:
    sessions = made()
    sessions.create()

    async def work() -> None:
        await sessions.step(0, "on")

    assert refused(work).status == 409


@pytest.mark.parametrize("item", [-1, 10, 10**24])
def test_strict_has_no_item_outside(item: int) -> None:
    sessions = made()
    sessions.create()

    async def work() -> None:
        await sessions.reset(0, item)

    assert (refused(work).status, "there is no item" in str(refused(work))) == (422, True)


def test_an_item_the_environment_refuses() -> None:
    sessions = made()
    sessions.create()

    async def work() -> None:
        await sessions.reset(0, 9)

    assert (refused(work).status, str(refused(work))) == (422, "nine is not there")
    assert 0 in sessions.open


def test_a_long_action_is_refused_by_its_bytes() -> None:
    sessions = made(max_action=8)

    async def work(action: str) -> Turn:
        number = sessions.create()
        await sessions.reset(number, 0)
        return await sessions.step(number, action)

    assert asyncio.run(work("éééé")).text == "1"
    assert asyncio.run(work("\ud800on")).text == "1"  # half a surrogate pair, as JSON can bring it

    async def long() -> None:
        await work("ééééé")

    assert refused(long).status == 422


def test_a_limit_of_steps_cuts_an_episode() -> None:
    turn = asyncio.run(_two(made(max_steps=2)))
    assert (turn.done, turn.truncated) == (True, True)


async def _two(sessions: Sessions) -> Turn:
    number = sessions.create()
    await sessions.reset(number, 0)
    await sessions.step(number, "on")
    return await sessions.step(number, "on")


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize(("word", "status"), [("raise", 500), ("die", 410)])
def test_a_session_whose_environment_fails_is_closed(word: str, status: int, *, blocking: bool) -> None:
    sessions = made(blocking=blocking)

    async def work() -> None:
        number = sessions.create()
        await sessions.reset(number, 0)
        await sessions.step(number, word)

    error = refused(work)
    assert error.status == status
    assert "by nought" in str(error) or "its process died" in str(error)
    assert not sessions.open


def test_a_step_that_takes_too_long_ends_its_session() -> None:
    sessions = made(blocking=True, step_timeout=0.05)

    async def work() -> None:
        number = sessions.create()
        await sessions.reset(number, 0)
        try:
            await sessions.step(number, "wait")
        finally:
            sessions.environment.gate.set()  # type: ignore[attr-defined]

    assert refused(work).status == 504
    assert not sessions.open


@pytest.mark.parametrize(("mode", "expected"), [("strict", ["409", "1"]), ("agentgym", ["1", "2"])])
def test_two_calls_at_once_on_one_session(mode: str, expected: list[str]) -> None:
    """Strict refuses the second, as its answer would depend on the first; AgentGym's servers take both."""
    sessions = made(mode, blocking=True)

    async def work() -> list[str]:
        number = sessions.create()
        await sessions.reset(number, 0)

        async def step(action: str) -> str:
            try:
                return (await sessions.step(number, action)).text
            except Refused as error:
                return str(error.status)

        first = asyncio.create_task(step("wait"))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(step("on"))
        await asyncio.sleep(0.02)
        sessions.environment.gate.set()  # type: ignore[attr-defined]
        return sorted(await asyncio.gather(first, second), reverse=mode == "strict")

    assert asyncio.run(work()) == expected


def test_a_reset_lets_go_of_what_was_played() -> None:
    sessions = made()

    async def work() -> None:
        number = sessions.create()
        await sessions.reset(number, 0)
        await sessions.reset(number, 1)

    asyncio.run(work())
    assert sessions.environment.closed == 1  # type: ignore[attr-defined]


def test_sessions_that_nobody_uses_are_closed() -> None:
    sessions = made(idle_ttl=100, unused_ttl=10)
    clock = sessions.clock
    assert isinstance(clock, Clock)

    async def work() -> None:
        for _ in range(3):
            sessions.create()
        await sessions.reset(0, 0)
        clock.now = 11
        assert sessions.reap() == 2  # created and never reset
        clock.now = 90
        await sessions.step(0, "on")
        clock.now = 150
        assert sessions.reap() == 0
        clock.now = 191
        assert sessions.reap() == 1

    asyncio.run(work())
    assert (len(sessions.open), sessions.reaped, sessions.environment.closed) == (0, 3, 1)  # type: ignore[attr-defined]
    assert [sessions.create() for _ in range(4)] == [3, 4, 5, 6]


def test_the_end_closes_all() -> None:
    sessions = made()
    asyncio.run(_played(sessions))
    sessions.create()
    sessions.shut()
    assert not sessions.open
    assert sessions.environment.ended  # type: ignore[attr-defined]
