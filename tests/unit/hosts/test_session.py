"""What is known of the caller, and which ports are free."""

import os
import pwd
import socket

import pytest

from wardian.errors import Unavailable
from wardian.hosts.session import caller, free_ports


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


def test_two_names_never_get_one_port() -> None:
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    found = free_ports({"a": port, "b": port, "c": port})
    assert len(set(found.values())) == 3


def test_no_port_at_all() -> None:
    with socket.create_server(("", 65535)), pytest.raises(Unavailable, match="no free port for a"):
        free_ports({"a": 65535})
