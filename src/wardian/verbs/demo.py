"""`wardian demo`: from an empty folder to a trained policy, through the real verbs."""

import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from wardian.command import Command
from wardian.console import Task
from wardian.errors import CommandFailed, TestFailed, WardianError
from wardian.verbs import verb
from wardian.workspace import Workspace

EXPECTED = 300.0  # mean return; random actions reach about 22, the most is 500
LINE = re.compile(r"^\s*(\d+)%\s.*mean return\s+([0-9.]+)")
BARS = "▁▂▃▄▅▆▇█"


@verb("demo", example="wardian demo\nwardian demo --dir /tmp/pole --seconds 60")
@click.option("--dir", "folder", metavar="DIR", help="The folder to work in (default: a fresh wardian-demo here).")
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True, help="How long to train.")
def command(workspace: Workspace, folder: str | None, seconds: float) -> None:
    """Go the whole way on this machine: a project, its lock, its image, its checks, a trained policy, its curve.

    Every step is a verb that you could type; each is shown before it runs. The folder stays.
    """
    place = fresh(workspace.start, folder)
    demo = Demo(workspace, place, str(place.relative_to(workspace.start) if folder is None else place))
    try:
        final = demo.go(seconds)
    except WardianError as error:
        error.hint = f"{error.hint or 'mend that'}; what was made so far is in {demo.shown}"
        raise
    demo.end(final)


def fresh(start: Path, asked: str | None) -> Path:
    """The folder to work in: the one that was asked for, if it is empty, or the first free ``wardian-demo``."""
    if asked is not None:
        place = start / asked
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise WardianError(f"{asked} is there and not empty", hint="another --dir, or none for a fresh folder")
        return place
    names = ("wardian-demo", *(f"wardian-demo-{number}" for number in range(2, 1000)))
    return next(start / name for name in names if not (start / name).exists())


@dataclass
class Demo:
    """The steps, how long each took, and what came of them."""

    workspace: Workspace
    folder: Path
    shown: str  # the folder as the person may type it
    started: float = field(default_factory=time.monotonic)
    took: dict[str, float] = field(default_factory=dict)

    @property
    def picture(self) -> Path:
        """The learning curve."""
        return self.folder / "results" / "curve.svg"

    def go(self, seconds: float) -> float:
        """Every step in its order; the mean return that the policy reached."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.verb("init", "--template", "cartpole", title="a project from the template")
        self.verb("lock", title="pin every package and every wheel")
        self.verb("build", title="build the image")
        self.verb("test", title="check the image from inside")
        final = self.train(seconds)
        self.verb("tree", "train", title="the image, layer by layer")
        self.build_again()
        return final

    def verb(self, name: str, *argv: str, title: str) -> None:
        """Call a verb in this process, as its command line would."""
        from importlib import import_module

        called = import_module(f"wardian.verbs.{name}").command
        quiet = redirect_stdout(sys.stderr) if self.workspace.console.as_json else nullcontext()
        with self.step(title, name, *argv), quiet:
            code = called.main([*argv, "-C", str(self.folder)], prog_name=f"wardian {name}", standalone_mode=False)
            if code:
                raise TestFailed(f"wardian {name} ended with {code}")

    def train(self, seconds: float) -> float:
        """Run the training in the image, with a live bar and curve; the mean return of its last iterations."""
        program = ("python", "train.py", "--seconds", f"{seconds:g}", "--expect", f"{EXPECTED:g}")
        curve = Curve()
        with self.step(f"train for {seconds:g} s in the image", "run", "--", *program):
            with self.workspace.console.progress() as tasks, tasks.task("training", total=100) as task:
                result = self.run("run", "-C", str(self.folder), "--", *program, task=task, curve=curve)
            if result.code:
                last = result.stdout.decode(errors="replace").strip().splitlines()[-3:]
                raise CommandFailed(f"the training ended with {result.code}: {' | '.join(last)}", code=result.code)
        return curve.last

    def build_again(self) -> None:
        """A second build, as a process of its own, start-up included: it has nothing to do."""
        with self.step("build again: nothing to do", "build"):
            self.run("build", "-C", str(self.folder)).check()

    def run(self, *argv: str, task: Task | None = None, curve: "Curve | None" = None) -> Any:
        """Run a verb as a process of its own; its lines move the bar."""
        command = Command((sys.executable, "-m", "wardian", *argv), changes=True)
        if task is None or curve is None:
            return self.workspace.host.run(command)
        return self.workspace.host.stream(command, line=lambda line: curve.read(line, task))

    @contextmanager
    def step(self, title: str, *argv: str) -> Iterator[None]:
        """Say what is done and how one would type it, and note how long it took."""
        console, began = self.workspace.console, time.monotonic()
        console.note(f"\n── {title}\n   $ wardian {shlex.join(argv)}")
        yield
        self.took[argv[0] if argv[0] not in self.took else f"{argv[0]} again"] = time.monotonic() - began
        console.note(f"   {time.monotonic() - began:.1f} s")

    def end(self, final: float) -> None:
        """The answer: how long each step took, where the picture is, what to type next."""
        total = time.monotonic() - self.started
        steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.took.items())
        here = f"-C {shlex.quote(self.shown)}"
        me = program(self.workspace.environ.get("PATH", ""))
        text = [
            f"\nFrom nothing to a policy that balances for {final:.0f} of 500 steps in {total:.0f} s ({steps}).",
            f"The learning curve: {self.picture}",
            "\nType next:",
            f"  {me} run {here} -- python train.py --seconds 60 --seed 1 --out results/seed-1",
            f"  {me} runs {here}",
            f"  {me} init --template puffer trainer",
        ]
        data = {
            "folder": str(self.folder),
            "picture": str(self.picture),
            "mean_return": final,
            "seconds": round(total, 3),
            "steps": {name: round(seconds, 3) for name, seconds in self.took.items()},
        }
        self.workspace.console.answer("\n".join(text), data)


class Curve:
    """The learning curve as far as it is known, drawn with blocks."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._share = 0.0

    @property
    def last(self) -> float:
        """The latest mean return."""
        return self.values[-1] if self.values else 0.0

    def read(self, line: str, task: Task) -> None:
        """Take one line of the training's output; others than its progress are passed over."""
        if found := LINE.match(line) or re.search(r"^()\w+: mean return ([0-9.]+)", line):
            self.values.append(float(found[2]))
            share = float(found[1] or 100)
            task.advance(share - self._share)
            task.say(f"{self.drawn()} {self.last:.0f}")
            self._share = share

    def drawn(self, width: int = 24) -> str:
        """Blocks whose height is the return, from 0 to 500."""
        step = max(1, -(-len(self.values) // width))
        chosen = self.values[::-step][::-1]
        return "".join(BARS[min(len(BARS) - 1, int(value / 500 * len(BARS)))] for value in chosen)


def program(path: str) -> str:
    """How to type this program: its name when the shell finds it, else where it is."""
    import shutil

    own = Path(sys.executable).with_name("wardian")
    found = shutil.which("wardian", path=path)
    return "wardian" if found and Path(found).resolve() == own.resolve() else shlex.quote(str(own))
