"""`wardian config`: values, where they come from, and every fault on one screen."""

import json
from pathlib import Path

import pytest

from tests.conftest import Wardian

FILE = """\
[project]
name = "x"
[images.train]
from = "debian:bookworm"
[run]
shm = "${SHM:-1g}"
env = { API_TOKEN = "hunter2" }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / 'a project\'s "home" é'
    folder.mkdir()
    (folder / "wardian.toml").write_text(FILE)
    return folder


def test_a_table_of_values(wardian: Wardian, project: Path) -> None:
    said = wardian("config", cwd=project)
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0] == ["KEY", "VALUE", "FROM"]
    assert ["project.name", '"x"', "wardian.toml:2"] in rows
    assert ["run.shm", '"${SHM:-1g}"', "wardian.toml:6"] in rows
    assert ["run.gpus", '"auto"', "default"] in rows
    assert "hunter2" not in said.out
    assert said.err == ""


def test_as_json(wardian: Wardian, project: Path) -> None:
    found = wardian("config", "--json", cwd=project).json()
    assert found["run.shm"] == {"value": "${SHM:-1g}", "source": "wardian.toml", "line": 6}
    assert found["run.env.API_TOKEN"]["value"] == "(hidden)"


@pytest.mark.parametrize(("path", "keys"), [("run.shm", {"run.shm"}), ("project", {"project.name"})])
def test_one_path(wardian: Wardian, project: Path, path: str, keys: set[str]) -> None:
    assert set(wardian("config", path, "--json", cwd=project).json()) == keys


def test_a_path_with_nothing_in_it(wardian: Wardian, project: Path) -> None:
    said = wardian("config", "run.shn", cwd=project, code=1)
    assert said.err == "wardian: nothing is set at run.shn\n  did you mean: wardian config run.shm\n"


def test_every_source_in_its_place(
    wardian: Wardian, project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = home / ".config" / "wardian" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[run]\nuser = "root"\ngpus = "none"\nimage = "train"\n')
    (project / "wardian.local.toml").write_text('[run]\ngpus = "all"\nimage = "train"\n')
    monkeypatch.setenv("WARDIAN_RUN__IMAGE", "train")
    found = wardian("config", "run", "--set", "run.env.A=1", "--json", cwd=project).json()
    assert {key: value["source"] for key, value in found.items()} == {
        "run.shm": "wardian.toml",
        "run.env.API_TOKEN": "wardian.toml",
        "run.user": str(user),
        "run.gpus": "wardian.local.toml",
        "run.image": "WARDIAN_RUN__IMAGE",
        "run.env.A": "--set",
        "run.engine": "default",
        "run.fix-perms": "default",
    }


def test_a_named_configuration_that_is_not_there(
    wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDIAN_CONFIG", "/nowhere/config.toml")
    assert (
        "WARDIAN_CONFIG names /nowhere/config.toml, which is not a file" in wardian("config", cwd=project, code=2).err
    )


def test_faults_one_on_a_line(wardian: Wardian, project: Path) -> None:
    (project / "wardian.toml").write_text(FILE.replace("from", "fron").replace('"x"', "3"))
    said = wardian("config", cwd=project, code=2)
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("wardian: wardian.toml:2: project.name: must be a string, not 3")
    assert all(line.startswith("wardian: wardian.toml:") for line in lines)


def test_faults_as_json(wardian: Wardian, project: Path) -> None:
    said = wardian("config", "--json", "--set", "run.user=me", cwd=project, code=2)
    assert json.loads(said.err)["faults"] == [
        {
            "path": "run.user",
            "message": 'must be "host", "root" or "uid:gid", not "me"',
            "source": "--set",
            "line": None,
            "hint": None,
        }
    ]


def test_the_project_is_found_from_within(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    inner = project / "deep" / "folder"
    inner.mkdir(parents=True)
    assert wardian("config", "project.name", cwd=inner).out == wardian("config", "project.name", cwd=project).out
    assert "wardian.toml:2" in wardian("config", "project.name", "-C", str(inner), cwd=tmp_path).out


def test_no_project(wardian: Wardian, tmp_path: Path) -> None:
    said = wardian("config", cwd=tmp_path, code=2)
    assert said.err == "wardian: there is no wardian.toml here, nor in a folder above\n  type: wardian init\n"


def test_a_file_that_is_not_text(wardian: Wardian, project: Path) -> None:
    (project / "wardian.toml").write_bytes(b'[project]\nname = "\xff"\n')
    assert wardian("config", cwd=project, code=2).err == "wardian: wardian.toml is not UTF-8: byte 18 is 0xff\n"


def test_dotenv_is_below_the_environment(wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "wardian.toml").write_text(FILE.replace("${SHM:-1g}", "${SHM}"))
    assert "the variable SHM is not set" in wardian("config", cwd=project, code=2).err
    (project / ".env").write_text("SHM=2g\n")
    wardian("config", cwd=project)
    monkeypatch.setenv("SHM", "not a size")
    assert "is not a size" in wardian("config", cwd=project, code=2).err


@pytest.mark.parametrize("verb", ["config", "schema", "init"])
def test_help_has_an_example(wardian: Wardian, verb: str) -> None:
    said = wardian(verb, "--help")
    assert f"Example:\n    wardian {verb}" in said.out
    assert "--json" in said.out


def test_schema(wardian: Wardian, tmp_path: Path) -> None:
    said = wardian("schema", cwd=tmp_path)
    assert said.json()["title"] == "wardian.toml"
    assert wardian("schema", "--json", cwd=tmp_path).json() == said.json()
