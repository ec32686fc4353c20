"""TextWorld: real games, made by its own Inform 7 and played to their ends by the walkthroughs that come with them."""

import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import serving
from wardian.envs.base import NoSuchItem, Turn
from wardian.envs.textworld import META, TextWorld, said
from wardian.errors import SpecError, WardianError

pytestmark = pytest.mark.filterwarnings("ignore:Game .* is not fully supported")


@pytest.fixture(scope="module")
def made() -> Iterator[TextWorld]:
    environment = TextWorld()
    yield environment
    folder = environment._folder
    environment.close()
    assert not folder.exists()


@pytest.fixture(scope="module")
def games(made: TextWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two games in a folder of their own, as tw-make leaves them."""
    folder = tmp_path_factory.mktemp("games")
    for item in (3, 5):
        for suffix in (".z8", ".json"):
            shutil.copy(made._make(item).with_suffix(suffix), folder / f"{item}{suffix}")
    return folder


def walkthrough(game: Path) -> list[str]:
    found: list[str] = json.loads(game.with_suffix(".json").read_text())["metadata"]["walkthrough"]
    return found


def played(environment: TextWorld, item: int, commands: list[str]) -> list[Turn]:
    episode, first = environment.start(item, None)
    turns = [first, *(episode.step(command) for command in commands)]
    episode.close()
    return turns


def test_a_game_is_won_by_its_walkthrough(made: TextWorld) -> None:
    commands = walkthrough(made._make(3))
    turns = played(made, 3, commands)
    goal = json.loads(made._make(3).with_suffix(".json").read_text())["objective"]
    assert turns[0].text.startswith(f"{goal}\n\n-= ")
    assert not any("$$" in turn.text or turn.text.rstrip().endswith("0/1") for turn in turns)
    assert [turn.done for turn in turns] == [False] * len(commands) + [True]
    assert all(turn.valid for turn in turns)
    assert (turns[-1].score, turns[-1].success, sum(turn.reward for turn in turns)) == (1, True, 1)
    assert set(commands[:1]) <= set(turns[0].extra["admissible_commands"])


def test_a_number_is_the_same_game_in_another_process(made: TextWorld, tmp_path: Path) -> None:
    lines = f"""
import shutil
from wardian.envs.textworld import TextWorld
made = TextWorld()
shutil.copy(made._make(5), {str(tmp_path / "5.z8")!r})
made.close()
"""
    subprocess.run([sys.executable, "-c", lines], check=True, env={**os.environ, "PYTHONHASHSEED": "7"}, cwd=tmp_path)
    first, second = ((path.read_bytes()) for path in (made._make(5), tmp_path / "5.z8"))
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()


def test_episodes_do_not_hear_of_each_other(games: Path) -> None:
    """Each has an interpreter of its own: eight at once, in threads, say what one alone says."""
    environment = TextWorld(games=str(games))
    commands = [walkthrough(games / f"{name}.z8") for name in ("3", "5")]
    alone = [played(environment, item, commands[item]) for item in (0, 1)]
    with ThreadPoolExecutor(8) as threads:
        many = list(threads.map(lambda at: played(environment, at % 2, commands[at % 2]), range(16)))
    assert many == alone * 8
    environment.close()


META_COMMANDS = ("save", "script", "SAVE", "look. save", "look then save", "look, quit", "transcripts on", " restart",
                 "open chest\nsave", "restore", "q", "noscript", "restrict commands", "look\rsave")  # fmt: skip


def test_no_command_reaches_the_machine_behind_the_game(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inform's own verbs write files in the server's folder (save, script) or end the game unseen (restart)."""
    monkeypatch.chdir(tmp_path)
    environment = TextWorld(games=str(games))
    episode, first = environment.start(0, None)
    for command in META_COMMANDS:
        turn = episode.step(command)
        assert (turn.text, turn.valid, turn.done) == ("That is not a command of this game.", False, False), command
    assert episode.step("inventory").valid
    assert not list(tmp_path.iterdir())
    assert not any(META.search(command) for command in first.extra["admissible_commands"])
    episode.close()


def test_nonsense_is_answered_by_the_game(games: Path) -> None:
    environment = TextWorld(games=str(games), commands="yes")
    episode, first = environment.start(1, None)
    assert "\n\nAvailable commands: " in first.text
    for command in ("", "  ", "x", "ßü", "a" * 197, "a" * 198, "ü" * 3000, "@@", "dance wildly"):
        turn = episode.step(command)
        assert (turn.valid, turn.reward, turn.done) == (False, 0, False), command
        assert turn.text
    episode.close()


def test_what_there_is_not(made: TextWorld, games: Path, tmp_path: Path) -> None:
    environment = TextWorld(games=str(games))
    for one, item in ((environment, 2), (environment, -1), (made, -1)):
        with pytest.raises(NoSuchItem):
            one.start(item, None)
    with pytest.raises(NoSuchItem, match="no quest of 100 commands"):
        TextWorld(rooms="1", objects="1", quest="100").start(1, None)
    with pytest.raises(WardianError, match="has no games"):
        TextWorld(games=str(tmp_path))
    for options in ({"rooms": "0"}, {"quest": "many"}, {"commands": "1"}):
        with pytest.raises(SpecError):
            TextWorld(**options)  # type: ignore[arg-type]


def test_what_nobody_closed_leaves_no_folder() -> None:
    environment = TextWorld()
    folder = environment._folder
    assert folder.is_dir()
    del environment
    gc.collect()
    assert not folder.exists()


def test_only_so_many_games_are_kept(monkeypatch: pytest.MonkeyPatch, made: TextWorld, games: Path) -> None:
    """The files of the one that was asked for longest ago go."""
    monkeypatch.setattr("wardian.envs.textworld.KEPT", 1)
    environment = TextWorld()
    first = environment._make(3)
    other = environment._make(5)
    assert (first.exists(), first.with_suffix(".json").exists(), other.exists()) == (False, False, True)
    assert environment._make(3).read_bytes() == made._make(3).read_bytes()
    environment.close()


@pytest.mark.parametrize(
    ("feedback", "text"),
    [
        ("\n\n\n>      -= Attic =-0/1", ""),
        ("\nAre you sure?        -= Attic =-3/17", "Are you sure?"),
        ("\n-= Attic =-\nDusty.\n\n>   -= Attic =-1/2", "-= Attic =-\nDusty."),
        ("a > b", "a > b"),
    ],
)
def test_the_prompt_is_no_text(feedback: str, text: str) -> None:
    assert said(feedback) == text


def test_served(games: Path) -> None:
    """Two sessions of one process, begun at once (TextWorld's parser stands no second thread), a walkthrough each."""
    with serving("textworld", "--with", f"games={games}") as server:
        numbers = server.ok("/batch/create", {"count": 2})["ids"]
        begun = server.ok("/batch/reset", {"sessions": [{"id": n, "item": at} for at, n in enumerate(numbers)]})
        assert all("\n\n-= " in one["observation"] for one in begun["results"])
        walks = [walkthrough(games / f"{name}.z8") for name in ("3", "5")]
        for at, number in enumerate(numbers):
            for command in walks[at]:
                last = server.ok("/batch/step", {"sessions": [{"id": number, "action": command}]})["results"][0]
            assert (last["done"], last["success"], last["score"]) == (True, True, 1)
