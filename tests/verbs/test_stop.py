"""Ending runs: who is killed and still there is not said to be over. The real thing is in test_detached.py."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from wardian.errors import WardianError
from wardian.hosts.local import LocalHost
from wardian.runs.processes import identify
from wardian.runs.record import Record, write
from wardian.runs.shelf import Run, Shelf
from wardian.verbs import stop


class Deaf:
    """An engine that hears and does nothing; it is asked to send signals, and nothing else."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def send(self, record: Record, number: int, host: object) -> None:
        self.sent.append((record.id, number))


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Two runs that are watched by this process, and so are running."""
    shelf = Shelf(tmp_path / "state", tmp_path / "home")
    for name in ("1-a", "2-b"):
        folder, _ = shelf.make(name)
        record = Record(name, "", "", ("true",), "/w", "host", "", f"2026-01-01T00:00:0{name[0]}Z")
        write(folder, replace(record, supervisor=identify(os.getpid())))
    return shelf.all()


def test_what_is_killed_and_still_there_is_named(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Deaf()
    asked: list[str] = []
    monkeypatch.setattr(stop, "alive", lambda records, host: {record.id for record in records})
    monkeypatch.setattr(stop, "runtime", lambda name: engine)
    monkeypatch.setattr(stop, "ask", lambda record, host: asked.append(record.id))
    monkeypatch.setattr(stop, "KILL_SECONDS", 0)
    with pytest.raises(WardianError, match="killed, and still not over: 1-a, 2-b"):
        stop.end_runs(runs, 0, LocalHost())
    assert asked == ["1-a", "2-b"]
    assert engine.sent == [("1-a", 9), ("2-b", 9)]


def test_what_ends_in_time_is_not_killed(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Deaf()

    def ends(record: Record, host: object) -> None:
        folder = next(run.folder for run in runs if run.record.id == record.id)
        write(folder, replace(record, state="finished", exit_code=0))

    monkeypatch.setattr(stop, "alive", lambda records, host: set())
    monkeypatch.setattr(stop, "runtime", lambda name: engine)
    monkeypatch.setattr(stop, "ask", ends)
    stop.end_runs(runs, 60, LocalHost())
    assert engine.sent == []
