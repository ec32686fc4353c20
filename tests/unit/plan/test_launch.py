"""An image's config, [run] and flags become one container."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.plan.containers import Bind, Container
from wardian.plan.launch import (
    PATH,
    Caller,
    Machine,
    Wishes,
    arguments,
    container,
    identity,
    mount,
    port_variable,
    setting,
)
from wardian.spec.models import Mount, Run

ANNA = Caller(1234, 5678, "anna", "/home/anna")
ROOT = Caller(0, 0, "root", "/root")


def plan(
    config: Mapping[str, Any] = {},
    run: Run | None = None,
    mounts: Mapping[str, Mount] = {},
    caller: Caller = ANNA,
    machine: Mapping[str, Any] = {},
    **wishes: Any,
) -> Container:
    wanted = Wishes(**{"argv": ("true",), **wishes})
    return container(
        "sha256:1", config, run or Run(), mounts=mounts, wishes=wanted, machine=Machine(caller, "/proj", **machine)
    )


def test_an_empty_config_gets_what_every_program_expects() -> None:
    made = plan()
    assert made.argv == ("true",)
    session = {"PATH": PATH, "HOME": "/home/anna", "USER": "anna", "PYTHONNOUSERSITE": "1"}
    assert made.env == session | {"WARDIAN_IMAGE": made.image}
    assert (made.workdir, made.binds, made.network, made.tty) == ("/", (), True, False)


def test_a_run_is_told_of_services_unless_it_says_otherwise() -> None:
    services = {"WARDIAN_SERVICE_QA_PORT": "1", "WARDIAN_SERVICE_QA_HOST": "h"}
    made = plan({}, Run(env={"WARDIAN_SERVICE_QA_PORT": "2"}), machine={"services": services})
    assert (made.env["WARDIAN_SERVICE_QA_PORT"], made.env["WARDIAN_SERVICE_QA_HOST"]) == ("2", "h")


def test_values_come_from_the_image_then_run_then_ports_then_flags() -> None:
    config = {"Env": ["A=image", "B=image", "C=image", "D=image", "EMPTY=", "EQ=a=b", "broken"]}
    run = Run(env={"B": "run", "C": "run", "WARDIAN_PORT_TB": "run", "D": "run"}, ports={"tb": 6006})
    made = plan(config, run, env={"C": "flag"}, machine={"ports": {"tb": 6007}})
    assert {name: made.env[name] for name in "ABCD"} == {"A": "image", "B": "run", "C": "flag", "D": "run"}
    assert (made.env["EMPTY"], made.env["EQ"], made.env["WARDIAN_PORT_TB"]) == ("", "a=b", "6007")
    assert "broken" not in made.env


def test_home_is_the_users_whatever_the_image_says_but_a_flag_wins() -> None:
    assert plan({"Env": ["HOME=/image", "USER=image"]}).env["HOME"] == "/home/anna"
    assert plan(env={"HOME": "/else"}).env["HOME"] == "/else"


def test_term_is_handed_on_with_a_terminal_alone() -> None:
    assert plan(tty=True, machine={"term": "screen"}).env["TERM"] == "screen"
    assert plan(tty=True).env["TERM"] == "xterm"
    assert "TERM" not in plan(machine={"term": "screen"}).env


@pytest.mark.parametrize(
    ("config", "argv", "entrypoint", "expected"),
    [
        ({}, ("a", "b"), True, ("a", "b")),
        ({"Cmd": ["c"]}, (), True, ("c",)),
        ({"Cmd": ["c"]}, ("a",), True, ("a",)),
        ({"Entrypoint": ["e", "f"], "Cmd": ["c"]}, (), True, ("e", "f", "c")),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, ("a",), True, ("e", "a")),
        ({"Entrypoint": ["e"]}, (), True, ("e",)),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, ("a",), False, ("a",)),
        ({"Entrypoint": None, "Cmd": None}, ("",), True, ("",)),
    ],
)
def test_entrypoint_and_command_join_as_docker_joins_them(
    config: Mapping[str, Any], argv: tuple[str, ...], entrypoint: bool, expected: tuple[str, ...]
) -> None:
    assert arguments(config, argv, entrypoint=entrypoint) == expected


def test_an_image_without_a_command_says_what_to_type() -> None:
    with pytest.raises(SpecError, match="names no command") as caught:
        plan({"Entrypoint": []}, argv=())
    assert "wardian run --" in str(caught.value.hint)


def test_the_project_is_bound_where_the_image_works() -> None:
    made = plan({"WorkingDir": "/code"}, project="/proj")
    assert (made.workdir, made.binds) == ("/code", (Bind("/proj", "/code"),))
    made = plan(project="/proj")
    assert (made.workdir, made.binds) == ("/workspace", (Bind("/proj", "/workspace"),))
    made = plan({"WorkingDir": "/code"})
    assert (made.workdir, made.binds) == ("/code", ())
    made = plan(project="/proj", workdir="/workspace/sub")
    assert (made.workdir, made.binds) == ("/workspace/sub", (Bind("/proj", "/workspace"),))


def test_mounts_of_the_file_are_relative_to_it_and_flags_win() -> None:
    mounts = {
        "data": Mount(source="../data", target="/data/", read_only=True),
        "home": Mount(source="~/models", target="/models"),
        "off": Mount(source="/x", target="/off", enabled=False),
        "over": Mount(source="/file", target="/over"),
    }
    wanted = Wishes(argv=("true",), mounts=(Bind("/flag", "/over"), Bind("rel", "/rel")))
    made = container("sha256:1", {}, Run(), mounts=mounts, wishes=wanted, machine=Machine(ANNA, "/proj/x"))
    assert {bind.target: (bind.source, bind.read_only) for bind in made.binds} == {
        "/data": ("/proj/data", True),
        "/models": ("/home/anna/models", False),
        "/over": ("/flag", False),
        "/rel": ("/proj/x/rel", False),
    }


def test_the_project_is_bound_where_an_editable_link_leads_too() -> None:
    labels = {"Labels": {"dev.wardian.editable": "/workspace"}}
    made = plan({"WorkingDir": "/code", **labels}, project="/proj")
    assert made.binds == (Bind("/proj", "/code"), Bind("/proj", "/workspace"))
    assert plan({"WorkingDir": "/workspace", **labels}, project="/proj").binds == (Bind("/proj", "/workspace"),)
    assert plan({"WorkingDir": "/code", **labels}).binds == ()


def test_names_to_hand_on_come_from_both_places_once() -> None:
    made = plan(run=Run(env_pass=("A", "B")), env_pass=("B", "C"))
    assert made.env_pass == ("A", "B", "C")


def test_flags_replace_what_run_says() -> None:
    run = Run(shm=1024, user="root")
    assert (plan(run=run).shm, plan(run=run).user.uid) == (1024, 0)
    made = plan(run=run, shm=2048, user="host", network=False, read_only=True)
    assert (made.shm, made.user.uid, made.network, made.read_only) == (2048, 1234, False, True)


@pytest.mark.parametrize(
    ("mode", "caller", "expected"),
    [
        ("host", ANNA, (1234, 5678, "anna", "/home/anna")),
        ("host", ROOT, (0, 0, "root", "/root")),
        ("root", ANNA, (0, 0, "root", "/root")),
        ("7:8", ANNA, (7, 8, "u7", "/home/u7")),
        ("0:5", ANNA, (0, 5, "root", "/root")),
        ("4294967294:4294967294", ANNA, (4294967294, 4294967294, "u4294967294", "/home/u4294967294")),
    ],
)
def test_who_the_program_is(mode: str, caller: Caller, expected: tuple[int, int, str, str]) -> None:
    user = identity(mode, caller)
    assert (user.uid, user.gid, user.name, user.home) == expected


@pytest.mark.parametrize("mode", ["", "me", "1", "1:", ":1", "-1:0", "1:2:3", "4294967295:0", "0x1:0", "1:4294967296"])
def test_what_is_no_user_is_refused(mode: str) -> None:
    with pytest.raises(SpecError, match="host, root, UID:GID"):
        identity(mode, ANNA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a:/b", Bind("/a", "/b")),
        ("/a:/b:ro", Bind("/a", "/b", read_only=True)),
        ("/a:/b:rw", Bind("/a", "/b")),
        ("/a:c:/b/../d/", Bind("/a:c", "/d")),
        ("rel ative:/b", Bind("rel ative", "/b")),
        ("/ro:/ro", Bind("/ro", "/ro")),
    ],
)
def test_a_typed_mount(text: str, expected: Bind) -> None:
    assert mount(text) == expected


@pytest.mark.parametrize("text", ["", "/a", "/a:", ":/b", "/a:b", "/a:b:ro", "ro", ":ro", "/a:/b:rx"])
def test_a_mount_that_is_none(text: str) -> None:
    with pytest.raises(SpecError, match="SOURCE:TARGET"):
        mount(text)


def test_settings() -> None:
    assert setting("A=b=c\n") == ("A", "b=c\n")
    assert setting("A=") == ("A", "")
    with pytest.raises(SpecError) as caught:
        setting("WANDB_API_KEY")
    assert "--env-pass WANDB_API_KEY" in str(caught.value.faults[0].hint)
    for text in ("=x", "1A=x", "A B=x", "é=x"):
        with pytest.raises(SpecError):
            setting(text)


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True), st.text())
def test_any_value_can_be_set(name: str, value: str) -> None:
    assert setting(f"{name}={value}") == (name, value)


def test_a_value_is_not_in_the_error_about_it() -> None:
    with pytest.raises(SpecError) as caught:
        setting("BAD NAME=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("name", "variable"), [("tb", "TB"), ("a.b-c_d", "A_B_C_D"), ("8888", "8888")])
def test_port_variables(name: str, variable: str) -> None:
    assert port_variable(name) == f"WARDIAN_PORT_{variable}"
