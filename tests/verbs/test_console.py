"""What people see: on a real terminal, in a pipe, under --json."""

import json
import os
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

from wardian.command import Command
from wardian.console import Console
from wardian.spec.units import human_size

WORK = """
from wardian.console import Console
with Console({}).progress() as tasks:
    with tasks.task("numpy 2.4.6", total=10) as task:
        task.advance(4)
        task.say("17.0 MB")
    try:
        with tasks.task("train[flavour=a]") as task:
            task.say("x" * 70)
            raise KeyError
    except KeyError:
        pass
"""
TREE = """
from wardian.console import Console
from wardian.plan.looking import Branch
from wardian.verbs.tree import show
show(Console(), Branch("train[flavour=a]", (Branch("run 1: echo [bold]"), Branch("total"))), {})
"""


def on_a_terminal(program: str, **environ: str) -> str:
    """What a program writes to a terminal of its own."""
    ours, theirs = os.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    environment = {**{k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "COLUMNS"}}, "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, **environ}
    ) as running:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # EIO: the other end is closed
            pass
        os.close(ours)
    assert running.returncode == 0, written.decode()
    return written.decode()


def test_a_terminal_sees_tasks_move_and_only_what_is_done_gets_its_mark() -> None:
    last = [line for line in on_a_terminal(WORK.format("")).replace("\r", "\n").splitlines() if line.strip()]

    numpy, failed = ([line for line in last if word in line][-1] for word in ("numpy", "train"))
    assert "✓" in numpy
    assert "17.0 MB" in numpy
    assert "✓" not in failed
    assert "train[flavour=a]" in failed  # not taken for markup


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_left_out_where_they_are_not_wanted(environ: dict[str, str], coloured: bool) -> None:
    assert ("\x1b[3" in on_a_terminal(WORK.format(""), **environ)) is coloured


def test_a_tree_on_a_terminal_says_what_it_says_in_a_pipe() -> None:
    shown = on_a_terminal(TREE, TERM="dumb").replace("\r\n", "\n").replace("── ", "─ ")
    piped = subprocess.run([sys.executable, "-c", TREE], capture_output=True, text=True, check=True).stdout

    assert shown == piped == "train[flavour=a]\n├─ run 1: echo [bold]\n└─ total\n"


def test_json_hears_of_no_task_even_on_a_terminal() -> None:
    assert on_a_terminal(WORK.format("as_json=True")) == ""


def test_a_pipe_gets_one_line_for_each_task_that_ended_well(capsys: pytest.CaptureFixture[str]) -> None:
    exec(WORK.format(""), {})

    assert capsys.readouterr() == ("", "numpy 2.4.6: 17.0 MB\n")


def test_commands_are_shown_ready_to_paste_and_only_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(("echo", "it's", "$HOME"))
    Console().trace(command)
    Console(verbose=True).trace(command)

    said = capsys.readouterr().err
    assert said.startswith("+ echo ")
    assert subprocess.run(["bash", "-c", said[2:]], capture_output=True, text=True, check=True).stdout == "it's $HOME\n"


def test_a_command_that_is_shown_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    env = {"API_KEY": "hunter2", "W_1": "A_TOKEN=hunter2", "PIP_INDEX_URL": "https://me:hunter2@index.example/"}
    Console(verbose=True).trace(Command(("true",), env=env))
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "index.example" in said


def test_a_table_needs_no_rows_and_no_spaces_at_its_ends(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(("NAME", "SIZE"), [("a", "1"), ("longer", "")], None)
    Console().table(("NAME", "SIZE"), [], None)
    Console(as_json=True).table(("NAME",), [("a",)], {"b": 1, "a": 2})

    assert capsys.readouterr().out == 'NAME    SIZE\na       1\nlonger\nNAME  SIZE\n{\n  "a": 2,\n  "b": 1\n}\n'


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (1_500_000, "1.5 MB"),
        (2.5e12, "2500.00 GB"),
    ],
)
def test_sizes_are_for_people(count: float, said: str) -> None:
    assert human_size(count) == said


def test_what_strangers_say_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A registry names its tags, an image its labels: a line of a table stays one."""
    rows = [("train:1\x1b[2J", "linux/\x07amd64\n"), ("é日🦭", "\x9b31m\r")]
    Console().table(("REFERENCE", "PLATFORM"), rows, rows)
    assert capsys.readouterr().out.splitlines() == [
        "REFERENCE    PLATFORM",
        "train:1�[2J  linux/�amd64�",
        "é日🦭          �31m�",
    ]
    Console(as_json=True).table(("REFERENCE", "PLATFORM"), rows, [list(row) for row in rows])
    assert json.loads(capsys.readouterr().out) == [list(row) for row in rows], "data stays what it is"
