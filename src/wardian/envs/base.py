"""What an environment is to the server: something that starts items, each of which is then played turn by turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Turn:
    """What an environment answers to the start of an item, or to an action.

    ``score`` is what the environment itself says it stands at; None: the sum of the rewards. ``valid`` is False for an
    action that was not understood or could not be done; ``success`` is the environment's own word on the item.
    """

    text: str
    reward: float = 0
    done: bool = False
    truncated: bool = False
    success: bool = False
    valid: bool = True
    score: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # what the environment's own protocol tells besides


class Episode(Protocol):
    """One item that is being played."""

    def step(self, action: str) -> Turn:
        """Do an action. Any exception is the environment's fault and ends the session."""
        ...

    def close(self) -> None:
        """Let go of what only this episode holds."""
        ...


class NoSuchItem(Exception):
    """The environment has no item of this number; the text says why."""


class Lost(Exception):
    """What the episode ran in has died; others can be started."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How AgentGym's server of one environment spells its requests and answers (``envs.md`` § 1.1).

    ``reset`` and ``step`` get the session's number, ``observation`` its episode; and the last turn, scored.
    """

    hello: str
    session: str = "id"
    item: str = "data_idx"
    item_default: int | None = None  # None: the request has to say it
    created: Callable[[int, Turn | None], Any] = lambda session, _: {"id": session}
    create_item: Callable[[Any], int | None] | None = None  # the item that a session begins with; its number: None
    reset: Callable[[int, Turn], Any] = lambda _, turn: _state(turn, deleted=False)
    step: Callable[[int, Turn], Any] = lambda _, turn: _state(turn)
    observation: Callable[[Any, Turn], Any] = lambda _, turn: turn.text
    before_reset: Callable[[int], str] = str  # what a step before the first reset is told
    finishes: bool = True  # whether a session whose episode is over answers to a reset alone
    more: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)  # GET route → what it tells of an episode
    shown: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)  # POST route → the same
    # POST route → what it makes of an action, and what it answers to the step
    steps: Mapping[str, tuple[Callable[[str], str], Callable[[Any, Turn], Any]]] = field(default_factory=dict)
    asked: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)  # POST route → environment, data


def _state(turn: Turn, **more: Any) -> dict[str, Any]:
    return {"observation": turn.text, "reward": turn.reward, "score": turn.score, **more, "done": turn.done}


class Environment(Protocol):
    """A driver: all that the episodes of one process share."""

    name: str
    items: int | None  # how many there are, numbered from 0; None: no end
    max_score: float | None  # None: there is none
    success: str  # when an item is solved, in words
    system: str  # what a model is told before the first turn
    actions: str  # what an action is: words | json | text (all that a model says)
    blocking: bool  # whether a step may take long: then it runs in a thread
    max_sessions: int  # by default
    wire: Wire | None  # None: AgentGym has no such environment

    def start(self, item: int, seed: int | None) -> tuple[Episode, Turn]:
        """Begin an item. Raises ``NoSuchItem``."""
        ...

    def versions(self) -> Mapping[str, str]:
        """The distributions that decide what the items are."""
        ...

    def close(self) -> None:
        """End what the episodes shared."""
        ...


@dataclass(frozen=True, slots=True)
class Driver:
    """How an environment is made: what it needs, and the function that makes it."""

    summary: str
    requires: Sequence[str]  # the modules that have to be there
    extra: str  # of this distribution, which brings them
    make: str  # "module:class" in this package; called with what follows the colon of the name, and ``agentgym``
    options: Mapping[str, str] = field(default_factory=dict)  # name → what it sets
