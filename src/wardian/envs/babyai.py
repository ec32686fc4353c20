"""BabyAI as AgentGym serves it: 40 levels of ``minigrid==2.3.1`` in words.

Item ``n`` is level ``n % 40`` with seed ``n // 40``.

Strict by default. ``agentgym=True`` keeps the reference's faults: a goal that is reached late (reward 0.5 or less) does
not end the episode, and each later call is paid that reward again; the level's step limit does not hold.
"""

import base64
import contextlib
import copy
import importlib
import importlib.metadata
import io
from collections.abc import Mapping
from functools import cache
from typing import Any

from wardian.envs.babyai_view import Scene, visible
from wardian.envs.base import NoSuchItem, Turn, Wire

LEVELS = (  # noqa: SIM905 - as a list it is 40 lines
    "GoToRedBallGrey GoToRedBall GoToRedBallNoDists GoToObjS6 GoToLocalS8N7 GoToObjMazeS7 GoToImpUnlock GoToSeqS5R2 "
    "GoToRedBlueBall GoToDoor GoToObjDoor Open OpenRedDoor OpenDoorLoc OpenRedBlueDoorsDebug OpenDoorsOrderN4Debug "
    "Pickup UnblockPickup PickupLoc PickupDistDebug PickupAbove PutNextLocalS6N4 PutNextS7N4Carrying Unlock "
    "UnlockLocalDist KeyInBox UnlockPickupDist BlockedUnlockPickup UnlockToUnlock ActionObjDoor FindObjS7 "
    "KeyCorridorS6R3 OneRoomS20 MoveTwoAcrossS8N9 SynthS5R2 SynthLoc SynthSeq MiniBossLevel BossLevel "
    "BossLevelNoUnlock"
).split()
NOT_UNDERSTOOD = "The action is not recognized. Please check valid actions."
UNCHANGED = "No change in state."
SYSTEM = """You are an exploration master that wants to finish every goal you are given. Every round I will give you \
an observation, and you have to respond an action and your thought based on the observation to finish the given \
task. You are placed in a room and you need to accomplish the given goal with actions.

You can use the following actions:

- turn right
- turn left
- move forward
- go to <obj> <id>
- pickup <obj> <id>
- drop
- go through <door> <id>: <door> must be an open door.
- toggle and go through <door> <id>: <door> can be a closed door or a locked door. If you want to open a locked door, \
you need to carry a key that is of the same color as the locked door.
- toggle: there is a closed or locked door right in front of you and you can toggle it."""


class _Seen:
    """A level whose observation is the view in numbers: what it shows is put into words by ``Scene``."""

    def gen_obs(self) -> list[int]:
        return visible(self)


@cache
def _level(name: str) -> Any:
    """A level that was never reset; each episode plays a shallow copy, which shares the spaces with it."""
    import gymnasium
    import minigrid  # noqa: F401  (registers the levels)

    spec = gymnasium.spec(f"BabyAI-{name}-v0")
    module, kind = str(spec.entry_point).split(":")
    return type(name, (_Seen, getattr(importlib.import_module(module), kind)), {})(**spec.kwargs)


class BabyAIEpisode:
    """One level with one seed."""

    __slots__ = ("_actions", "_env", "_errors", "_goal", "_legacy", "_reward", "_view")

    def __init__(self, level: str, seed: int, *, agentgym: bool) -> None:
        self._env = copy.copy(_level(level))
        self._legacy = agentgym
        self._reward: float = 0
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of each rejected sample
            view, _ = self._env.reset(seed=seed)
        grid = self._env.grid.grid
        wall = next((cell for cell in grid if cell is not None and cell.type == "wall"), None)
        grid[:] = [wall if cell is not None and cell.type == "wall" else cell for cell in grid]  # one for all: memory
        # Levels that begin with something in hand show it lying there in the observation that reset returns.
        self._view = view if agentgym else visible(self._env)

    def first(self) -> Turn:
        """The goal and the first view."""
        goal = str(self._env.mission).replace("then", "and").replace("after you", "and")
        self._goal = f"Your goal: {goal}\n"
        return Turn(f"{self._goal}{self._look()}{self._offer()}")

    def step(self, action: str) -> Turn:
        """Do a high-level action: its moves, until one changes nothing."""
        action = action.lower().strip()
        if "check" in action:
            return self._say("You can take the following actions: " + ", ".join(self._actions))
        if action not in self._actions:
            said = self._errors.get(action, NOT_UNDERSTOOD) if action else UNCHANGED
            return self._say(said, valid=False)
        moves = self._actions[action]
        if not moves:
            return self._say(UNCHANGED)
        for move in moves:
            view, reward, ended, cut, _ = self._env.step(move)
            if not self._legacy and (ended or cut):
                break
            if view == self._view:
                break
            self._view = view
        self._view = view
        return self._after(float(reward) if reward else 0, ended=bool(ended), cut=bool(cut))

    def _after(self, reward: float, *, ended: bool, cut: bool) -> Turn:
        text = self._look() + ("\n The task is completed." if ended else "")
        if self._legacy:
            self._reward = reward
            return Turn(text + self._offer(), reward, ended and reward > 0.5, success=ended and reward > 0)
        done = ended or cut
        return Turn(text + self._offer(), reward, done, cut and not ended, success=ended and reward > 0)

    def _say(self, text: str, *, valid: bool = True) -> Turn:
        return Turn(text + self._offer(), self._reward, valid=valid)

    def _look(self) -> str:
        env = self._env
        x, y = env.agent_pos
        scene = Scene(self._view, int(x), int(y), env.agent_dir, env.carrying)
        self._actions, self._errors = scene.actions, scene.errors
        return scene.text

    def _offer(self) -> str:
        return '\nAvailable actions: ["' + '", "'.join(self._actions) + '"]'

    def seen(self, turn: Turn) -> dict[str, Any]:
        """The last turn, with the goal above it."""
        told = turn.text if turn.text.startswith(self._goal) else self._goal + turn.text
        state = {"observation": told, "reward": turn.reward, "score": turn.score, "done": turn.done}
        return {**state, "deleted": False}

    def picture(self) -> str:
        """The whole level from above, what the agent sees in a lighter grey: a PNG, as a data URL."""
        import pygame

        frame = self._env.get_frame(self._env.highlight, self._env.tile_size)
        file = io.BytesIO()
        pygame.image.save(pygame.surfarray.make_surface(frame.swapaxes(0, 1)), file, "frame.png")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

    def close(self) -> None:
        """Nothing is held."""


class BabyAI:
    """All levels."""

    name = "babyai"
    items = len(LEVELS) * 2**31
    max_score = 1.0
    success = "done and reward > 0"
    system = SYSTEM
    actions = "words"
    blocking = False
    max_sessions = 1024
    wire = Wire("This is environment BabyAI.", observation=BabyAIEpisode.seen, shown={"/render": BabyAIEpisode.picture})

    def __init__(self, *, agentgym: bool = False) -> None:
        self._agentgym = agentgym
        _level(LEVELS[0])

    def start(self, item: int, seed: int | None) -> tuple[BabyAIEpisode, Turn]:
        """Begin an item; ``seed`` in place of the item's own."""
        own = item // len(LEVELS) if seed is None else seed
        if own < 0:
            raise NoSuchItem(f"Seed must be greater or equal to zero, actual value: {own}")
        episode = BabyAIEpisode(LEVELS[item % len(LEVELS)], own, agentgym=self._agentgym)
        return episode, episode.first()

    def versions(self) -> Mapping[str, str]:
        """Of what decides the levels."""
        return {name: importlib.metadata.version(name) for name in ("minigrid", "gymnasium", "numpy")}

    def close(self) -> None:
        """Nothing is held."""
