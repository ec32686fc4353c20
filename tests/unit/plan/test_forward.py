"""The session's display and agent: what is asked for and there, and nothing else."""

import pytest

from wardian.plan.containers import Bind
from wardian.plan.forward import AGENT, COOKIES, Forwarded, Session, forwarded
from wardian.plan.launch import Caller, Machine, Wishes, container
from wardian.spec.models import Run

ALL = Session(":0", "/tmp/.X11-unix/X0", "/home/anna/.Xauthority", "/tmp/ssh-x/agent.1")
NONE = Session(missing=(("ssh-agent", "SSH_AUTH_SOCK is not set"), ("x11", "DISPLAY is not set")))


def test_nothing_is_forwarded_that_was_not_asked_for() -> None:
    assert forwarded([], ALL) == Forwarded()
    assert Run().forward == ()


def test_the_display() -> None:
    made = forwarded(["x11"], ALL)
    assert made.binds == (
        Bind("/tmp/.X11-unix/X0", "/tmp/.X11-unix/X0"),
        Bind("/home/anna/.Xauthority", COOKIES, read_only=True),
    )
    assert made.env == {"DISPLAY": ":0", "XAUTHORITY": COOKIES}


def test_a_display_that_is_reached_by_tcp_has_no_socket() -> None:
    assert forwarded(["x11"], Session("localhost:10.0")) == Forwarded((), {"DISPLAY": "localhost:10.0"})


def test_the_agent() -> None:
    assert forwarded(["ssh-agent"], ALL) == Forwarded((Bind("/tmp/ssh-x/agent.1", AGENT),), {"SSH_AUTH_SOCK": AGENT})


@pytest.mark.parametrize("what", ["x11", "ssh-agent"])
def test_what_is_absent_is_off_with_one_line(what: str) -> None:
    """In the original: "invalid spec: :/ssh-agent: empty section between colons"."""
    made = forwarded([what], NONE)
    assert (made.binds, made.env) == ((), {})
    assert len(made.notes) == 1
    assert made.notes[0].startswith(f"no {what}: ")
    assert forwarded([], NONE).notes == ()


def test_a_run_has_it_and_what_the_user_sets_wins() -> None:
    machine = Machine(Caller(1, 1, "a", "/home/a"), "/proj", forwarded=forwarded(["x11", "ssh-agent"], ALL))
    config = {"Env": ["DISPLAY=:99"]}
    made = container("sha256:1", config, Run(), mounts={}, wishes=Wishes(("true",)), machine=machine)
    assert made.env["DISPLAY"] == ":0"
    assert Bind("/tmp/ssh-x/agent.1", AGENT) in made.binds
    wishes = Wishes(("true",), env={"DISPLAY": ":7"}, mounts=(Bind("/other", AGENT),))
    made = container("sha256:1", config, Run(), mounts={}, wishes=wishes, machine=machine)
    assert made.env["DISPLAY"] == ":7"
    assert [bind.source for bind in made.binds if bind.target == AGENT] == ["/other"]
