"""What an engine is told to build, and how it says that it cannot."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from wardian.builders.base import Beneath, Site
from wardian.builders.buildah import Buildah
from wardian.builders.buildkit import BuildKit
from wardian.builders.instruction import Build, Engine, _hosts, dockerfile, prepared, require
from wardian.builders.steps import Step
from wardian.command import Command, Result
from wardian.errors import Unavailable
from wardian.plan.containers import Bind

BENEATH = Beneath((), {}, "train", "linux/arm64/v8")
STEP = Step("image train, run 1", ("sh", "-ec", "echo '#'\n<<EOF \\"), {"PATH": "/bin", "TOKEN": "it's $secret"})


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def build(tmp_path: Path, step: Step = STEP) -> Build:
    return prepared(step, BENEATH, tmp_path, "wardian-step:1")


def test_nothing_of_the_step_is_in_the_dockerfile_or_the_words(tmp_path: Path) -> None:
    made = build(tmp_path)
    for engine in (BuildKit(), Buildah()):
        said = dockerfile("below:1", STEP, made) + shlex.join(engine.build(made))
        assert "secret" not in said.replace("--secret", "").replace("type=secret", "")
        assert "EOF" not in said
    assert "# syntax" not in dockerfile("below:1", STEP, made)
    assert dockerfile("below:1", STEP, made).count("\n") == 2


def test_the_program_gets_its_words_and_its_environment_exactly(tmp_path: Path) -> None:
    step = Step(
        "a",
        ("sh", "-c", 'printf "%s|" "$TOKEN" "$@"; umask', "sh", "a b", "", "ü\n'"),
        {**STEP.env, "PATH": "/usr/bin:/bin", "a.b": "what a base may have, and no shell takes", "-i": ""},
    )
    made = build(tmp_path, step)
    program = (made.context / "run").read_text().replace("/run/wardian/environment", str(made.secret))

    said = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True, env={"TERM": "x"})

    assert said.stdout == "it's $secret|a b||ü\n'|0022\n"


def test_the_environment_is_nobody_elses_to_read(tmp_path: Path) -> None:
    assert build(tmp_path).secret.stat().st_mode & 0o777 == 0o600


def test_folders_are_contexts_and_files_are_copied(tmp_path: Path) -> None:
    folder = tmp_path / "debs"
    folder.mkdir()
    binds = (
        Bind("/etc/hosts", "/etc/hosts", read_only=True),
        Bind(str(folder), "/run/wardian/debs", read_only=True),
        Bind(str(write(tmp_path / "policy", "exit 101")), "/usr/sbin/policy-rc.d", read_only=True),
    )
    step = Step("a", ("true",), {"PATH": "/bin"}, binds=binds)
    made = build(tmp_path, step)

    assert made.contexts == {"bind0": str(folder)}
    assert (made.context / "bind1").read_text() == "exit 101"
    said = dockerfile("below:1", step, made)
    assert "--mount=type=bind,from=bind0,target=/run/wardian/debs,readonly" in said
    assert "--mount=type=bind,source=bind1,target=/usr/sbin/policy-rc.d,readonly" in said
    assert "target=/etc/hosts" not in said


def test_a_step_without_network_gets_none(tmp_path: Path) -> None:
    made = build(tmp_path)
    assert made.network == "none"
    for engine in (BuildKit(), Buildah()):
        assert "--network=none" in engine.build(made)
        assert "--platform=linux/arm64/v8" in engine.build(made)


def test_no_path_of_ours_is_in_the_words(tmp_path: Path) -> None:
    made = build(tmp_path)
    for engine in (BuildKit(), Buildah()):
        assert str(tmp_path) not in shlex.join(engine.build(made))


def test_names_that_this_machine_knows_are_handed_on() -> None:
    text = "127.0.0.1 localhost\n::1 ip6-localhost\nff02::1 ip6-allnodes\n10.1.2.3 pypi.lab mirror # ours\n\n#x\n"
    assert _hosts(text) == ("pypi.lab:10.1.2.3", "mirror:10.1.2.3")


def test_only_the_steps_own_lines_are_told() -> None:
    assert BuildKit().line("#7 12.345 Setting up tree") == "Setting up tree"
    assert BuildKit().line("#7 DONE 0.3s") is None
    assert BuildKit().line("ERROR: failed to solve") is None
    assert Buildah().line("Setting up tree") == "Setting up tree"
    assert Buildah().line("STEP 2/2: RUN x") is None


class Answers:
    """A host whose programs answer as told."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        self.answers = answers

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        code, said = self.answers[shlex.join(command.argv)]
        return Result(command, code, b"", said.encode())

    def stream(self, command: Command, *, line: Callable[[str], None], timeout: float | None = None) -> Result:
        raise AssertionError(command)

    def pipe(self, command: Command, *, stdout: BinaryIO) -> Result:
        raise AssertionError(command)


DOCKER = "docker version --format '{{.Server.Version}}'"


@pytest.mark.parametrize(
    ("engine", "answers", "message", "hint"),
    [
        (
            BuildKit(),
            {"docker buildx version": (1, "docker: unknown command: docker buildx")},
            "unknown command: docker buildx",
            "apt-get install docker-buildx",
        ),
        (
            BuildKit(),
            {"docker buildx version": (0, ""), DOCKER: (1, "Cannot connect to the Docker daemon at unix:///x.")},
            "Cannot connect to the Docker daemon",
            "systemctl start docker",
        ),
        (
            BuildKit(),
            {"docker buildx version": (0, ""), DOCKER: (1, "permission denied while trying to connect")},
            "permission denied",
            "usermod -aG docker",
        ),
        (
            Buildah(),
            {
                "podman version --format '{{.Client.Version}}'": (0, "4"),
                "podman info": (125, "Error: no subuid ranges"),
            },
            "no subuid ranges",
            "--engine sandbox",
        ),
    ],
)
def test_an_engine_that_cannot_build_says_why(
    engine: Engine, answers: dict[str, tuple[int, str]], message: str, hint: str
) -> None:
    site = Site(None, Answers(answers), None, None, None, 7, Path())  # type: ignore[arg-type]

    with pytest.raises(Unavailable, match=message) as refused:
        require(engine, site)

    assert hint in (refused.value.hint or "")
