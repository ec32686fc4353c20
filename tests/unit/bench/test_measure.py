"""How the benches measure and report, on numbers that are known."""

import json
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import build
import growth
import measure
from contestants import Needed


def test_a_ratio_is_ours_by_the_peers() -> None:
    assert measure.Row("cold", "time", 2.0, 50.0, "docker+uv").ratio == 0.04


def test_without_a_peer_there_is_no_ratio() -> None:
    assert measure.Row("cold", "time", 2.0).ratio is None


def test_the_json_has_the_agreed_keys(tmp_path: Path) -> None:
    measure.write([measure.Row("cold", "time", 2.0, 50.0, "docker+uv")], str(tmp_path / "rows.json"))

    assert json.loads((tmp_path / "rows.json").read_text()) == [
        {"work": "cold", "measure": "time", "ours": 2.0, "peer": 50.0, "peer_name": "docker+uv", "ratio": 0.04}
    ]


def test_nothing_is_written_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    measure.write([], None)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "text"), [([1.0], "1"), ([3.0, 1.0, 2.0], "2 (1–3)"), ([0.1234, 0.2, 0.3], "0.2 (0.123–0.3)")]
)
def test_spread(values: list[float], text: str) -> None:
    assert measure.spread(values) == text


@pytest.mark.parametrize(
    ("ours", "peer", "text"), [(1.0, 27.0, "1/27.0"), (3.0, 2.0, "1.50"), (0.0, 2.0, "–"), (2.0, 0.0, "–")]
)
def test_fraction(ours: float, peer: float, text: str) -> None:
    assert build.fraction(ours, peer) == text


def test_columns_line_up() -> None:
    text = measure.table(["a", "b", "c"], [["x", "y", "10"], ["long", "y", "5"]])

    assert text.splitlines() == ["a     b   c", "x     y  10", "long  y   5"]


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c").write_bytes(b"1")

    assert measure.size_of(tmp_path) == 6


def test_a_run_reports_time_memory_and_output() -> None:
    script = "import time; held = bytearray(64 << 20); print('done'); time.sleep(0.4)"

    ran = measure.run([sys.executable, "-c", script], env=dict(os.environ), watch=True)

    assert ran.output == "done\n"
    assert ran.seconds > 0.4
    assert 64 < ran.mebibytes < 160


def test_memory_of_descendants_counts() -> None:
    inner = "import time; held = bytearray(64 << 20); time.sleep(0.4)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"

    assert measure.run([sys.executable, "-c", outer], env=dict(os.environ), watch=True).mebibytes > 64
    assert measure.run([sys.executable, "-c", "pass"], env=dict(os.environ)).mebibytes == 0


def test_a_failed_command_ends_the_bench_with_its_output() -> None:
    with pytest.raises(SystemExit, match="exited with 3\nwhy"):
        measure.run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], env=dict(os.environ))


def test_a_failure_may_be_allowed() -> None:
    assert measure.run([sys.executable, "-c", "raise SystemExit(3)"], env=dict(os.environ), check=False).output == ""


def test_a_tiny_wheel_is_a_wheel(tmp_path: Path) -> None:
    from installer.sources import WheelFile
    from packaging.utils import parse_wheel_filename

    requirement = growth.tiny_wheel(tmp_path, 7)

    path = next(tmp_path.iterdir())
    assert requirement == "tiny-007==1.0"
    assert parse_wheel_filename(path.name)[0] == "tiny-007"
    with zipfile.ZipFile(path) as file:
        WheelFile(file).validate_record()


def samples(*names: str) -> build.Samples:
    return {
        (name, work): [Needed(1.0 * at, 6.0 * at, 3.0 * at, 1_000_000 * at, 100.0 * at) for _ in range(3)]
        for at, name in enumerate(names, 1)
        for work in build.WORKS
    }


def test_the_report_has_a_row_for_each_work_measure_and_peer() -> None:
    rows, text = build.report(samples("wardian", "docker+uv", "docker+pip"), ["docker+uv", "docker+pip"])

    assert {(row.work, row.measure, row.peer_name) for row in rows} == {
        (work, name, peer) for work in build.WORKS for name in measure.UNITS for peer in ("docker+uv", "docker+pip")
    }
    assert {row.ratio for row in rows if row.peer_name == "docker+uv"} == {0.5}
    ours = {row.measure: row.ours for row in rows if row.work == "cold"}
    assert [ours[name] for name in ("time", "lock time", "time with lock")] == [9.0, 1.0, 10.0]
    assert len(text.splitlines()) == 1 + len(rows)


def test_the_report_without_a_peer_says_so() -> None:
    rows, text = build.report(samples("wardian"), [])

    assert all(row.peer is None and row.peer_name is None for row in rows)
    assert text.count("no peer") == len(rows) == len(build.WORKS) * len(measure.UNITS)


class Recorder:
    """A contestant that notes what it was asked."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def warm(self, requirements: Sequence[str]) -> None:
        self._log.append(f"{self.name} warm")

    def forget(self) -> None:
        self._log.append(f"{self.name} forget")

    def build(self, requirements: Sequence[str], code: str, *, watch: bool = False) -> Needed:
        self._log.append(f"{self.name} {len(requirements)} {'changed' in code}{' watched' if watch else ''}")
        return Needed(1.0, 1.0, 1.0, 1, 7.0 if watch else 0.0)

    def close(self) -> None:
        self._log.append(f"{self.name} close")


def test_contestants_take_turns() -> None:
    log: list[str] = []

    found = build.measure([Recorder("a", log), Recorder("b", log)], 2)

    cycle = ["forget", f"{len(build.RL)} False", f"{len(build.RL)} False", f"{len(build.RL)} True"]
    cycle.append(f"{len(build.RL) + 1} True")
    turn = [f"{name} {step}" for name in "ab" for step in cycle]
    last = [f"{name} {step}{' watched' if step != 'forget' else ''}" for name in "ab" for step in cycle]
    assert log == ["a warm", "b warm", *turn, *turn, *last]
    assert {len(values) for values in found.values()} == {2}
    assert {needed.mebibytes for values in found.values() for needed in values} == {7.0}, "of the last round alone"
