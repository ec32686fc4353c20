"""What an agent of MiniGrid sees, in words, and the way to all that it sees. Plain integers; no NumPy in the loop.

The texts, and which way is taken among several, are AgentGym's (agentenv-babyai/environment.py): a model trained
against its server meets the same sentences, and each high-level action costs as many moves.

A *view* is a list of 49 codes, seven rows of seven cells: the farthest row first, each from left to right, with the
agent below the middle at index 45. A code is ``type | colour << 4 | state << 8`` as in ``minigrid.core.constants``.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

SIDE = 7
HERE = 45
EMPTY, WALL, DOOR, KEY, BALL, BOX, GOAL, LAVA = 1, 2, 4, 5, 6, 7, 8, 9
OUTSIDE = WALL | 5 << 4  # beyond the grid is grey wall
NAMES = {WALL: "wall", DOOR: "door", KEY: "key", BALL: "ball", BOX: "box", GOAL: "goal", LAVA: "lava"}
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
STATES = ("open", "closed", "locked")
FORWARD = ((1, 0), (0, 1), (-1, 0), (0, -1))  # by direction: right, down, left, up
LEFT, RIGHT, MOVE, PICKUP, DROP, TOGGLE = range(6)
BLOCKING = {WALL, BOX, LAVA, BALL, KEY}


def code(cell: Any) -> int:
    """One object of MiniGrid, or None, as a number."""
    if cell is None:
        return EMPTY
    kind, colour, state = cell.encode()
    return int(kind) | int(colour) << 4 | int(state) << 8


def _offsets(direction: int) -> list[tuple[int, int]]:
    """Where the cells of a view lie, from the agent."""
    fx, fy = FORWARD[direction]
    return [(ahead * fx - aside * fy, ahead * fy + aside * fx) for ahead in range(6, -1, -1) for aside in range(-3, 4)]


OFFSETS = [_offsets(direction) for direction in range(4)]


def visible(env: Any) -> list[int]:
    """The view of a ``MiniGridEnv``; what is hidden is 0, and the agent's own cell is what it carries.

    The same as ``MiniGridEnv.gen_obs()["image"]``, in a small part of the time.
    """
    grid, width, height = env.grid.grid, env.grid.width, env.grid.height
    x, y = int(env.agent_pos[0]), int(env.agent_pos[1])
    cells = [
        grid[(y + dy) * width + x + dx] if 0 <= x + dx < width and 0 <= y + dy < height else _BEYOND
        for dx, dy in OFFSETS[env.agent_dir]
    ]
    view = [EMPTY if cell is None else OUTSIDE if cell.type == "wall" else code(cell) for cell in cells]
    lit = 1 << 3
    for start in range(SIDE * (SIDE - 1), -1, -SIDE):
        row = view[start : start + SIDE]
        clear = 0
        for at, cell in enumerate(row):
            if cell != OUTSIDE and (cell < _CLOSED or cell & 15 != DOOR):
                clear |= 1 << at
        seen, lit = _lit(lit, clear)
        if seen != _ALL:
            view[start : start + SIDE] = [cell if seen >> at & 1 else 0 for at, cell in enumerate(row)]
    view[HERE] = code(env.carrying)
    return view


class _Wall:
    type = "wall"


_BEYOND = _Wall()
_CLOSED = 1 << 8  # the least code of a door that is not open
_ALL = (1 << SIDE) - 1


@cache
def _lit(lit: int, clear: int) -> tuple[int, int]:
    """How light spreads in a row, and to the next farther one: the rule of ``Grid.process_vis``.

    Bit ``n`` is the row's cell ``n``: those that light has reached, and those that let it through.
    """
    above = 0
    for at in range(SIDE - 1):
        if lit & clear & 1 << at:
            lit |= 2 << at
            above |= 3 << at
    for at in range(SIDE - 1, 0, -1):
        if lit & clear & 1 << at:
            lit |= 1 << at - 1
            above |= 3 << at - 1
    return lit, above


@cache
def _neighbours(width: int, height: int) -> list[tuple[int, int, int]]:
    """For each node – ``(y * width + x) * 4 + direction`` – the nodes ahead, to its left and to its right; -1: none."""
    table = []
    for at in range(width * height):
        x, y = at % width, at // width
        for direction, (fx, fy) in enumerate(FORWARD):
            inside = 0 <= x + fx < width and 0 <= y + fy < height
            ahead = (at + fy * width + fx) * 4 + direction if inside else -1
            table.append((ahead, at * 4 + (direction - 1) % 4, at * 4 + (direction + 1) % 4))
    return table


class Ways:
    """The agent's ways to what it sees: one breadth-first search for all, until each is found.

    The cells are the view's and those of one more row or column, as AgentGym has it. Which of several ways is taken
    follows, also as there, from this: a node may be queued again until it was visited, and its last parent counts.
    """

    def __init__(
        self,
        start: tuple[int, int, int],
        blocked: Iterable[tuple[int, int]],
        before: Iterable[tuple[int, int]],
        onto: Iterable[tuple[int, int]],
    ) -> None:
        x, y, direction = start
        fx, fy = FORWARD[direction]
        self._xs, self._ys = _reach(x + 6 * fx + 3 * fy, -fy - fx), _reach(y + 6 * fy - 3 * fx, fx - fy)
        self._start = self._node(x, y, direction)
        goals: dict[int, list[tuple[str, int, int]]] = {}
        for place in onto:
            for way in range(4):
                goals.setdefault(self._node(*place, way), []).append(("onto", *place))
        for px, py in before:
            for way, (fx, fy) in enumerate(FORWARD):
                goals.setdefault(self._node(px - fx, py - fy, way), []).append(("before", px, py))
        goals.pop(-1, None)
        self._parents = [0] * (len(self._xs) * len(self._ys) * 4)
        self._ends: dict[tuple[str, int, int], int] = {}
        if goals:
            self._search(blocked, goals)

    def _node(self, x: int, y: int, direction: int) -> int:
        xs, ys = self._xs, self._ys
        if x not in xs or y not in ys:
            return -1
        return ((y - ys.start) * len(xs) + x - xs.start) * 4 + direction

    def _search(self, blocked: Iterable[tuple[int, int]], goals: dict[int, list[tuple[str, int, int]]]) -> None:
        closed = bytearray(len(self._parents) + 1)  # the last is node -1: outside
        closed[-1] = 1
        for place in blocked:
            node = self._node(*place, 0)
            if node >= 0:
                closed[node : node + 4] = b"\1\1\1\1"
        left = len({goal for some in goals.values() for goal in some})
        table, parents, queue = _neighbours(len(self._xs), len(self._ys)), self._parents, [self._start]
        for node in queue:  # grows while it is walked
            closed[node] = 1
            if node in goals:
                for goal in goals.pop(node):
                    if self._ends.setdefault(goal, node) == node:
                        left -= 1
                if not left:
                    return
            for after in table[node]:
                if not closed[after]:
                    queue.append(after)
                    parents[after] = node

    def onto(self, place: tuple[int, int]) -> bytes | None:
        """The moves onto a cell that was asked for; None: there is no way."""
        return self._way(self._ends.get(("onto", *place)))

    def before(self, place: tuple[int, int]) -> bytes | None:
        """The moves that end before a cell that was asked for, and face it; None: there is no way."""
        return self._way(self._ends.get(("before", *place)))

    def _way(self, node: int | None) -> bytes | None:
        if node is None:
            return None
        moves = bytearray()
        while node != self._start:
            parent = self._parents[node]
            moves.append(MOVE if parent // 4 != node // 4 else LEFT if (parent - node) % 4 == 1 else RIGHT)
            node = parent
        return bytes(reversed(moves))


def _reach(corner: int, across: int) -> range:
    """The coordinates on one axis from the view's far corner to its near one."""
    end = corner + SIDE * across
    return range(end, corner + 1) if end < corner else range(corner, end)


class Scene:
    """A view in words: ``text``, and ``actions`` – what the agent may do → its moves – and ``errors`` for the rest."""

    __slots__ = ("actions", "errors", "text")

    def __init__(self, view: list[int], x: int, y: int, direction: int, carrying: Any) -> None:
        objects = sorted(_objects(view, x, y, direction), key=lambda one: one[0])
        things = [one for one in objects if one[1] != WALL]
        barrier = _barrier(objects, x, y, direction)
        carried = "You are not carrying anything."
        if carrying is not None:
            carried = f"You are carrying a {carrying.color} {carrying.type}."
        self.text = (
            (_list(things, x, y, direction) if objects else "You cannot see any objects within sight.")
            + "The room has walls around you. "
            + (f"You are facing a {NAMES[barrier[1]]} {barrier[0]} steps away. " if barrier else "")
            + carried
        )
        self.actions: dict[str, bytes] = {"turn left": bytes((LEFT,)), "turn right": bytes((RIGHT,))}
        self.errors: dict[str, str] = {}
        if barrier and barrier[0] <= 1:
            self.errors["move forward"] = "There is a barrier in front of you, you can't move forward."
        else:
            self.actions["move forward"] = bytes((MOVE,))
        blocked = {place for _, kind, _, place in objects if kind in BLOCKING}
        fx, fy = FORWARD[direction]
        ways = Ways(
            (x, y, direction),
            blocked,
            before=[place for _, kind, _, place in things if kind != GOAL],
            onto=[place for _, kind, name, place in things if kind == GOAL or (kind == DOOR and " open " in name)],
        )
        if carrying is None:
            self._offer("pickup", [one for one in things if one[1] not in (DOOR, GOAL)], ways, bytes((PICKUP,)))
            self.errors["drop"] = "You cannot drop the object, as you are not carrying anything."
        elif (x + fx, y + fy) in blocked:
            self.errors["drop"] = "You cannot drop the object, as there is already an object in front of you."
        else:
            self.actions["drop"] = bytes((DROP,))
        self._doors([one for one in things if one[1] == DOOR], ways, carrying)
        for _, kind, _, place in things:
            if kind == GOAL:
                way = ways.onto(place)
                if way is None:
                    self.errors["go to goal"] = "You cannot go to the goal, as there is no path leading to it."
                else:
                    self.actions["go to goal"] = way
        self._offer("go to", [one for one in things if one[1] != GOAL], ways, b"")
        self.actions["check available actions"] = b""

    def _offer(self, verb: str, things: list[Any], ways: Ways, last: bytes) -> None:
        """Offer an action on each thing. Only those that can be reached are counted, as AgentGym does."""
        counts: dict[str, int] = {}
        for _, _, name, place in things:
            way = ways.before(place)
            action = f"{verb} {name} {counts.get(name, 0) + 1}"
            if way is None:
                self.errors[action] = f"You cannot {action}, as there is no path leading to it."
            else:
                counts[name] = counts.get(name, 0) + 1
                self.actions[action] = way + last

    def _doors(self, doors: list[Any], ways: Ways, carrying: Any) -> None:
        counts: dict[str, int] = {}
        for _, _, name, place in doors:
            counts[name] = counts.get(name, 0) + 1
            through = f"go through {name} {counts[name]}"
            toggle = f"toggle and {through}"
            colour, state, _ = name.split(" ")
            if state == "open":
                way = ways.onto(place)
                if way is None:
                    self.errors[through] = f"You cannot {through}, as there is no path leading to it."
                else:
                    self.actions[through] = way
                continue
            if state == "locked" and (carrying is None or carrying.type != "key"):
                self.errors[toggle] = f"You cannot {toggle}, as you are not carrying a key."
                continue
            if state == "locked" and carrying.color != colour:
                why = "as the color of the key you are carrying does not match the color of door."
                self.errors[toggle] = f"You cannot {toggle}, {why}"
                continue
            way = ways.before(place)
            if way is None:  # the reference prints its table of counts here
                self.errors[toggle] = (
                    f"You cannot toggle and go through {name} {counts}, as there is no path leading to it."
                )
            else:
                self.actions[toggle] = way + bytes((TOGGLE, MOVE))
                if not way:
                    self.actions["toggle"] = bytes((TOGGLE,))
            if state == "closed":
                self.errors[through] = f"You cannot {through}, as it is closed. You should toggle it first."


def _objects(view: list[int], x: int, y: int, direction: int) -> Iterator[tuple[int, int, str, tuple[int, int]]]:
    """(distance, type, name, place) of all that is seen, in the order of the view."""
    fx, fy = FORWARD[direction]
    rx, ry = -fy, fx
    for at, cell in enumerate(view):
        kind = cell & 15
        if kind in NAMES and at != HERE:
            ahead, aside = 6 - at // SIDE, at % SIDE - 3
            place = (x + ahead * fx + aside * rx, y + ahead * fy + aside * ry)
            if place[0] >= 0 and place[1] >= 0:
                state = f"{STATES[cell >> 8]} " if kind == DOOR else ""
                yield ahead + abs(aside), kind, f"{COLOURS[cell >> 4 & 15]} {state}{NAMES[kind]}", place


def _barrier(objects: list[Any], x: int, y: int, direction: int) -> tuple[int, int] | None:
    """(steps, type) of the nearest wall or box in the line that the agent faces."""
    fx, fy = FORWARD[direction]
    for distance, kind, _, place in objects:
        if kind in (WALL, BOX) and not fx * (place[1] - y) - fy * (place[0] - x):
            return distance, kind
    return None


def _list(things: list[Any], x: int, y: int, direction: int) -> str:
    fx, fy = FORWARD[direction]
    counts: dict[str, int] = {}
    words = ["In front of you in this room, you can see several objects: "]
    for _, _, name, (px, py) in things:
        ahead, right = fx * (px - x) + fy * (py - y), fx * (py - y) - fy * (px - x)
        if right:
            where = f"{ahead} steps in front of you and {abs(right)} steps to your {'right' if right > 0 else 'left'}. "
        else:
            where = f"right in front of you {ahead} steps away. "
        counts[name] = counts.get(name, 0) + 1
        words.append(f"There is a {name} {counts[name]} {where} ")
    return "".join(words)
