"""ScienceWorld as AgentGym serves it: 4,639 variations of 23 of the 30 tasks of ``scienceworld==1.2.3``.

All sessions of a process share one Java machine, each with a simulator of its own. The reference starts a machine for
each session and enumerates all valid actions at each step, which nobody reads. Simulators share state: of eight tasks
played along their gold paths in eight threads, some end below 100. So one call is made at a time (``alive``).
"""

import contextlib
import importlib.metadata
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wardian.envs.base import Lost, NoSuchItem, Turn, Wire
from wardian.errors import Unavailable

EXCLUDED = {"5-1", "5-2", "9-1", "9-2", "9-3", "10-1", "10-2"}  # tasks that AgentGym leaves out
MOVES = 100  # after more, an episode is over (scienceworld.py, envStepLimit)
NOT_UNDERSTOOD = "No known action matches that input."
JAVA = (
    *("-Xss2m", "-XX:+UseSerialGC", "-XX:MinHeapFreeRatio=10", "-XX:MaxHeapFreeRatio=30", "-XX:-UsePerfData"),
    # All objects get one identity hash, so sets of them keep one order: else every third item tells what is in a room
    # in another order each time it is begun (10 of 31 tried; with it none, for a tenth more time).
    *("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2"),
)
HEAP = 12  # MB for each session, above 256: measured, 32 sessions keep about 300 MB alive
SYSTEM = """You are an agent for science world. Every round I will give you an observation, you have to respond an \
action based on the observation to finish the given task. Here are the actions you may take:
open OBJ, close OBJ: a container or door
activate OBJ, deactivate OBJ: a device
connect OBJ to OBJ, disconnect OBJ: electrical components
use OBJ [on OBJ]: a device or item
look around: describe the current room
look at OBJ, look in OBJ, read OBJ: describe an object, its contents, its text
move OBJ to OBJ: into a container
pick up OBJ, put down OBJ, pour OBJ into OBJ, dunk OBJ into OBJ, mix OBJ
go to LOC: a location next to this one
eat OBJ, flush OBJ
focus on OBJ: signal that this is the object of the task
wait [DURATION], task, inventory"""


class SciWorldEpisode:
    """One variation of a task, in a simulator of its own."""

    __slots__ = ("_machine", "_score", "_simulator", "_turn", "task", "variation")

    def __init__(self, machine: "Machine", task: str, variation: int) -> None:
        self._machine, self.task, self.variation = machine, task, variation
        self._score = 0
        with machine.alive():
            self._simulator = machine.simulator()
            self._simulator.load(task, variation, "", False)  # noqa: FBT003 - Java takes no names

    def first(self) -> Turn:
        """The task and the first look around; for AgentGym's protocol they are fields of their own."""
        with self._machine.alive():
            description = self._simulator.getTaskDescription()
        turn = self.step("look around")
        named = {"task_name": self.task, "var_num": self.variation, "task_description": description}
        return replace(turn, text=f"{description}\n{turn.text}", extra={**named, "observation": turn.text})

    def step(self, action: str) -> Turn:
        """Do an action. The score is 0 to 100, or below 0 when the task cannot be solved any more: then it is over."""
        with self._machine.alive():
            text = str(self._simulator.step(action))
            score = round(100 * float(self._simulator.getScore()))
            completed = bool(self._simulator.getCompleted())
            over = int(self._simulator.getNumMoves()) > MOVES
        reward, self._score = score - self._score, score
        done = completed or score < 0
        self._turn = Turn(text, reward, done or over, over and not done, score == 100, text != NOT_UNDERSTOOD, score)
        return self._turn

    def hint(self) -> dict[str, Any]:
        """What can be done, and with what."""
        with self._machine.alive():
            return {
                "possible_actions": list(self._simulator.getPossibleActions()),
                "possible_objects": list(self._simulator.getPossibleObjects()),
            }

    def goals(self) -> dict[str, Any]:
        """How far the task has come."""
        with self._machine.alive():
            return {"goals": str(self._simulator.getGoalProgressStr())}

    def detail(self) -> dict[str, Any]:
        """The last turn."""
        turn = self._turn
        state = {"observation": turn.text, "reward": turn.reward, "score": turn.score}
        task = {"task_name": self.task, "var_num": self.variation, **self.description()}
        return {"deleted": False, "done": turn.done, **task, **state}

    def description(self) -> dict[str, Any]:
        """The task in words."""
        with self._machine.alive():
            return {"task_description": str(self._simulator.getTaskDescription())}

    def tree(self) -> dict[str, Any]:
        """All objects, each with what is in it."""
        with self._machine.alive(), tempfile.TemporaryDirectory() as folder:
            if said := self._simulator.getObjectTree(folder):
                raise RuntimeError(said)
            return {"object_tree": json.loads((Path(folder) / "objectTree.json").read_bytes())}

    def state(self) -> dict[str, Any]:
        """What a page that shows the game asks for."""
        hint, simulator = self.hint(), self._simulator
        with self._machine.alive():
            return {
                "observation": str(simulator.freeActionLook()),
                "inventory": str(simulator.freeActionInventory()),
                **self.description(),
                "goal_progress": self.goals()["goals"],
                "possible_actions": hint["possible_actions"][:10],
                "possible_objects": hint["possible_objects"][:10],
                "current_moves": int(simulator.getNumMoves()),
                "environment_info": self.detail(),
            }

    def shown(self, turn: Turn) -> dict[str, Any]:
        """A step, with all that ``ScienceWorldEnv`` tells of it."""
        told, simulator = {"observation": turn.text, "reward": turn.reward, "score": turn.score}, self._simulator
        with self._machine.alive():
            moves, inventory = int(simulator.getNumMoves()), str(simulator.freeActionInventory())
            info = {
                "moves": moves,
                "score": turn.score,
                "reward": turn.reward,
                "look": str(simulator.freeActionLook()),
                "inv": inventory,
                "taskDesc": str(simulator.freeActionTaskDesc()),
                "valid": list(simulator.getValidActionObjectCombinations()),
                "variationIdx": self.variation,
                "taskName": self.task,
                "simplificationStr": "",
            }
        return {**told, "done": turn.done, "info": info, **self.tree(), "inventory": inventory, "moves": moves}

    def close(self) -> None:
        """Let Java forget the simulator."""
        self._machine.forget(self._simulator)


class Machine:
    """A Java machine, which is started anew for later episodes when it has died."""

    def __init__(self, sessions: int) -> None:
        self._heap = 256 + HEAP * sessions
        self._lock = threading.RLock()
        self._gateway: Any = None
        self._process: Any = None

    def simulator(self) -> Any:
        """A new simulator; to be called where ``alive`` holds."""
        if self._gateway is None or self._process.poll() is not None:
            self._start()
        return self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()

    def _start(self) -> None:
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH

        if not shutil.which("java"):
            raise Unavailable(
                "sciworld needs java, which is not there", hint="install default-jre-headless, in an image with apt"
            )
        options = [*JAVA, f"-Xmx{self._heap}m"]
        port, self._process = launch_gateway(
            classpath=JAR_PATH, die_on_exit=True, cwd=BASEPATH, javaopts=options, return_proc=True
        )  # it ends when its standard input does: with this process, however that ends
        self._gateway = JavaGateway(
            gateway_parameters=GatewayParameters(auto_field=True, port=port), java_process=self._process
        )

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Around calls of Java, which it lets in one after another. Raises ``Lost`` when the machine dies in them."""
        from py4j.protocol import Py4JError, Py4JJavaError

        try:
            with self._lock:
                yield
        except Py4JJavaError:
            raise  # a fault of the simulator, in a machine that lives
        except (Py4JError, OSError) as error:
            raise Lost("its Java machine has died; other sessions can be begun") from error

    def forget(self, simulator: Any) -> None:
        """Let a simulator's memory go."""
        with contextlib.suppress(Exception):  # a machine that has died remembers nothing
            self._gateway.detach(simulator)

    def close(self) -> None:
        """End the machine, and wait for it."""
        if self._process is None:
            return
        with contextlib.suppress(Exception):
            self._gateway.shutdown()
        self._process.stdin.close()
        try:
            self._process.wait(2)
        except Exception:  # noqa: BLE001 - no answer in time: it has nothing to save
            self._process.kill()
            self._process.wait()


def _reset(_: int, turn: Turn) -> dict[str, Any]:
    return {**turn.extra, "reward": turn.reward, "score": turn.score, "deleted": False, "done": turn.done}


def _meant(said: str) -> str:
    """The action in what a model said.

    >>> _meant("Thought: it is cold here. Action: look around</s>")
    'look around'
    """
    before, marked, after = said.removesuffix("</s>").partition("Action:")
    return after.partition("Action:")[0].strip() if marked else before


class SciWorld:
    """All variations."""

    name = "sciworld"
    max_score = 100.0
    success = "score == 100"
    system = SYSTEM
    actions = "words"
    blocking = True
    max_sessions = 64
    wire = Wire(
        "This is environment ScienceWorld.",
        reset=_reset,
        observation=lambda _, turn: turn.extra.get("observation", turn.text),
        before_reset=lambda _: "'ScienceWorldEnv' object has no attribute 'variationIdx'",
        more={
            "/action_hint": SciWorldEpisode.hint,
            "/goals": SciWorldEpisode.goals,
            "/detail": SciWorldEpisode.detail,
            "/task_description": SciWorldEpisode.description,
            "/object_tree": SciWorldEpisode.tree,
            "/state": SciWorldEpisode.state,
        },
        steps={"/step_visual": (_meant, SciWorldEpisode.shown)},
    )

    def __init__(self, *, agentgym: bool = False) -> None:
        from scienceworld.constants import ID2TASK

        del agentgym  # what differs is decided by the sessions
        self._machine = Machine(self.max_sessions)
        with self._machine.alive():
            asked = self._machine.simulator()
        tasks = [name for task, name in ID2TASK.items() if task not in EXCLUDED]
        self._games = [(name, at) for name in tasks for at in range(asked.getTaskMaxVariations(name))]
        self._machine.forget(asked)
        self.items: int | None = len(self._games)

    def start(self, item: int, seed: int | None) -> tuple[SciWorldEpisode, Turn]:
        """Begin a variation; a seed changes nothing. AgentGym counts items below 0 from the end."""
        if not -len(self._games) <= item < len(self._games):
            raise NoSuchItem("list index out of range")
        task, variation = self._games[item]
        episode = SciWorldEpisode(self._machine, task, variation)
        return episode, episode.first()

    def versions(self) -> Mapping[str, str]:
        """Of the simulator."""
        return {"scienceworld": importlib.metadata.version("scienceworld")}

    def close(self) -> None:
        """End Java."""
        self._machine.close()
