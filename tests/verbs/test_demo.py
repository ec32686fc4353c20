"""`wardian demo`: its parts, its ways to fail, and the whole way once."""

import json
import shlex
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wardian.command import Command, Result
from wardian.console import Console
from wardian.errors import CommandFailed, WardianError
from wardian.verbs import demo
from wardian.workspace import Workspace

Wardian = Callable[..., Any]


class Bar:
    """Stands in for a progress task."""

    def __init__(self) -> None:
        self.at, self.said = 0.0, ""

    def advance(self, amount: float) -> None:
        self.at += amount

    def say(self, text: str) -> None:
        self.said = text


def test_a_fresh_folder_is_the_first_that_is_free(tmp_path: Path) -> None:
    (tmp_path / "wardian-demo").mkdir()
    (tmp_path / "wardian-demo-2").touch()

    assert demo.fresh(tmp_path, None) == tmp_path / "wardian-demo-3"


@pytest.mark.parametrize("kind", ["absent", "empty"])
def test_a_folder_may_be_asked_for(tmp_path: Path, kind: str) -> None:
    if kind == "empty":
        (tmp_path / "pole").mkdir()

    assert demo.fresh(tmp_path, "pole") == tmp_path / "pole"


@pytest.mark.parametrize("kind", ["full", "file"])
def test_nobody_elses_folder_is_written_into(tmp_path: Path, kind: str) -> None:
    if kind == "file":
        (tmp_path / "pole").touch()
    else:
        (tmp_path / "pole").mkdir()
        (tmp_path / "pole" / "thesis.tex").touch()

    with pytest.raises(WardianError, match="not empty"):
        demo.fresh(tmp_path, "pole")


def test_the_curve_reads_the_trainings_lines() -> None:
    curve, bar = demo.Curve(), Bar()
    for line in [
        "  0%    0.1 s     2,048 steps  mean return   21.6",
        "some library's warning, mean return of nothing",
        " 42%   12.6 s   329,728 steps  mean return  400.0",
        "finished: mean return 490.3 over the last 20 iterations, expected 300",
    ]:
        curve.read(line, bar)  # type: ignore[arg-type] # as much of a task as it needs

    assert curve.values == [21.6, 400.0, 490.3]
    assert curve.last == 490.3
    assert bar.at == 100
    assert bar.said == "▁▇█ 490"


def test_a_long_curve_keeps_its_end() -> None:
    curve = demo.Curve()
    curve.values = [float(at) for at in range(501)]

    assert len(curve.drawn()) <= 24
    assert curve.drawn()[-1] == "█"


def test_the_program_is_named_as_the_shell_would_find_it(tmp_path: Path) -> None:
    own = Path(sys.executable).with_name("wardian")

    assert demo.program(str(own.parent)) == "wardian"
    assert demo.program(str(tmp_path)) == shlex.quote(str(own))


class Host:
    """Answers a training with given lines and an exit code."""

    def __init__(self, lines: list[str], code: int) -> None:
        self.lines, self.code = lines, code
        self.asked: list[Command] = []

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        self.asked.append(command)
        return Result(command, self.code)

    def stream(self, command: Command, *, line: Callable[[str], None], timeout: float | None = None) -> Result:
        self.asked.append(command)
        for text in self.lines:
            line(text)
        return Result(command, self.code, "\n".join(self.lines).encode())


def prepared(tmp_path: Path, host: Host) -> demo.Demo:
    workspace = Workspace(tmp_path, {}, Console(), host, (), tmp_path)  # type: ignore[arg-type] # it is never piped to
    return demo.Demo(workspace, tmp_path / "d", "d")


def test_the_training_is_a_run_in_the_image(tmp_path: Path) -> None:
    host = Host(["finished: mean return 490.0 over"], 0)

    assert prepared(tmp_path, host).train(5) == 490.0
    assert host.asked[0].argv[1:7] == ("-m", "wardian", "run", "-C", str(tmp_path / "d"), "--")


def test_a_training_that_does_not_learn_fails_the_demo(tmp_path: Path) -> None:
    host = Host(["failed: mean return 20.0 over the last 20 iterations, expected 300"], 1)

    with pytest.raises(CommandFailed, match="expected 300"):
        prepared(tmp_path, host).train(5)


def test_a_second_build_that_fails_fails_the_demo(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed):
        prepared(tmp_path, Host([], 1)).build_again()


def test_a_verb_that_fails_ends_the_demo_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wardian: Wardian
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise WardianError("no mirror answers", hint="look at the network")

    broken = SimpleNamespace(command=SimpleNamespace(main=fail))
    monkeypatch.setitem(sys.modules, "wardian.verbs.lock", broken)

    said = wardian("demo", "--dir", "pole", cwd=tmp_path, code=1)

    assert "no mirror answers" in said.err
    assert "look at the network; what was made so far is in" in said.err
    assert (tmp_path / "pole" / "train.py").exists()
    assert "From nothing" not in said.out


def test_a_verb_that_only_returns_a_code_fails_the_demo_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wardian: Wardian
) -> None:
    broken = SimpleNamespace(command=SimpleNamespace(main=lambda *_, **__: 1))
    monkeypatch.setitem(sys.modules, "wardian.verbs.lock", broken)

    assert "wardian lock ended with 1" in wardian("demo", cwd=tmp_path, code=1).err


def test_seconds_must_be_some(tmp_path: Path, wardian: Wardian) -> None:
    wardian("demo", "--seconds", "0", cwd=tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []


def test_the_whole_way(tmp_path: Path, with_base: Path, wardian: Wardian, need: Callable[..., None]) -> None:
    need("bwrap", "mmdebstrap")

    said = wardian("demo", "--seconds", "12", "--json", cwd=tmp_path)

    answer = json.loads(said.out)
    folder = tmp_path / "wardian-demo"
    assert answer["mean_return"] >= demo.EXPECTED
    assert answer["folder"] == str(folder)
    assert set(answer["steps"]) == {"init", "lock", "build", "test", "run", "tree", "build again"}
    assert answer["steps"]["build again"] < 5
    picture = ET.parse(answer["picture"]).getroot()
    assert picture.tag.endswith("svg")
    assert len(picture.findall("{*}polyline")) == 2
    status = json.loads((folder / "results" / "status.json").read_text())
    assert status["status"] == "finished"
    rows = [json.loads(line) for line in (folder / "results" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["mean_return"] < 60 < rows[-1]["mean_return"]
