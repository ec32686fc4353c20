"""What is known of the caller, and which ports are free."""

import os
import pwd
import socket
from pathlib import Path

import pytest

from wardian.errors import Unavailable
from wardian.hosts.session import caller, free_ports, hindered, session
from wardian.plan.forward import Session


def test_the_caller_is_this_processs_user() -> None:
    found = caller()
    assert (found.uid, found.gid) == (os.getuid(), os.getgid())
    assert found.home == os.environ["HOME"]


def test_a_uid_without_an_entry_gets_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert caller().name == f"u{os.getuid()}"


def test_a_name_that_a_passwd_file_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("DOMAIN\\an:na", "x", 1, 1, "", "/h", "/s"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)
    assert caller().name == "DOMAIN_an_na"


def test_a_free_port_is_taken_as_it_is_and_a_busy_one_moves_on() -> None:
    with socket.create_server(("", 0)) as busy:
        port = busy.getsockname()[1]
        found = free_ports({"a": port})
        assert found["a"] > port
    assert free_ports({"a": port}) == {"a": port}


def test_a_port_that_is_busy_on_one_address_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        assert free_ports({"a": busy.getsockname()[1]})["a"] != busy.getsockname()[1]


def test_a_port_that_is_roots_gives_way_to_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = socket.socket.bind

    class Closed(socket.socket):
        def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            if address[1] < 1024:
                raise PermissionError(13, "Permission denied")
            bind(self, address)

    monkeypatch.setattr("wardian.hosts.session.socket.socket", Closed)
    assert hindered(80) == "open to root alone"
    found = free_ports({"a": 80, "b": 80})
    assert found["a"] >= 1024
    assert found["b"] > found["a"]
    assert free_ports({"a": 80}, own={80}) == {"a": 80}


def test_why_a_port_cannot_be_had() -> None:
    with socket.create_server(("", 0)) as busy:
        port = busy.getsockname()[1]
        assert hindered(port) == "taken"
    assert hindered(port) is None


def test_two_names_never_get_one_port() -> None:
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    found = free_ports({"a": port, "b": port, "c": port})
    assert len(set(found.values())) == 3


def test_a_port_that_is_given_away_or_about_to_be_left() -> None:
    with socket.create_server(("", 0)) as busy:
        port = busy.getsockname()[1]
        assert free_ports({"a": port}, own={port}) == {"a": port}
        assert free_ports({"a": port}, own={port}, taken={port})["a"] > port
    assert free_ports({"a": port}, taken={port})["a"] > port


def test_no_port_at_all() -> None:
    with socket.create_server(("", 65535)), pytest.raises(Unavailable, match="no free port for a"):
        free_ports({"a": 65535})


def test_what_is_not_there_of_a_session_is_named(tmp_path: Path) -> None:
    assert session({}).missing == (("ssh-agent", "SSH_AUTH_SOCK is not set"), ("x11", "DISPLAY is not set"))
    found = session({"SSH_AUTH_SOCK": "/no/agent", "DISPLAY": ":3.0", "HOME": "/no"}, str(tmp_path))
    assert (found.agent, found.display, found.socket, found.cookies) == (None, None, None, None)
    assert found.missing == (
        ("ssh-agent", "SSH_AUTH_SOCK names /no/agent, where none listens"),
        ("x11", f"DISPLAY is :3.0, and there is no {tmp_path}/X3"),
    )


def test_what_is_there_of_a_session(tmp_path: Path) -> None:
    (tmp_path / ".Xauthority").touch()
    (tmp_path / "other").touch()
    agent, display = tmp_path / "agent", tmp_path / "X0"
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(str(agent))
        two.bind(str(display))
        environ = {"SSH_AUTH_SOCK": str(agent), "DISPLAY": "unix:0.1", "HOME": str(tmp_path)}
        found = session(environ, str(tmp_path))
        assert found == Session("unix:0.1", str(display), f"{tmp_path}/.Xauthority", str(agent))
        assert session({**environ, "XAUTHORITY": f"{tmp_path}/other"}, str(tmp_path)).cookies == f"{tmp_path}/other"
        assert session({**environ, "DISPLAY": "far:10"}, str(tmp_path)).socket is None
        assert session({**environ, "DISPLAY": "far:10"}, str(tmp_path)).missing == ()
