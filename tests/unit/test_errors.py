"""What every error says, and the exit code it becomes."""

import json

import pytest

from wardian import errors
from wardian.errors import CommandFailed, EngineFailed, Fault, LockStale, SpecError, WardianError, WheelRefused


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("", "what"), "what"),
        (Fault("run.shm", "what"), "run.shm: what"),
        (Fault("run.shm", "what", "f.toml"), "f.toml: run.shm: what"),
        (Fault("", "what", "f.toml", 3), "f.toml:3: what"),
        (Fault("run.shm", "what", "f.toml", 3, "this"), "f.toml:3: run.shm: what (this)"),
        (Fault("run.shm", "what", None, 3), "run.shm: what"),
    ],
)
def test_a_fault_says_where(fault: Fault, said: str) -> None:
    assert str(fault) == said


def test_the_tree_that_is_drawn_is_the_tree() -> None:
    """Each line of the module's drawing names a class and its exit code; no class is missing."""
    rows = [row.split() for row in (errors.__doc__ or "").splitlines() if "── " in row]
    drawn = {row[1]: int(row[2]) for row in rows}
    named = [one for one in WardianError.__subclasses__() if one.__module__ == errors.__name__]
    assert drawn == {one.__name__: one.exit_code for one in named}


def test_an_error_holds_what_a_script_wants_to_know() -> None:
    assert SpecError([Fault("a", "x"), Fault("b", "y")]).message == "a: x\nb: y"
    assert SpecError("one").faults == [Fault("", "one")]
    stale = LockStale(["a changed", "b is missing"])
    assert (str(stale), stale.hint) == ("the lock is stale: a changed; b is missing", "type: wardian lock")
    refused = WheelRefused("a.whl", "leaves the folder", "../x")
    assert (str(refused), refused.member) == ("refused: a.whl: '../x' leaves the folder", "../x")
    assert str(WheelRefused("a.whl", "has no RECORD")) == "refused: a.whl has no RECORD"
    assert CommandFailed("x", code=7).code == 7
    assert EngineFailed("x", hint="y").hint == "y"


def test_an_error_survives_being_told_to_another_process() -> None:
    """Kind, words and hint; what only its raiser knew is in the words."""
    raised = [
        WheelRefused("a.whl", "leaves the folder", "../x"),
        CommandFailed("x", code=7, hint="type y"),
        SpecError([Fault("a", "x")]),
        LockStale(["a changed"]),
        WardianError("x"),
    ]
    for error in raised:
        again = errors.retold(json.loads(json.dumps(errors.told(error))))
        assert (type(again), str(again), again.message) == (type(error), str(error), error.message)
        assert (again.hint, again.exit_code) == (error.hint, error.exit_code)
    assert type(errors.retold({"error": "Fault", "message": "x"})) is WardianError
    assert type(errors.retold({"error": "Stopped", "message": "x"})) is WardianError
