"""What is wrong with a program before it starts: a shell's words and codes, and nothing that could hang."""

import os
from pathlib import Path

import pytest

from wardian.runtimes.base import Missing
from wardian.runtimes.program import UNKNOWN, missing, on_host
from wardian.store.listing import Seen

IMAGE = {
    "/bin/sh": Seen("file", 0o755),
    "/bin/plain": Seen("file", 0o644),
    "/bin/script": Seen("file", 0o755, "/bin/sh"),
    "/bin/lost": Seen("file", 0o755, "/opt/python"),
    "/bin/device": Seen("char", 0o666),
    "/usr/bin": Seen("dir", 0o755),
    "/usr/bin/plain": Seen("file", 0o755),
    "/work/tool": Seen("file", 0o755),
    "/work/run": UNKNOWN,
}


def found(*argv: str, path: str = "/bin:/usr/bin", workdir: str = "/work") -> Missing | None:
    return missing(argv, {"PATH": path}, workdir, IMAGE.get)


@pytest.mark.parametrize("program", ["sh", "/bin/sh", "script", "plain", "device", "/bin/device"])
def test_what_can_be_started_or_cannot_be_told(program: str) -> None:
    assert found(program) is None


def test_the_workdir_is_where_a_name_with_a_slash_starts() -> None:
    assert found("./tool") == Missing("./tool: command not found in the image", 127), "paths are asked for as they are"
    assert missing(("./tool",), {}, "/work", lambda path: IMAGE.get(path.replace("/./", "/"))) is None
    assert found("run", path="/work") is None


@pytest.mark.parametrize(
    ("program", "code", "why"),
    [
        ("", 127, "the program's name is empty: command not found"),
        ("nothing", 127, "nothing: command not found in the image"),
        ("/bin/nothing", 127, "/bin/nothing: command not found in the image"),
        ("./nothing", 127, "./nothing: command not found in the image"),
        ("/bin/plain", 126, "/bin/plain: not executable"),
        ("/usr/bin", 126, "/usr/bin: is a directory"),
        ("lost", 127, "lost: its interpreter /opt/python is not in the image"),
    ],
)
def test_what_cannot_be_started(program: str, code: int, why: str) -> None:
    assert found(program) == Missing(why, code)


def test_a_file_that_is_not_executable_is_passed_over_on_the_path_and_named_at_its_end() -> None:
    assert found("plain", path="/bin") == Missing("plain: not executable", 126)
    assert found("plain", path="/bin:/nowhere") == Missing("plain: not executable", 126)


def test_an_empty_or_relative_part_of_the_path_starts_at_the_workdir() -> None:
    assert found("work/tool", workdir="") is None
    asked: list[str] = []

    def look(path: str) -> None:
        asked.append(path)

    missing(("tool",), {"PATH": ":rel:/bin"}, "/work", look)
    assert asked == ["/work//tool", "/work/rel/tool", "/bin/tool"]


def test_the_files_of_this_machine(tmp_path: Path) -> None:
    script, plain = tmp_path / "script", tmp_path / "plain"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o750)
    plain.write_text("#!/bin/sh\n")
    plain.chmod(0o640)
    (tmp_path / "link").symlink_to("script")
    (tmp_path / "dangling").symlink_to("nothing")
    assert on_host(script) == on_host(tmp_path / "link") == Seen("file", 0o750, "/bin/sh")
    assert on_host(plain) == Seen("file", 0o640)
    assert on_host(tmp_path) == Seen("dir", tmp_path.stat().st_mode & 0o7777)
    assert on_host(tmp_path / "nothing") is None


def test_what_cannot_be_read_is_unknown_and_nothing_is_waited_for(tmp_path: Path) -> None:
    """A FIFO in a mounted folder, as the program or at a target: opening it would wait for who writes."""
    os.mkfifo(tmp_path / "pipe", 0o755)
    (tmp_path / "dangling").symlink_to("nothing")
    assert on_host(tmp_path / "pipe") == UNKNOWN
    assert on_host(tmp_path / "dangling") == UNKNOWN
    assert on_host(Path("/dev/null")) == UNKNOWN
