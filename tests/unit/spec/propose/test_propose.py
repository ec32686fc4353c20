"""Whatever a folder has, the proposal loads."""

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.load import Source, load
from wardian.spec.matrix import expand
from wardian.spec.propose import propose
from wardian.spec.propose.draft import Draft, sound, written


def proposed(**files: str) -> dict[str, Any]:
    names = {
        "pyproject": "pyproject.toml",
        "docker": "Dockerfile",
        "conda": "environment.yml",
        "pin": ".python-version",
        "compose": "compose.yaml",
    }
    text = propose({names.get(name, name): content for name, content in files.items()}, name="x").text
    expand(load([Source("wardian.toml", text)]).spec)
    return tomllib.loads(text)


PYPROJECT = '[project]\nname = "My.Lib"\nrequires-python = "{}"\n'


@pytest.mark.parametrize(
    ("requires", "base", "python"),
    [
        (">=3.9", "bootstrap:debian:bookworm", "3.11"),
        ("==3.11.*", "bootstrap:debian:bookworm", "3.11"),
        (">=3.12", "bootstrap:debian:trixie", "3.13"),
        (">=3.12,<3.13", "python:3.12-slim-bookworm", "3.12"),
        ("~=3.10.0", "python:3.10-slim-bookworm", "3.10"),
        ("<3", "bootstrap:debian:bookworm", "3.11"),
        ("nonsense", "bootstrap:debian:bookworm", "3.11"),
        ("", "bootstrap:debian:bookworm", "3.11"),
    ],
)
def test_the_base_that_has_the_python(requires: str, base: str, python: str) -> None:
    train = proposed(pyproject=PYPROJECT.format(requires))["images"]["train"]
    assert (train["from"], train["python"]) == (base, python)


def test_a_pin_is_stronger_than_a_range() -> None:
    train = proposed(pin="cpython-3.12.1\n", pyproject=PYPROJECT.format(">=3.9"))["images"]["train"]
    assert train["python"] == "3.12"


@pytest.mark.parametrize("project", ["", '[project]\nname = "p"\ndynamic = ["version", "dependencies"]\n'])
def test_a_project_whose_dependencies_are_not_written_is_not_installed(project: str) -> None:
    """setup.py alone, or dependencies that setuptools reads elsewhere: no lock could be made of them."""
    found = propose(
        {
            "Dockerfile": "FROM python:3.11\nCOPY . /app\nRUN pip install -e /app\n",
            "pyproject.toml": f"{project}[build-system]\nrequires = []\n",
            "requirements.txt": "torch\n",
        },
        name="x",
    )
    train = tomllib.loads(found.text)["images"]["train"]
    assert not {"project", "extras"} & train.keys()
    assert train["files"] == ["requirements.txt"]
    assert "no pyproject.toml has a [project] with its dependencies" in found.text


def test_the_name_is_made_fit() -> None:
    assert proposed(pyproject='[project]\nname = "My.Lib_2"\n')["project"]["name"] == "my-lib-2"
    assert proposed(pyproject='[project]\nname = "___"\n')["project"]["name"] == "x"


@pytest.mark.parametrize(
    ("line", "base", "python", "apt"),
    [
        ("FROM python:3.12-slim", "python:3.12-slim", "3.12", None),
        ("FROM docker.io/library/python:3.10", "docker.io/library/python:3.10", "3.10", None),
        ("FROM nvidia/cuda:12.4.1-base-ubuntu22.04", "nvidia/cuda:12.4.1-base-ubuntu22.04", "3.10", ["python3"]),
        ("FROM --platform=linux/amd64 debian:bookworm-slim", "debian:bookworm-slim", "3.11", ["python3"]),
        ("FROM ghcr.io/x/y@sha256:" + "a" * 64, "ghcr.io/x/y@sha256:" + "a" * 64, None, None),
        ("FROM $WHO", "bootstrap:debian:bookworm", "3.11", None),
        ("FROM", "bootstrap:debian:bookworm", "3.11", None),
    ],
)
def test_the_base_of_a_dockerfile(line: str, base: str, python: str | None, apt: list[str] | None) -> None:
    train = proposed(docker=line)["images"]["train"]
    assert (train["from"], train.get("python"), train.get("apt")) == (base, python, apt)


def test_a_python_that_the_project_does_not_allow_is_said() -> None:
    files = {"Dockerfile": "FROM python:3.10", "pyproject.toml": PYPROJECT.format(">=3.12")}
    assert "requires-python is >=3.12, but python:3.10 has Python 3.10" in propose(files, name="x").text


def test_secrets_do_not_reach_the_proposal() -> None:
    docker = "FROM x\nARG HF_TOKEN=hunter2\nENV WANDB_API_KEY=hunter2 API_KEY=$HF_TOKEN\nENV MY_SECRET hunter2\n"
    conda = "variables:\n  GITHUB_TOKEN: hunter2\n"
    found = propose({"Dockerfile": docker, "environment.yml": conda}, name="x")
    assert "hunter2" not in found.text + "".join(found.notes)
    assert "env-pass" in found.text


def test_a_step_that_needs_a_secret_is_left_to_a_person() -> None:
    found = propose({"Dockerfile": "FROM x\nRUN --mount=type=secret,id=key cat /run/secrets/key\n"}, name="x")
    assert "#   Dockerfile:2: RUN --mount=type=secret,id=key cat /run/secrets/key   (needs a secret)" in found.text
    assert "run = " not in found.text


def test_what_has_no_place_is_counted() -> None:
    found = propose({"Dockerfile": "FROM x\nUSER me\n"}, name="x")
    assert found.notes == ("1 thing had no place; see the comments at the file's end",)
    assert "#   Dockerfile:2: USER me" in found.text


def test_sound_takes_out_the_fault_and_nothing_else() -> None:
    tables: dict[str, Any] = {
        "project": {"name": "x"},
        "images": {
            "train": {
                "from": "debian",
                "apt": ["Bad", "git", "Worse"],
                "copy": [{"source": "../x", "target": "/x"}, {"source": "y", "target": "/y"}],
                "env": {"A": "1", "B-": "2"},
            }
        },
    }
    out = sound(tables)
    assert tables["images"]["train"] == {
        "from": "debian",
        "apt": ["git"],
        "copy": [{"source": "y", "target": "/y"}],
        "env": {"A": "1"},
    }
    assert len(out) == 4


def test_comments_cannot_become_values() -> None:
    text = written(Draft(name="x").tables(), "title\n[images.bad]\x00", ["a\nb = 1\r[c]\x07"])
    assert set(tomllib.loads(text)) == {"project", "images", "run"}


PIECES = st.sampled_from(
    [
        *(
            "FROM debian\n",
            "RUN ",
            "ENV ",
            "COPY ",
            "WORKDIR ",
            "LABEL ",
            "EXPOSE ",
            "CMD ",
            "apt-get install ",
            "pip install ",
        ),
        *(
            "- ",
            "dependencies:\n",
            " && ",
            "\n",
            "[project]\n",
            "name = ",
            "A=",
            "torch",
            "==",
            "1.0",
            "<<E",
            "E",
            "$X",
            "${X:-y}",
        ),
        *"\"'\\#[]{} /:@é\x07\t\u2028\x7f\r",
        "..",
    ]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_folder_gets_a_file_that_loads(docker: str, conda: str, pyproject: str, pin: str) -> None:
    proposed(docker=docker, conda=conda, pyproject=pyproject, pin=pin, compose=conda)


SETTINGS = (
    "image",
    "build",
    "command",
    "entrypoint",
    "working_dir",
    "shm_size",
    "environment",
    "ports",
    "volumes",
    "x",
)
YAML: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a/.:$~0 é\n", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SETTINGS), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(SETTINGS), YAML, max_size=6))
def test_any_service_gets_a_file_that_loads(service: dict[str, Any]) -> None:
    proposed(compose=json.dumps({"services": {"a": service}}))


@given(
    st.dictionaries(
        st.text("Aa_1-é", min_size=1, max_size=3),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        max_size=3,
    ),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3),
)
def test_any_values_are_written_so_that_they_are_read_back(table: dict[str, str], values: list[str]) -> None:
    tables = {"project": {"name": "x", **table}, "images": {"train": {"env": table, "run": values, "copy": [table]}}}
    assert tomllib.loads(written(tables, "x", [])) == tables
