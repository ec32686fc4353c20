"""TextWorld: small text adventures, made from an item's number or taken from a folder (``games=DIR``).

A game is a program for the Z-machine, which Frotz runs inside this process, a copy of its own for each episode. The
same number makes the same game, byte for byte, wherever it is made (TextWorld 1.7.0, two hash seeds compared).
"""

import importlib.metadata
import re
import shutil
import tempfile
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardian.envs.base import NoSuchItem, Turn
from wardian.errors import SpecError, WardianError

SYSTEM = """You are playing a text adventure. Every round you get a description of what happened and answer with one \
short command in plain English, such as "look", "inventory", "examine X", "open X", "take X from Y", "put X on Y", \
"insert X into Y", "unlock X with Y", "go north". Reach the goal that you are told first."""
LONGEST = 197  # bytes; Frotz cuts what is longer
KEPT = 128  # games made here and kept for later episodes
# What would write files where the server runs, end the game, or bring the tracked state out of step with it: Inform's
# own verbs, at the start of any command of a line. The Z-machine knows a word by its first nine characters.
META = re.compile(
    r"(?:^|[.,;]|\bthen\b)\s*(?:save|restore|restart|restrict|quit|q|script|unscript|noscript|transcrip\w*)\b",
    re.IGNORECASE,
)
PROMPT = re.compile(r"\s*>?\s*(?:-= [^\n]* =-\s*-?\d+/\d+)?\s*$")  # with the status line: room, score, moves


def said(feedback: str) -> str:
    r"""What a game says, without its prompt and status line.

    >>> said("\nYou open the chest.\n\n\n>          -= Bedroom =-0/3")
    'You open the chest.'
    """
    return PROMPT.sub("", feedback).strip()


class TextWorldEpisode:
    """One game from its beginning."""

    __slots__ = ("_env", "_max", "_score", "_shown", "_state")

    def __init__(self, path: Path, *, shown: bool) -> None:
        import textworld

        infos = textworld.EnvInfos(
            feedback=True, objective=True, score=True, max_score=True, won=True, lost=True, admissible_commands=True
        )
        self._env = textworld.start(str(path), infos)
        self._state: Any = self._env.reset()
        self._shown, self._score = shown, 0
        self._max = self._state.max_score or 1

    def first(self) -> Turn:
        """The goal, and the first room, without the title's picture."""
        text, goal = said(self._state.feedback), self._state.objective
        return self._turn(text[text.index(goal) :] if goal and goal in text else text)

    def step(self, action: str) -> Turn:
        """Say a command to the game. Points are parts of all that can be won; valid is what would be on its list."""
        if "\n" in action or "\r" in action or len(action.encode()) > LONGEST or META.search(action):
            return self._turn("That is not a command of this game.", valid=False)
        known = action.strip().lower() in map(str.lower, self._state.admissible_commands)
        self._state, _, _ = self._env.step(action)
        state = self._state
        reward = (state.score - self._score) / self._max
        self._score = state.score
        over = bool(state.won or state.lost)
        return self._turn(said(state.feedback), reward, done=over, success=bool(state.won), valid=known)

    def _turn(self, text: str, reward: float = 0, **more: Any) -> Turn:
        commands = sorted(self._state.admissible_commands)
        if self._shown and not more.get("done"):
            text += "\n\nAvailable commands: " + ", ".join(commands)
        return Turn(text, reward, score=self._score / self._max, extra={"admissible_commands": commands}, **more)

    def close(self) -> None:
        """End the game."""
        self._env.close()


class TextWorld:
    """Games of a folder, or one for each number."""

    name = "textworld"
    max_score = 1.0
    success = "the game is won"
    system = SYSTEM
    actions = "words"
    blocking = True
    max_sessions = 256
    wire = None

    def __init__(
        self,
        *,
        agentgym: bool = False,
        games: str | None = None,
        rooms: str = "3",
        objects: str = "6",
        quest: str = "4",
        commands: str = "no",
    ) -> None:
        del agentgym  # it has no such environment
        warnings.filterwarnings("ignore", "Game .* is not fully supported")  # said of every game but jericho's own
        self._rooms, self._objects, self._quest = (
            _count("rooms", rooms),
            _count("objects", objects),
            _count("quest", quest),
        )
        if commands not in ("yes", "no"):
            raise SpecError(f"commands={commands!r} is neither yes nor no")
        self._shown = commands == "yes"
        self._games = _games(Path(games)) if games else []
        self.items: int | None = len(self._games) if games else None
        self._made: OrderedDict[int, Path] = OrderedDict()
        self._folder = Path(tempfile.mkdtemp(prefix="wardian-textworld-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._lock = threading.Lock()

    def start(self, item: int, seed: int | None) -> tuple[TextWorldEpisode, Turn]:
        """Begin a game; a seed changes nothing. Making one takes some seconds, the first time."""
        if item < 0 or (self.items is not None and item >= self.items):
            raise NoSuchItem(f"there is no game {item}")
        with self._lock:  # TextWorld's parser and its source of chance are one for the process
            path = self._games[item] if self._games else self._make(item)
            episode = TextWorldEpisode(path, shown=self._shown)
        return episode, episode.first()

    def _make(self, item: int) -> Path:
        import textworld
        from textworld.generator import QuestGenerationError
        from textworld.generator.inform7 import CouldNotCompileGameError

        path = self._made.pop(item, None)
        if path is None:
            options = textworld.GameOptions()
            options.seeds = item
            options.nb_rooms, options.nb_objects = self._rooms, self._objects
            chain = options.chaining
            chain.min_length = chain.max_length = chain.max_depth = self._quest
            options.path = str(self._folder / f"{item}.z8")
            try:
                path = Path(textworld.make(options)[0])
            except (QuestGenerationError, CouldNotCompileGameError) as error:
                raise NoSuchItem(f"no quest of {self._quest} commands fits into game {item}") from error
        self._made[item] = path
        if len(self._made) > KEPT:
            oldest = self._made.popitem(last=False)[1]
            for suffix in (".z8", ".json", ".ni"):
                oldest.with_suffix(suffix).unlink(missing_ok=True)
        return path

    def versions(self) -> Mapping[str, str]:
        """Of the games' maker and of what runs them."""
        return {name: importlib.metadata.version(name) for name in ("textworld", "jericho")}

    def close(self) -> None:
        """Remove what was made."""
        self._remove()


def _count(name: str, text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100):
        raise SpecError(f"{name}={text!r} is no number from 1 to 100")
    return int(text)


def _games(folder: Path) -> list[Path]:
    """The games of a folder, by name; each has its JSON beside it, as tw-make writes it. Raises ``WardianError``."""
    found = sorted(path for path in folder.glob("*.z8") if path.with_suffix(".json").is_file())
    if not found:
        raise WardianError(f"{folder} has no games", hint="tw-make custom --output games/1.z8 makes one, with its JSON")
    return found
