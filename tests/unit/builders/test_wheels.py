"""A layer of wheels, written here and by a process of its own: the same bytes, and the same words when it fails."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plan.factory import wheel as planned_wheel
from tests.wheels import wheel, wheel_files, zipped
from wardian.builders import assembler
from wardian.builders import wheels as program
from wardian.builders.base import Beneath, Site, Stopped
from wardian.builders.wheels import Job, Source
from wardian.command import Command, Result
from wardian.errors import CommandFailed, WardianError, WheelRefused
from wardian.hosts.local import LocalHost
from wardian.hosts.machine import Machine
from wardian.lock.wheel import Wheel
from wardian.plan.layers import Wheels
from wardian.store.store import LayerRecord, Store

NOTHING = Beneath((), {}, "train")
HONEST = wheel("thing", files={"thing/__init__.py": b"value = 1\n", "thing/data": bytes(range(256)) * 5000})
LYING = zipped({**wheel_files("thing", "1.0", {"thing/a": b"told"}), "thing/a": b"done"})


class Shelf:
    """Sources that know the wheels of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def wheels(self, wheels: Sequence[Wheel], say: Callable[[str], None]) -> tuple[Path, ...]:
        return tuple(self.folder / wheel.filename for wheel in wheels)


class Answering(LocalHost):
    """A host whose programs end at once, as it was told."""

    def __init__(self, code: int, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__()
        self.answer = (code, stdout, stderr)

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        return Result(command, *self.answer)


@pytest.fixture
def layer(tmp_path: Path) -> Wheels:
    wheels = (planned_wheel("other"), planned_wheel("thing", requested=True))
    (tmp_path / wheels[0].filename).write_bytes(wheel("other"))
    (tmp_path / wheels[1].filename).write_bytes(HONEST)
    return Wheels("0" * 64, "/opt/env", "3.11", wheels, "bin 1 of 8")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer is worth a process of its own."""
    monkeypatch.setattr(assembler, "APART", 0)


def site(folder: Path, name: str = "store", host: LocalHost | None = None) -> Site:
    sources: Any = Shelf(folder)

    def unused() -> Any:
        raise AssertionError("no namespace is needed here")

    return Site(Store(folder / name), host or LocalHost(), Machine(), sources, unused, 1_577_836_800, folder)


def make(layer: Wheels, place: Site) -> LayerRecord:
    return assembler.wheels(layer, NOTHING, place, lambda _: None)


def nothing_is_left(place: Site) -> bool:
    return list(place.store.scratch.iterdir()) == list(place.store.blobs.iterdir()) == []


def test_a_job_survives_being_handed_over() -> None:
    job = Job("/t", "/s", "bin", ("a==1",), (Source("/a.whl", "a.whl", True),), "/opt/env", "3.11", 7)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_both_ways_lead_to_the_same_layer(tmp_path: Path, layer: Wheels, monkeypatch: pytest.MonkeyPatch) -> None:
    here, apart = site(tmp_path, "here", Answering(1)), site(tmp_path, "apart")
    record = make(layer, here)
    assert record.packages == ("other==1.0", "thing==1.0")
    assert [name for name, _ in record.brought] == ["other==1.0", "thing==1.0"]
    monkeypatch.setattr(assembler, "APART", 0)
    assert make(layer, apart) == record
    for place in (here, apart):
        assert place.store.path(record.digest).stat().st_mode & 0o777 == 0o444
        assert len(place.store.read(record.digest)) == record.size
        assert list(place.store.scratch.iterdir()) == []


def test_little_work_starts_no_process(tmp_path: Path, layer: Wheels) -> None:
    make(layer, site(tmp_path, host=Answering(1, b"", b"was started")))
    (tmp_path / layer.wheels[0].filename).touch()
    os.truncate(tmp_path / layer.wheels[0].filename, assembler.APART)  # not a wheel, but a large one
    with pytest.raises(RuntimeError, match="was started"):
        make(layer, site(tmp_path, host=Answering(1, b"", b"was started")))


@pytest.mark.parametrize("limit", [0, 1 << 40])
def test_a_wheel_that_lies_is_refused_by_name_with_its_hint(
    tmp_path: Path, layer: Wheels, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembler, "APART", limit)
    (tmp_path / layer.wheels[1].filename).write_bytes(LYING)
    place = site(tmp_path)
    with pytest.raises(WheelRefused, match=r"refused: thing-1\.0-py3-none-any\.whl: 'thing/a' does not have") as caught:
        make(layer, place)
    assert caught.value.hint == "take another version of it, or tell its maintainers"
    assert nothing_is_left(place)


@pytest.mark.parametrize("limit", [0, 1 << 40])
def test_a_store_that_takes_no_files_is_named(
    tmp_path: Path, layer: Wheels, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembler, "APART", limit)
    place = site(tmp_path)
    place.store.prepare()
    place.store.scratch.rmdir()
    place.store.scratch.symlink_to("/dev/null")  # root writes past any mode
    with pytest.raises(WardianError, match="needs a folder where there is a file") as caught:
        make(layer, place)
    assert caught.value.hint == "move that file, or set WARDIAN_HOME"


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "no space is left on the disk: /s/t"), (errno.EACCES, "permission denied: /s/t")],
)
def test_a_disk_that_is_full_or_closed_is_told(
    number: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "", "/s/t")

    job = Job("/s/t", "/s", "x", (), (), "/opt/env", "3.11", 7)
    monkeypatch.setattr(program, "_die_with", lambda parent: None)
    monkeypatch.setattr(program, "write", fail)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(job.to_json())))
    assert program.main(["1"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["message"] == said
    assert told["hint"]


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("stdout", [b"", b"{", b'{"digest": "x"}'])
def test_a_process_that_fails_of_itself_is_a_bug_with_its_last_words(
    tmp_path: Path, layer: Wheels, stdout: bytes
) -> None:
    place = site(tmp_path, host=Answering(1, stdout, b"ZeroDivisionError: division by zero"))
    with pytest.raises(RuntimeError, match=r"bin 1 of 8 apart (failed\nZeroDivisionError|told no layer)"):
        make(layer, place)
    assert nothing_is_left(place)


@pytest.mark.usefixtures("apart")
def test_a_process_that_is_killed_is_named(tmp_path: Path, layer: Wheels) -> None:
    place, child = site(tmp_path), Waiting(tmp_path / layer.wheels[1].filename)
    failed = child.meanwhile(lambda: make(layer, place), lambda: os.kill(child.number(), signal.SIGKILL))
    assert isinstance(failed, CommandFailed)
    assert failed.message == "signal 9 ended the process that wrote it"
    assert failed.hint == "was memory short? type: wardian build --jobs 1"
    assert nothing_is_left(place)


@pytest.mark.usefixtures("apart")
def test_a_build_that_is_stopped_ends_the_process(tmp_path: Path, layer: Wheels) -> None:
    host = LocalHost()
    place, child = site(tmp_path, host=host), Waiting(tmp_path / layer.wheels[1].filename)

    def stop() -> None:
        child.number()
        place.stopping.set()
        host.stop()

    assert isinstance(child.meanwhile(lambda: make(layer, place), stop), Stopped)
    assert nothing_is_left(place)


def test_a_process_whose_parent_is_gone_writes_nothing(tmp_path: Path) -> None:
    job = Job(str(tmp_path / "t"), str(tmp_path), "x", (), (), "/opt/env", "3.11", 7)
    program = [sys.executable, "-P", "-m", "wardian.builders.wheels"]
    words = json.dumps(job.to_json())
    late = subprocess.run([*program, "1"], input=words, capture_output=True, text=True, check=False)
    assert (late.returncode, late.stdout, (tmp_path / "t").exists()) == (1, "", False)
    assert late.stderr == "nobody waits for this layer any more\n"
    done = subprocess.run([*program, str(os.getpid())], input=words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["size"] == (tmp_path / "t").stat().st_size


class Waiting:
    """A wheel that cannot be opened to the end: whoever reads it waits, until it is killed."""

    def __init__(self, path: Path) -> None:
        path.unlink()
        os.mkfifo(path)
        self._path = path

    def number(self) -> int:
        """The process that reads it, once there is one."""
        own = os.getpid()
        for _ in range(600):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue
                if parent == own and b"wardian.builders.wheels" in words:
                    return int(process.name)
            time.sleep(0.05)
        raise AssertionError("no process was started")

    def meanwhile(self, work: Callable[[], object], act: Callable[[], None]) -> BaseException | None:
        """What ``work`` raised, while ``act`` happened."""
        raised: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is what is looked at
                raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        act()
        thread.join(60)
        assert not thread.is_alive(), "it did not end"
        return raised[0] if raised else None
