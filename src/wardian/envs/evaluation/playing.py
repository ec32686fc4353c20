"""One item played by a model: the conversation, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardian.envs.client import AsyncSession, SessionFailed, Turn
from wardian.envs.evaluation.actions import SEVERAL, Several, action, opening
from wardian.envs.evaluation.chat import Chat, NoAnswer
from wardian.envs.evaluation.results import reference_success


@dataclass(frozen=True, slots=True)
class Rules:
    """How items are played."""

    env: str
    form: str = "react"  # react | plain
    max_rounds: int = 10


class Played:
    """A conversation that grows; ``told`` is what is kept of it."""

    def __init__(self, rules: Rules, info: Mapping[str, Any], of: Sequence[str], item: int, sample: int) -> None:
        self.rules, self.info, self.categories, self.item, self.sample = rules, info, of, item, sample
        self.messages: list[dict[str, Any]] = list(opening(info, rules.form))
        self.turn: Turn | None = None
        self.rounds = self.invalid = 0
        self.tokens = [0, 0]
        self.seconds = 0.0
        self.error: str | None = None

    def told(self) -> dict[str, Any]:
        """The reference's fields, and ours."""
        turn = self.turn
        reward = turn.score if turn else 0
        kept = ("role", "content", "reasoning_content")
        return {
            "conversations": [{name: one.get(name) for name in kept} for one in self.messages],
            "item_id": f"{self.rules.env}_{self.item}",
            "reward": reward,
            "success": bool(turn and turn.success),
            "reference_success": reference_success(reward),
            "item": self.item,
            "categories": list(self.categories),
            "sample": self.sample,
            "rounds": self.rounds,
            "invalid": self.invalid,
            "done": bool(turn and turn.done),
            "truncated": bool(turn and (turn.truncated or not turn.done)),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "mode": self.info["mode"],
            "versions": {"wardian": self.info["wardian"], **self.info["versions"]},
        }


async def play(played: Played, session: AsyncSession, chat: Chat) -> None:
    """Play an item in a session to its end, or to the last round. Errors of this item are kept in ``played``."""
    try:
        await _play(played, session, chat)
    except NoAnswer as error:
        played.error = f"the model: {error}"
    except SessionFailed as error:
        played.error = error.message


async def _play(played: Played, session: AsyncSession, chat: Chat) -> None:
    rules = played.rules
    played.turn = await session.reset(played.item)
    played.messages.append({"role": "user", "content": played.turn.observation})
    while not played.turn.done and played.rounds < rules.max_rounds:
        answer = await chat.ask(
            [{"role": one["role"], "content": one["content"]} for one in played.messages], played.sample
        )
        played.messages.append({"role": "assistant", "content": answer.content, "reasoning_content": answer.reasoning})
        played.seconds += answer.seconds
        played.tokens = [had + new for had, new in zip(played.tokens, answer.tokens, strict=True)]
        played.rounds += 1
        said = await act(played, session, answer.content)
        played.messages.append({"role": "user", "content": said})


async def act(played: Played, session: AsyncSession, said: str) -> str:
    """Do what a model said in the environment; what it is answered."""
    try:
        doing = action(said, played.info["actions"], played.rules.form)
    except Several:
        played.invalid += 1
        return SEVERAL
    played.turn = await session.step(doing)
    played.invalid += not played.turn.valid
    return played.turn.observation
