"""What a run leaves behind, written and read."""

import dataclasses
import json
import os
import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.plan.containers import Bind
from wardian.runs.processes import Process, identify
from wardian.runs.record import Code, Record, from_json, new_id, public, read, stamp, write
from wardian.runs.shelf import Shelf


def record(**changes: object) -> Record:
    base = Record(
        id="20261121-010203-abcdef",
        image="demo/train:latest",
        digest="sha256:" + "a" * 64,
        argv=("python", "-c", "print('é\n')", ""),
        workdir="/workspace",
        user="host",
        host=socket.gethostname(),
        created="2026-11-21T01:02:03.000Z",
        supervisor=identify(os.getpid()),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


FULL = record(
    name="long",
    mounts=(Bind("/a", "/b", read_only=True),),
    env={"A": "1", "KEY": None},
    env_pass=("KEY",),
    ports={"tb": 1},
    gpus=("v/gpu=0",),
    code=Code("c" * 40, "sub/", patch=True, left_out=(".env",)),
    init=Process(3, 4, "b"),
    seconds=1.5,
    exit_code=3,
    state="finished",
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    for one in (record(), FULL):
        write(tmp_path, one)
        assert read(tmp_path) == one
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"], "nothing temporary is left"


@given(st.lists(st.text()), st.dictionaries(st.text(), st.none() | st.text()))
def test_any_words_survive(argv: list[str], env: dict[str, str | None]) -> None:
    one = record(argv=tuple(argv), env=env)
    assert from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_later_versions_keys_are_passed_over() -> None:
    assert from_json({**FULL.to_json(), "new": 1}) == FULL


@pytest.mark.parametrize("data", [None, [], "x", {}, {"id": "1"}, {**FULL.to_json(), "init": 3}])
def test_what_is_no_record_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="not a run record"):
        from_json(data)


def test_a_run_whose_supervisor_is_gone_is_lost() -> None:
    assert record().now().state == "running"
    us = identify(os.getpid())
    assert us is not None
    for gone in (None, dataclasses.replace(us, started=us.started - 1), dataclasses.replace(us, boot="another")):
        assert record(supervisor=gone).now().state == "lost"
    assert record(supervisor=None, host="elsewhere").now().state == "running", "nobody here can tell"
    assert FULL.now().state == "finished"


def test_ids_sort_by_time_and_differ() -> None:
    moment = datetime(2026, 11, 21, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert new_id(moment).startswith("20261120-230203-")
    assert new_id(moment) != new_id(moment)
    assert new_id(moment) < new_id(moment + timedelta(seconds=1))
    assert stamp(moment) == "2026-11-20T23:02:03.000Z"


def test_secrets_are_known_by_name() -> None:
    env = {"SEED": "1", "WANDB_API_KEY": "x", "hf_token": "x", "DbPassword": "x", "AWS_SECRET": "x", "AUTHOR": "x"}
    assert public(env) == {**dict.fromkeys(env), "SEED": "1"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "project").mkdir()
    return Shelf(tmp_path / "project/.wardian", tmp_path / "home")


def put(shelf: Shelf, run_id: str, **changes: object) -> None:
    folder, _ = shelf.make(run_id)
    write(folder, record(id=run_id, created=run_id, project=str(shelf.state.parent), **changes))


def test_runs_are_found_by_id_beginning_name_and_age(shelf: Shelf) -> None:
    put(shelf, "20260101-000000-aaaaaa", name="x")
    put(shelf, "20260102-000000-bbbbbb", name="x")
    put(shelf, "20260102-000001-cccccc")
    assert [run.record.id[:8] for run in shelf.all()] == ["20260101", "20260102", "20260102"]
    assert shelf.find("@last").record.id.endswith("cccccc")
    assert shelf.find("20260101").record.id.endswith("aaaaaa")
    assert shelf.find("x").record.id.endswith("bbbbbb"), "the latest of that name"
    with pytest.raises(WardianError, match="2 runs: 20260102-000000-bbbbbb, 20260102-000001-cccccc"):
        shelf.find("20260102")
    for word in ("nothing", "", "@first"):
        with pytest.raises(WardianError, match="there is no run") as nothing:
            shelf.find(word)
        assert nothing.value.hint == "type: wardian runs"


@pytest.mark.parametrize(("word", "meant"), [("lnog", "long"), ("@lsat", "@last"), ("last", "@last")])
def test_a_mistyped_name_gets_the_one_that_was_meant(shelf: Shelf, word: str, meant: str) -> None:
    put(shelf, "20260101-000000-aaaaaa", name="long")
    with pytest.raises(WardianError, match=f"there is no run {word!r} of {shelf.state.parent}") as unknown:
        shelf.find(word)
    assert unknown.value.hint == f"did you mean {meant}?"


def test_an_empty_shelf(shelf: Shelf) -> None:
    assert shelf.all() == []
    with pytest.raises(WardianError, match=f"there is no run '@last': nothing was run in {shelf.state.parent}"):
        shelf.find("@last")


def test_the_state_folder_is_ignored_by_git(shelf: Shelf) -> None:
    put(shelf, "1")
    assert (shelf.state / ".gitignore").read_text() == "*\n"


def test_damaged_records_do_not_hide_the_others(shelf: Shelf) -> None:
    put(shelf, "1")
    for name, text in (("2", "{"), ("3", "[]"), ("4", None)):
        folder, _ = shelf.make(name)
        if text is not None:
            (folder / "record.json").write_text(text)
    assert [run.record.id for run in shelf.all()] == ["1"]


def test_two_runs_of_one_second_are_apart(shelf: Shelf) -> None:
    first, second = shelf.make("same")[0], shelf.make("same")[0]
    assert first != second
    assert first.is_dir()
    assert second.is_dir()


def test_a_project_that_cannot_be_written_to(shelf: Shelf) -> None:
    shelf.state.write_text("a file in the way")
    folder, beside = shelf.make("1")
    assert (folder.parent, beside) == (shelf.home / "runs", False)
    write(folder, record(id="1", project=str(shelf.state.parent)))
    other, _ = shelf.make("2")
    write(other, record(id="2", project="/another/project"))
    assert [run.record.id for run in shelf.all()] == ["1"], "another project's runs are not ours"
    shelf.home.joinpath("runs/1/record.json").unlink()


def test_nowhere_to_write(shelf: Shelf) -> None:
    shelf.state.write_text("")
    shelf.home.write_text("")
    with pytest.raises(WardianError, match="nowhere to keep"):
        shelf.make("1")
