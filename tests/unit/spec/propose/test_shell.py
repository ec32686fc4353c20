"""RUN lines taken apart: what apt and pip are asked for, and what is left."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.propose.shell import split, step


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("a", ["a"]),
        ("a && b; c\nd", ["a", "b", "c", "d"]),
        ("a '&& b' && c \"; d\"", ["a '&& b'", 'c "; d"']),
        (r"a \; b \&\& c", [r"a \; b \&\& c"]),
        ("a 'it''s' && b", ["a 'it''s'", "b"]),
        ("a;;b", ["a", "b"]),
        ("", []),
        ("a || b", None),
        ("a | b", None),
        ("a & b", None),
        ("a $(b) && c", None),
        ("a `b` && c", None),
        ('a "$(b)" && c', None),
        ("if a; then b; fi", None),
        ("for i in 1; do a; done", None),
        ("a && (b; c)", None),
        ("f() { a; }", None),
        ("cat <<EOF", None),
        ("a 'open", None),
        ("a # comment", None),
        ("a '|' && b", ["a '|'", "b"]),
        ("a > x 2>&1 && b", None),
    ],
)
def test_split(line: str, parts: list[str] | None) -> None:
    assert split(line) == parts


WORDS = st.text("ab '\";&|$\\\n#(){}`<>*", max_size=6)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_quoted_words_are_never_split(commands: list[list[str]]) -> None:
    line = " && ".join(shlex.join(["x", *words]) for words in commands)
    parts = split(line)
    assert parts is None or [shlex.split(part) for part in parts] == [["x", *words] for words in commands]


@pytest.mark.parametrize(
    "line", ["printf '%s|' a 'b && c'; printf '%s|' d\\;e && printf '%s|' \"f;g\"", "printf '1|'\nprintf '2|'"]
)
def test_the_parts_do_what_the_line_does(line: str) -> None:
    def run(script: str) -> bytes:
        return subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout

    assert run(line) == b"".join(run(part) for part in split(line) or [])


@pytest.mark.parametrize(
    ("line", "apt", "run", "left"),
    [
        ("apt-get update && apt-get install -y git cmake && rm -rf /var/lib/apt/lists/*", ["git", "cmake"], None, []),
        ("apt-get update && apt-get -y install --no-install-recommends git=1:2.3", ["git=1:2.3"], None, []),
        ("DEBIAN_FRONTEND=noninteractive apt install -o A=b -t bookworm-backports git", ["git"], None, []),
        ("sudo apt-get install git", ["git"], None, []),
        ("set -eux; apt-get update; apt-get install git; echo done", ["git"], "set -eux && echo done", []),
        ("set -e; apt-get update", [], None, []),
        ("apt-get install $PACKAGES", [], None, ["apt-get install $PACKAGES"]),
        ("apt-get install ./x.deb", [], None, ["apt-get install ./x.deb"]),
        ("apt-get upgrade -y", [], None, ["apt-get upgrade -y"]),
        ("apt-get clean && apt-get autoremove -y", [], None, []),
        ("rm -rf /x && apt-get clean", [], "rm -rf /x", []),
        ("cd /x && apt-get install git", [], "cd /x && apt-get install git", []),
        ("apt-get install git || true", [], "apt-get install git || true", []),
        ("make && make install", [], "make && make install", []),
    ],
)
def test_apt(line: str, apt: list[str], run: str | None, left: list[str]) -> None:
    found = step(line)
    assert (found.apt, found.run, found.left) == (apt, [run] if run else [], left)


@pytest.mark.parametrize(
    ("line", "requirements"),
    [
        ("pip install torch", ["torch"]),
        ("pip3 install --no-cache-dir -U 'torch>=2,<3' numpy==1.26", ["torch>=2,<3", "numpy==1.26"]),
        ("python -m pip install torch", ["torch"]),
        ("python3 -m pip install --upgrade pip setuptools wheel", ["setuptools"]),
        ("uv pip install --system torch", ["torch"]),
        (
            "pip install 'x @ https://example.org/x-1-py3-none-any.whl'",
            ["x @ https://example.org/x-1-py3-none-any.whl"],
        ),
        ("pip install -q -f https://x.org/l torch", ["torch"]),
        ("pip install --timeout=3 torch", ["torch"]),
    ],
)
def test_pip(line: str, requirements: list[str]) -> None:
    found = step(line)
    assert found.requirements == requirements
    assert found.run == []


def test_pip_with_files_indexes_and_the_project() -> None:
    found = step(
        "pip install -r a.txt --requirement ./b.txt -i https://x --extra-index-url=https://y -e .[dev,test] -c c.txt"
    )
    assert found.files == ["a.txt", "b.txt"]
    assert found.index == ["https://x", "https://y"]
    assert (found.project, found.extras) == ("editable", ["", "dev", "test"])
    assert found.left == ["pip install -c c.txt"]
    assert step("pip install .").project == "wheel"
    assert step("pip install ./[x]").extras == ["", "x"]
    assert step("pip install ./x").project is None


@pytest.mark.parametrize(
    "line",
    [
        "pip install $X",
        "pip install git+https://x/y",
        "pip install ../other",
        "pip install ./x.whl",
        "pip install -r /x",
        "pip install -e",
        "pip install --requirement=",
    ],
)
def test_what_pip_cannot_be_asked_here_is_said(line: str) -> None:
    found = step(f"{line} && echo on")
    assert (found.requirements, found.left, found.run) == ([], [line], ["echo on"])


def test_uv_installs_what_pyproject_says() -> None:
    found = step("uv sync --locked --extra gpu --no-dev && uv run x")
    assert (found.extras, found.run, found.left) == (["gpu"], ["uv run x"], [])


def test_paths_of_the_image_are_those_of_the_project() -> None:
    known = {"/tmp/r.txt": "requirements.txt", "/app": ".", "r.txt": "docker/r.txt"}
    found = step("pip install -r /tmp/r.txt -r r.txt && pip install /app[gpu] && pip install /srv", known.get)
    assert (found.files, found.project, found.extras) == (["requirements.txt", "docker/r.txt"], "wheel", ["", "gpu"])
    assert found.left == ["pip install /srv"]


@given(st.text("apt-geinslpy .[]&;|$'\"\\\n", max_size=40))
def test_any_line_is_taken_apart(line: str) -> None:
    step(line)
    step(f"apt-get install {line}")
    step(f"pip install {line}")
