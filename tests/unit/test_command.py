"""A command is one vector: what is pasted into a shell is what runs; a failed one is told with its last words."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.command import SECRET, Ask, Command, Result
from wardian.errors import CommandFailed

WORDS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(WORDS, max_size=4), WORDS)
def test_a_shell_reads_the_same_vector(words: list[str], value: str) -> None:
    vector = ("sh", "-c", 'printf "%s\\0" "$A" "$PWD" "$@"', "sh", *words)
    line = str(Command(vector, env={"A": value}, cwd="/usr"))
    said = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert said.decode() == "".join(f"{word}\0" for word in (value, "/usr", *words))


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), st.just("hunter2"), max_size=5))
def test_no_secret_is_shown(variables: dict[str, str]) -> None:
    """By its own name, and as it travels into a sandbox."""
    carried = {f"W_{at}": f"{name}={value}" for at, (name, value) in enumerate(variables.items())}
    for env in (variables, carried):
        said = str(Command(("true",), env=env).shown())
        plain = [name for name in variables if not SECRET.search(name)]
        assert said.count("hunter2") == len(plain)
        assert said.count("***") == len(variables) - len(plain)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("https://me:hunter2@index.example/simple", "https://me:***@index.example/simple"),
        ("--index-url=http://u:p%40x@h:8080/a", "--index-url=http://u:***@h:8080/a"),
        ("https://:token@h", "https://:***@h"),
        ("http://a:b@h https://c:d@i", "http://a:***@h https://c:***@i"),
        ("https://me@index.example:8080/simple", "https://me@index.example:8080/simple"),
        ("https://index.example/a:b@c", "https://index.example/a:b@c"),
        ("a:b@c", "a:b@c"),
    ],
)
def test_no_password_of_an_address_is_shown(word: str, shown: str) -> None:
    command = Command(("pip", word), env={"INDEX": word, "W_1": f"INDEX={word}"})
    assert command.shown() == Command(("pip", shown), env={"INDEX": shown, "W_1": f"INDEX={shown}"})


def test_a_plain_command_is_written_plainly() -> None:
    assert str(Command(("ls", "-l"))) == "ls -l"
    assert str(Command(("ls",), cwd="a b")) == "(cd 'a b' && ls)"


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        (b"", b"", "uv exited with 2: "),
        (b"out", b"", "uv exited with 2: out"),
        (b"out", b"one\ntwo\n", "uv exited with 2: one | two"),
        (b"", b"\xff", "uv exited with 2: �"),
        (b"", b"\n".join(b"%d" % at for at in range(9)), "uv exited with 2: 3 | 4 | 5 | 6 | 7 | 8"),
    ],
)
def test_a_failed_command_is_told_with_its_last_lines(stdout: bytes, stderr: bytes, said: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        Result(Command(("/usr/bin/uv", "lock")), 2, stdout, stderr).check()
    assert (caught.value.message, caught.value.code) == (said, 2)


def test_a_command_that_did_what_it_should_is_its_own_answer() -> None:
    question = Ask(Command(("id", "-u")), lambda result: int(result.check().stdout))
    assert question.read(Result(question.command, 0, b"7\n")) == 7
