"""An evaluation: many items at once, a file each, resumed where it stopped; and the same again from the files."""

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wardian.envs.client import AsyncClient, AsyncSession, NoRoom, SessionFailed
from wardian.envs.evaluation.chat import Chat, Model
from wardian.envs.evaluation.items import Items
from wardian.envs.evaluation.picture import picture
from wardian.envs.evaluation.playing import Played, Rules, act, play
from wardian.envs.evaluation.results import summary
from wardian.errors import SpecError
from wardian.store.files import write_file

Tell = Callable[[Mapping[str, Any]], None]
SETTINGS = "settings.json"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is played, by whom and where the files go."""

    rules: Rules
    items: Items
    samples: int
    folder: Path
    env_url: str
    env_token: str | None = None

    def file(self, item: int, sample: int) -> Path:
        """The file of a result; the first sample's has the reference's name."""
        return self.folder / f"{stem(self.rules.env)}_{item}{f'.{sample}' if sample else ''}.json"

    def results(self) -> list[dict[str, Any]]:
        """What is there of the results."""
        found = (read(self.file(item, sample)) for item in self.items.numbers for sample in range(self.samples))
        return [one for one in found if one is not None]


def stem(env: str) -> str:
    """How the results' files of an environment begin.

    >>> stem("gymnasium:ALE/Pong-v5")
    'gymnasium:ALE-Pong-v5'
    """
    return env.replace("/", "-")


def read(path: Path) -> dict[str, Any] | None:
    """A result's file; None: there is none, or it is none."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and {"conversations", "reward", "item"} <= said.keys() else None


def write(path: Path, value: Any) -> None:
    """Write JSON whole, or not at all."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    write_file(path, text.encode("utf-8", "replace"), scratch=path.parent)


def settle(evaluation: Evaluation, settings: Mapping[str, Any]) -> None:
    """Note how a folder's results are made, or hold to what is noted. Raises ``SpecError`` for a difference."""
    path = evaluation.folder / SETTINGS
    evaluation.folder.mkdir(parents=True, exist_ok=True)
    try:
        noted = json.loads(path.read_text())
    except (OSError, ValueError):
        if any(evaluation.file(item, 0).exists() for item in evaluation.items.numbers):
            raise SpecError(
                f"{evaluation.folder} has results, and no {SETTINGS} that says whose", hint="choose another --output"
            ) from None
        write(path, dict(settings))
        return
    other = [f"{key} {noted.get(key)!r}, now {settings[key]!r}" for key in settings if noted.get(key) != settings[key]]
    if other:
        raise SpecError(
            f"{evaluation.folder} has results of other settings: {'; '.join(other)}", hint="choose another --output"
        )


def finished(work: Coroutine[Any, Any, T]) -> T:
    """Run something to its end. SIGTERM ends it as ^C does: its sessions are closed before this process exits."""

    async def heard() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(heard())
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


async def evaluate(evaluation: Evaluation, model: Model, key: str | None, concurrency: int, tell: Tell) -> None:
    """Play what has no good result yet, as many items at once as the server has room for, up to ``concurrency``.

    Raises what ends all: ``ModelRefused``, ``ServerGone``.
    """
    waiting = [
        (item, sample)
        for sample in range(evaluation.samples)
        for item in evaluation.items.numbers
        if (had := read(evaluation.file(item, sample))) is None or had.get("error")
    ]
    waiting.reverse()
    async with AsyncClient(evaluation.env_url, token=evaluation.env_token) as client, Chat(model, key) as chat:
        info = await client.info()
        playing: set[AsyncSession] = set()  # of all players

        async def seat() -> AsyncSession | None:
            """A session; None: the server has no room beyond what others play in."""
            try:
                session = await client.session(waits=0)
            except NoRoom:
                if playing:
                    return None
                session = await client.session()
            playing.add(session)
            return session

        async def player() -> None:
            session: AsyncSession | None = None
            while waiting and (session or (session := await seat())):
                if not waiting:
                    break
                item, sample = waiting.pop()
                played = Played(evaluation.rules, info, evaluation.items.of(item), item, sample)
                await play(played, session, chat)
                told = played.told()
                write(evaluation.file(item, sample), told)
                tell(told)
                if played.error:  # its session may be gone
                    playing.discard(session)
                    await session.close()
                    session = None
            if session:
                playing.discard(session)

        await _together([player() for _ in range(min(concurrency, len(waiting)))])


async def _together(work: Sequence[Any]) -> None:
    """Wait for all; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as failed:  # not `except*`: what is raised there is a group again, on Python 3.11.2
        raise failed.exceptions[0] from None


async def reverify(evaluation: Evaluation, tell: Tell) -> list[str]:
    """Replay the actions of all results, and put right what the environment says otherwise; the differences."""
    differences = []
    async with AsyncClient(evaluation.env_url, token=evaluation.env_token) as client:
        info = await client.info()
        for had in evaluation.results():
            if had.get("error"):
                continue
            played = Played(evaluation.rules, info, had.get("categories", ()), had["item"], had["sample"])
            said = [
                one["content"] for one in had["conversations"][len(played.messages) :] if one["role"] == "assistant"
            ]
            session = await client.session()
            try:
                played.turn = await session.reset(had["item"])
                for one in said:
                    if not played.turn.done:
                        await act(played, session, one)
            except SessionFailed as error:
                differences.append(f"{had['item_id']}: {error.message}")
                continue
            finally:
                await session.close()
            now = played.told()
            fields = ("reward", "success", "done")
            other = [f"{name} {had[name]!r}, now {now[name]!r}" for name in fields if had[name] != now[name]]
            if other:
                differences.append(f"{had['item_id']}: {', '.join(other)}")
                kept = {name: now[name] for name in (*fields, "reference_success", "truncated", "invalid")}
                before = {"before": {name: had[name] for name in kept}}
                write(evaluation.file(had["item"], had["sample"]), {**had, **before, **kept})
            tell(now)
    return differences


def conclude(evaluation: Evaluation, info: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Write ``summary.json`` and ``summary.svg``; the numbers."""
    said = summary(evaluation.results(), evaluation.items.categories, evaluation.samples)
    said["missing"] = len(evaluation.items.numbers) * evaluation.samples - len(evaluation.results())
    said["success_means"] = info["success"]
    write(evaluation.folder / "summary.json", said)
    write(evaluation.folder / "summary.svg", picture(title, said, info["max_score"]))
    return said
