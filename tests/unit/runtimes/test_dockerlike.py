"""A container in the words of docker and podman: what stands in them, and what never does."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from wardian.command import Command, Result
from wardian.errors import EngineFailed, SpecError
from wardian.plan.containers import Bind, Container, User
from wardian.runs.record import Record
from wardian.runs.supervise import Outcome
from wardian.runtimes.docker import Docker
from wardian.runtimes.dockerlike import CLIENTS, _Life, enter, exec_words, fitting, refuse, run_words
from wardian.runtimes.inside import Inside
from wardian.runtimes.owners import words
from wardian.runtimes.podman import Podman

ADA = User("host", 1000, 1000, "ada", "/home/ada")
DOCKER = Docker("unix:///var/run/docker.sock")
ENGINES: list[Docker | Podman] = [DOCKER, Podman(rootless=True, umask=0o022), Podman(rootless=False, umask=0o022)]


def container(*argv: str, **more: Any) -> Container:
    return Container("sha256:" + "a" * 64, argv or ("true",), more.pop("user", ADA), **more)


def said(engine: Docker | Podman, made: Container, binds: tuple[Bind, ...] = ()) -> Command:
    return run_words(engine, made, Inside(binds, (), None), "IMAGE", "wardian-1")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_program_comes_last_and_unchanged(engine: Docker | Podman) -> None:
    awkward = ("-e", "", "--", "a\nb", "$(id)", "--rm")
    command = said(engine, container("prog ram", *awkward))
    assert command.argv[-9:] == ("--entrypoint", "prog ram", "IMAGE", *awkward)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_named_like_a_secret_is_in_no_word(engine: Docker | Podman) -> None:
    env = {"A_TOKEN": "s3cret", "PLAIN": "x=y\nz", "SSH_AUTH_SOCK": "/run/agent"}
    command = said(engine, container(env=env, env_pass=("KEY", "OTHER")))
    assert "s3cret" not in " ".join(command.argv)
    assert command.env == {"A_TOKEN": "s3cret"}
    given = [after for word, after in zip(command.argv, command.argv[1:], strict=False) if word == "--env"]
    assert given == ["PLAIN=x=y\nz", "SSH_AUTH_SOCK=/run/agent", "A_TOKEN", "KEY", "OTHER"]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_more_is_asked_for_than_a_program_needs(engine: Docker | Podman) -> None:
    """The fault of a well-known development container: privileged, all capabilities, the host's password file."""
    line = " ".join(said(engine, container(binds=(Bind("/data", "/data"),)), (Bind("/data", "/data"),)).argv)
    for never in ("privileged", "cap-add", "/etc/shadow", "docker.sock", "--pid", "--ulimit", "--gpus", "--publish"):
        assert never not in line
    assert "--security-opt no-new-privileges" in line


def test_gpus_are_asked_for_only_where_there_are_any() -> None:
    assert "--device" not in said(DOCKER, container()).argv
    line = " ".join(said(DOCKER, container(gpus=("nvidia.com/gpu=0", "nvidia.com/gpu=1"))).argv)
    assert "--device nvidia.com/gpu=0 --device nvidia.com/gpu=1" in line


@pytest.mark.parametrize(
    ("engine", "user", "expected"),
    [
        (ENGINES[0], ADA, "--user 1000:1000"),
        (ENGINES[0], User("root", 0, 0, "root", "/root"), "--user 0:0"),
        (ENGINES[1], ADA, "--userns keep-id:uid=1000,gid=1000 --user 1000:1000"),
        (ENGINES[1], User("root", 0, 0, "root", "/root"), "--user 0:0"),
        (ENGINES[2], User("ids", 5, 6, "u5", "/home/u5"), "--user 5:6"),
    ],
)
def test_who_the_program_is(engine: Docker | Podman, user: User, expected: str) -> None:
    assert " ".join(engine.user(user)) == expected


def test_root_of_a_rootless_docker_is_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.runtimes.docker.rootless", lambda _: True)
    assert DOCKER.user(ADA) == ("--user", "0:0")
    assert DOCKER.user(User("ids", 5, 6, "u5", "/home/u5")) == ("--user", "5:6")
    assert DOCKER.archive_only()


@pytest.mark.parametrize("part", [{"env": {"A": "\udcff"}}, {"workdir": "/\udcff"}])
def test_what_json_cannot_carry_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="is not UTF-8, which is all that docker hands on"):
        refuse(DOCKER, container(**part))
    refuse(DOCKER, container("é日🦭"))


def test_a_value_that_json_cannot_carry_is_not_shown() -> None:
    """It may be a secret: which variable it is, is all that is said."""
    with pytest.raises(SpecError) as raised:
        refuse(DOCKER, container("\udcff", env={"A_TOKEN": "hunter2\udcff", "B": "ok"}))
    assert [str(fault) for fault in raised.value.faults] == [
        "argv[0]: '\\udcff' is not UTF-8, which is all that docker hands on (use --engine sandbox)",
        "environment 'A_TOKEN': its value is not UTF-8, which is all that docker hands on (use --engine sandbox)",
    ]


@pytest.mark.parametrize(
    ("us", "uid", "rootless", "ours"),
    [
        (1000, 1000, False, True),
        (1000, 0, False, False),  # what a daemon's root leaves in a folder, we could not remove
        (1000, 0, True, True),
        (1000, 5, True, False),
        (0, 5, False, True),
        (0, 0, False, True),
    ],
)
def test_whose_folders_a_docker_gets(
    us: int, uid: int, rootless: bool, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardian.runtimes.docker.os.getuid", lambda: us)
    monkeypatch.setattr("wardian.runtimes.docker.rootless", lambda _: rootless)
    assert DOCKER.owns(uid) is ours


def test_a_uid_that_is_too_large() -> None:
    large = dataclasses.replace(ADA, uid=2**32 - 2)
    with pytest.raises(EngineFailed, match="docker takes no uid above 2147483647"):
        fitting(DOCKER, container(user=large))
    assert fitting(ENGINES[1], container(user=large)).user.uid == 1000


def test_another_program_of_a_container_that_runs() -> None:
    record = Record("1-a", "", "", (), "/w", "host", "", "2026-01-01T00:00:00Z", container="wardian-1-a")
    command = enter(DOCKER, record, ("ls", "-e"), None, {"A_KEY": "s3", "B": "1"}, tty=True)
    expected = "docker exec --interactive --tty --workdir /w --env A_KEY --env B=1 wardian-1-a ls -e"
    assert " ".join(command.argv) == expected
    assert command.env == {"A_KEY": "s3"}


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_what_steers_the_client_stays_out_of_its_environment(name: str) -> None:
    command = exec_words("podman", "c", ("true",), workdir=None, env={name: "v", "X_KEY": "s3"}, tty=False)
    assert command.argv == ("podman", "exec", "--interactive", "--env", f"{name}=v", "--env", "X_KEY", "c", "true")
    assert command.env == {"X_KEY": "s3"}


class Told:
    """A host on which the engine answers as it is told to, and is asked nothing else."""

    def __init__(self, *answers: tuple[str, int, str]) -> None:
        self.answers = list(answers)

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        verb, code, text = self.answers.pop(0)
        assert command.argv[1] == verb, command
        return Result(command, code, text.encode(), text.encode())


def life(*answers: tuple[str, int, str]) -> tuple[_Life, Told]:
    host = Told(*answers)
    return _Life(DOCKER, host, "wardian-1"), host  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [0, 1, 124])
def test_a_plain_exit_code_is_the_programs(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.runtimes.dockerlike.unread", lambda _: False)
    one, _ = life()
    assert one.settle(Outcome(code)) == Outcome(code)
    assert one.over


@pytest.mark.parametrize(
    ("code", "events", "expected"),
    [
        (125, "create \nattach \nstart \ndie 125\ndestroy ", Outcome(125)),
        (137, "create \nstart \ndie 137", Outcome(137)),
        (1, "create \nstart \ndie 5", Outcome(5)),
    ],
)
def test_what_the_client_leaves_open_is_asked(
    code: int, events: str, expected: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardian.runtimes.dockerlike.unread", lambda _: code == 1)
    one, host = life(("events", 0, events))
    assert one.settle(Outcome(code)) == expected
    assert host.answers == []


@pytest.mark.parametrize("events", ["", "create \nattach \ndestroy "])
def test_a_container_that_never_started_is_removed(events: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.runtimes.dockerlike.unread", lambda _: False)
    one, host = life(("events", 0, events), ("rm", 0, ""))
    assert one.settle(Outcome(125)) == Outcome(125, started=False)
    assert host.answers == []


def test_a_container_whose_client_was_killed_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.runtimes.dockerlike.unread", lambda _: False)
    one, host = life(("events", 0, "start "), ("rm", 0, ""))
    assert one.settle(Outcome(137)) == Outcome(137)
    assert host.answers == []


def test_an_engine_that_died_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.runtimes.dockerlike.unread", lambda _: False)
    one, _ = life(("events", 1, "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"))
    with pytest.raises(EngineFailed, match="does not answer"):
        one.settle(Outcome(125))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("permission denied while trying to connect to the docker API at unix:///x", "may not use Docker", "usermod"),
        ("Cannot connect to the Docker daemon at unix:///x. Is it running?", "does not answer", "systemctl start"),
        (
            "docker: Error response from daemon: No such image: x\n\nRun 'docker run --help'",
            "docker: No such image",
            "",
        ),
        ("", "it said nothing", ""),
        (
            "unexpected EOF\n",
            "the connection to the Docker daemon at unix:///var/run/docker.sock broke",
            "systemctl start",
        ),
        ("Error response from daemon: Get http://127.0.0.1:5/v2/: EOF", "docker: Get http://127.0.0.1:5/v2/: EOF", ""),
    ],
)
def test_each_fault_of_docker_is_one_line(text: str, message: str, hint: str) -> None:
    fault = DOCKER.fault(text)
    assert message in fault.message
    assert "\n" not in fault.message
    assert hint in (fault.hint or "")


def test_podmans_missing_init_is_named() -> None:
    fault = ENGINES[1].fault("Error: container-init binary not found on the host: stat /usr/libexec/podman/catatonit")
    assert (fault.message, fault.hint) == (
        "podman's init is not on this machine",
        "type: sudo apt-get install catatonit",
    )


def test_only_what_others_changed_lately_is_given_back() -> None:
    line = " ".join(words(["/a b", "/c"], 12.3456, 1000, 100))
    assert line == "find /a b /c -xdev -newerct @12.346 ! -uid 1000 -exec chown -h 1000:100 {} +"


def test_find_and_chown_do_as_they_are_told(tmp_path: Path) -> None:
    """Real ones; as root on files of others, else on our own, where nothing is to be done."""
    import subprocess
    import time

    (tmp_path / "old").touch()
    since = time.time() + 0.01
    time.sleep(0.05)
    (tmp_path / "new").touch()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    root = os.getuid() == 0
    for name in ("new", "link") if root else ():
        os.chown(tmp_path / name, 4321, 4321, follow_symlinks=False)
    if root:
        os.utime(tmp_path / "new", (1, 1))
    subprocess.run(words([str(tmp_path)], since, os.getuid(), os.getgid()), check=True)
    assert {path.lstat().st_uid for path in tmp_path.iterdir()} == {os.getuid()}
    if root:
        os.chown(tmp_path / "old", 4321, 4321)
        later = time.time() + 1
        subprocess.run(words([str(tmp_path)], later, 0, 0), check=True)
        assert (tmp_path / "old").stat().st_uid == 4321, "not of this run"
