"""A dev container's words; the dev container CLI reads them in tests/integration."""

from typing import Any

import pytest

from wardian.plan.containers import Bind
from wardian.plan.devcontainer import Opened, files, local
from wardian.spec.models import Run

PLAIN = {
    "name": "demo",
    "workspaceMount": "type=bind,source=${localWorkspaceFolder},target=/workspace",
    "workspaceFolder": "/workspace",
    "init": True,
    "overrideCommand": True,
    "containerEnv": {"PYTHONNOUSERSITE": "1"},
}


def body(run: Run, **fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"interpreter": None, "binds": (), "env": {}, **fields}
    made = files(Opened("demo", "demo/dev:latest", "/workspace", **known), run)
    found: dict[str, Any] = made["devcontainer.json"]
    return found | ({"Dockerfile": made["Dockerfile"]} if "Dockerfile" in made else {})


def test_the_caller_is_a_user_whose_ids_the_editor_changes() -> None:
    made = body(Run(gpus="none"))
    assert "FROM demo/dev:latest\nRUN useradd --create-home" in made.pop("Dockerfile")
    assert made == PLAIN | {"build": {"dockerfile": "Dockerfile"}, "remoteUser": "dev", "updateRemoteUserUID": True}


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("root", {"remoteUser": "root"}),
        ("12:34", {"containerUser": "12:34", "updateRemoteUserUID": False}),
    ],
)
def test_other_users_need_no_build(user: str, said: dict[str, Any]) -> None:
    assert body(Run(gpus="none", user=user)) == PLAIN | said | {"image": "demo/dev:latest"}


@pytest.mark.parametrize(("gpus", "gpu"), [("auto", "optional"), ("all", True), ("2", True)])
def test_a_gpu_is_needed_only_when_it_is_asked_for(gpus: str, gpu: object) -> None:
    assert body(Run(gpus=gpus))["hostRequirements"] == {"gpu": gpu}


def test_what_run_says() -> None:
    run = Run(shm=2**30, env_pass=("KEY",), ports={"board": 6006}, env={"A": "x"})
    made = body(
        run,
        interpreter="/opt/env/bin/python",
        binds=[Bind("${localWorkspaceFolder}/a,b", "/d", read_only=True)],
        env={"A": "${A:-1}"},
    )
    assert made["runArgs"] == ["--shm-size=1073741824"]
    assert made["remoteEnv"] == {"KEY": "${localEnv:KEY}"}
    assert made["containerEnv"]["A"] == "${localEnv:A:1}"
    assert made["forwardPorts"] == [6006]
    assert made["portsAttributes"] == {"6006": {"label": "board"}}
    assert made["mounts"] == ['type=bind,"source=${localWorkspaceFolder}/a,b",target=/d,readonly']
    assert made["customizations"]["vscode"]["settings"] == {"python.defaultInterpreterPath": "/opt/env/bin/python"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("a", "a"),
        ("$$x $y", "$x $y"),
        ("${A}", "${localEnv:A}"),
        ("${A-b}", "${localEnv:A:b}"),
        ("${A:-}", "${localEnv:A:}"),
    ],
)
def test_variables_are_the_machines(written: str, said: str) -> None:
    assert local(written) == said
