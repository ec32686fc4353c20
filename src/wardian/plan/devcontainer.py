"""``[run]`` and the enabled mounts → a dev container that editors open.

Source: the Development Containers specification, https://containers.dev/implementors/json_reference/
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardian.plan.binds import docker_mount
from wardian.plan.compose import DEFAULT_SHM
from wardian.plan.containers import Bind
from wardian.spec.models import Run

FOLDER = "${localWorkspaceFolder}"
NAME = "dev"  # who one is in it; the editor gives it the ids of whoever opens it
UID = 54321  # until then: one that no base image gives away
VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^{}$]*))?\}")
DOCKERFILE = """\
# Written by `wardian render devcontainer`: {image}, and a user for the editor to be.
FROM {image}
RUN useradd --create-home --shell /bin/sh --uid {uid} {name}
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a dev container is made of, beside ``[run]``."""

    name: str
    image: str
    workdir: str
    interpreter: str | None  # the image's Python
    binds: Sequence[Bind]  # sources are absolute, or begin with FOLDER
    env: Mapping[str, str]  # as the file has it, variables not filled in


def files(opened: Opened, run: Run) -> dict[str, Any]:
    """devcontainer.json as data and, when its user is whoever opens it, the Dockerfile beside it as text."""
    body: dict[str, Any] = {"name": opened.name}
    found: dict[str, Any] = {}
    if run.user == "host":
        body |= {"build": {"dockerfile": "Dockerfile"}, "remoteUser": NAME, "updateRemoteUserUID": True}
        found["Dockerfile"] = DOCKERFILE.format(image=opened.image, uid=UID, name=NAME)
    elif run.user == "root":
        body |= {"image": opened.image, "remoteUser": "root"}
    else:
        body |= {"image": opened.image, "containerUser": run.user, "updateRemoteUserUID": False}
    body |= {
        "workspaceMount": f"type=bind,source={FOLDER},target={opened.workdir}",
        "workspaceFolder": opened.workdir,
        "init": True,
        "overrideCommand": True,
    }
    if opened.binds:
        body["mounts"] = [docker_mount(bind) for bind in opened.binds]
    if run.shm != DEFAULT_SHM:
        body["runArgs"] = [f"--shm-size={run.shm}"]
    if run.gpus != "none":
        body["hostRequirements"] = {"gpu": "optional" if run.gpus == "auto" else True}
    body["containerEnv"] = {"PYTHONNOUSERSITE": "1"} | {name: local(value) for name, value in opened.env.items()}
    if run.env_pass:
        body["remoteEnv"] = {name: f"${{localEnv:{name}}}" for name in run.env_pass}
    if run.ports:
        body["forwardPorts"] = list(run.ports.values())
        body["portsAttributes"] = {str(port): {"label": name} for name, port in run.ports.items()}
    if opened.interpreter:
        settings = {"python.defaultInterpreterPath": opened.interpreter}
        body["customizations"] = {"vscode": {"extensions": ["ms-python.python"], "settings": settings}}
    return {"devcontainer.json": body, **found}


def local(text: str) -> str:
    """A text of wardian.toml with its variables as a dev container has them.

    >>> local("${HOME}/x ${WANDB_MODE:-offline} $$1")
    '${localEnv:HOME}/x ${localEnv:WANDB_MODE:offline} $1'
    """

    def variable(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        return f"${{localEnv:{found[1]}{'' if found[2] is None else ':' + found[2]}}}"

    return VARIABLE.sub(variable, text)
