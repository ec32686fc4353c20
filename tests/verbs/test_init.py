"""`wardian init`: templates and proposals, nothing overwritten in silence, and what it writes loads."""

import re
import stat
from pathlib import Path

import click
import pytest

import wardian as package
from tests.conftest import Wardian
from wardian.main import cli

PLACE = Path(package.__file__).parent / "templates"
TEMPLATES = sorted(path.parent.name for path in PLACE.glob("*/wardian.toml"))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_loads(wardian: Wardian, tmp_path: Path, template: str) -> None:
    said = wardian("init", "--template", template, "My Robot!", cwd=tmp_path)
    folder = tmp_path / "My Robot!"
    assert "wrote" in said.err
    assert "next: cd 'My Robot!' && wardian lock && wardian build && wardian test\n" in said.err
    assert wardian("config", "project.name", "--json", cwd=folder).json()["project.name"]["value"] == "my-robot"
    assert {".wardian/", "wardian.local.toml"} <= set((folder / ".gitignore").read_text().splitlines())
    assert not any("@NAME@" in content.decode(errors="replace") for content in tree(folder).values())
    assert "dot-gitignore" not in tree(folder)


def test_the_help_names_every_template(wardian: Wardian) -> None:
    listed = wardian("init", "--help").out.partition("Templates: ")[2].partition(".")[0]
    assert sorted(listed.replace(",", " ").split()) == TEMPLATES


def typed(text: str) -> list[list[str]]:
    """Every command line of Wardian in a document's blocks and back ticks, up to what it runs."""
    pieces = [
        piece
        for quoted in re.findall(r"```(?:console|bash)\n(.*?)```|`([^`\n]+)`", text, re.DOTALL)
        for piece in quoted
    ]
    lines = [part.strip() for piece in pieces for line in piece.splitlines() for part in re.split(r"&&|, |; |#", line)]
    found = [line.removeprefix("$ ").partition(" -- ")[0].replace("…", "") for line in lines]
    return [line.split()[1:] for line in found if line.startswith("wardian ")]


@pytest.mark.parametrize("template", [name for name in TEMPLATES if (PLACE / name / "README.md").exists()])
def test_documents_promise_only_commands_that_exist(template: str) -> None:
    lines = typed((PLACE / template / "README.md").read_text())
    assert lines
    for words in lines:
        context = click.Context(cli)
        command = cli.get_command(context, words[0])
        rest = words[1:]
        if isinstance(command, click.Group):
            command, rest = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, words
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known, words


def test_what_two_templates_share_is_a_file_in_each(wardian: Wardian, tmp_path: Path) -> None:
    for template in ("puffer", "marl"):
        wardian("init", "--template", template, template, cwd=tmp_path)
    one, other = tmp_path / "puffer" / "training" / "run_folder.py", tmp_path / "marl" / "marl" / "run_folder.py"
    assert not other.is_symlink()
    assert one.read_bytes() == other.read_bytes()


def test_an_empty_folder_gets_the_minimal_template(wardian: Wardian, tmp_path: Path) -> None:
    found = wardian("init", "--json", cwd=tmp_path).json()
    assert found["from"] == "template minimal"
    assert found["written"] == ["wardian.toml", ".gitignore"]
    assert Path(found["folder"]) == tmp_path
    wardian("config", cwd=tmp_path)


def test_the_folder_may_be_deep_and_strange(wardian: Wardian, tmp_path: Path) -> None:
    name = "new/ñandú 'x'\n\"y\""
    wardian("init", name, cwd=tmp_path)
    wardian("config", cwd=tmp_path / name)


def test_dash_c_is_where_the_folder_is(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    said = wardian("init", "-C", str(tmp_path / "a"), "b")
    assert (tmp_path / "a" / "b" / "wardian.toml").exists()
    assert f"next: cd {tmp_path / 'a' / 'b'} && " in said.err
    assert "next: cd a && " in wardian("init", "-C", "a", cwd=tmp_path).err
    assert "next: wardian lock" in wardian("init", cwd=tmp_path).err


def test_a_project_inside_another(wardian: Wardian, tmp_path: Path) -> None:
    wardian("init", cwd=tmp_path)
    (tmp_path / "inner").mkdir()
    wardian("init", cwd=tmp_path / "inner")
    assert (tmp_path / "inner" / "wardian.toml").exists()


def test_nothing_is_overwritten(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "wardian.toml").write_text("mine")
    before = tree(tmp_path)
    said = wardian("init", "-t", "minimal", cwd=tmp_path, code=1)
    assert said.err.startswith(f"wardian: already in {tmp_path}: wardian.toml\n")
    assert "--force" in said.err
    assert tree(tmp_path) == before


def test_force_keeps_what_was_there(wardian: Wardian, tmp_path: Path) -> None:
    for text, kept in (("one", "wardian.toml.orig"), ("two", "wardian.toml.orig1")):
        (tmp_path / "wardian.toml").write_text(text)
        said = wardian("init", "-t", "minimal", "--force", cwd=tmp_path)
        assert f"the wardian.toml that was there is now {kept}" in said.err
        assert (tmp_path / kept).read_text() == text
    wardian("config", cwd=tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, ".wardian/\nwardian.local.toml\n"),
        ("*.pyc", "*.pyc\n.wardian/\nwardian.local.toml\n"),
        ("/.wardian\n\n# mine\n", "/.wardian\n\n# mine\nwardian.local.toml\n"),
        (".wardian\nwardian.local.toml", ".wardian\nwardian.local.toml"),
    ],
)
def test_gitignore_only_grows(wardian: Wardian, tmp_path: Path, old: str | None, new: str) -> None:
    if old is not None:
        (tmp_path / ".gitignore").write_text(old)
    wardian("init", cwd=tmp_path)
    assert (tmp_path / ".gitignore").read_text() == new


def test_a_gitignore_in_another_encoding_survives(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\n")
    wardian("init", cwd=tmp_path)
    assert (tmp_path / ".gitignore").read_bytes().startswith(b"caf\xe9\n.wardian/\n")


def test_a_proposal(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "Robo"\nrequires-python = ">=3.13"\ndependencies = ["torch"]\n'
    )
    (tmp_path / "Dockerfile").write_text(
        "FROM python:3.13-slim\nRUN apt-get update && apt-get install -y git\nUSER me\n"
    )
    said = wardian("init", cwd=tmp_path)
    assert "(from pyproject.toml and Dockerfile)" in said.err
    assert "1 thing had no place" in said.err
    found = wardian("config", "images", "--json", cwd=tmp_path).json()
    assert found["images.train.from"]["value"] == "python:3.13-slim"
    assert found["images.train.apt"]["value"] == ["git"]
    assert found["images.train.extras"]["value"] == [""]


def test_a_compose_file_is_read_after_the_dockerfile(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:3.11\nWORKDIR /src\nCMD one\n")
    (tmp_path / "docker-compose.yml").write_text("services: {a: {build: ., command: two, ports: ['80:80']}}\n")
    said = wardian("init", str(tmp_path), "--dry-run", "--json").json()
    assert said["from"] == "Dockerfile and docker-compose.yml"
    assert 'command = ["two"]' in said["text"]
    assert "port-80 = 80" in said["text"]


def test_a_dry_run_writes_nothing_and_shows_the_proposal(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    said = wardian("init", "--dry-run", cwd=tmp_path)
    assert "would write wardian.toml, .gitignore" in said.err
    assert 'files = ["requirements.txt"]' in said.out
    assert set(tree(tmp_path)) == {"requirements.txt"}
    shown = wardian("init", "--dry-run", "--json", cwd=tmp_path).json()
    assert shown["dry-run"] is True
    assert 'files = ["requirements.txt"]' in shown["text"]


def test_a_proposal_where_the_table_is_already(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.wardian.project]\nname = 'x'\n")
    assert "already has [tool.wardian]" in wardian("init", cwd=tmp_path, code=1).err


def test_files_that_are_too_large_or_not_text_are_no_reason_to_fail(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_bytes(b"FROM debian\nRUN echo \xff\n")
    (tmp_path / "requirements.txt").write_bytes(b"#" * (2 << 20))
    wardian("init", cwd=tmp_path)
    wardian("config", cwd=tmp_path)


def test_listing(wardian: Wardian) -> None:
    said = wardian("init", "--list")
    assert all(any(line.startswith(f"{name}  ") for line in said.out.splitlines()) for name in TEMPLATES)
    found = wardian("init", "--list", "--json").json()
    assert set(found) == set(TEMPLATES)
    assert all(len(words.split()) > 3 and not words.startswith("#") for words in found.values())


def test_an_unknown_template(wardian: Wardian, tmp_path: Path) -> None:
    assert wardian("init", "-t", "pufer", cwd=tmp_path, code=2).err.endswith("did you mean puffer?\n")
    assert "there is: " in wardian("init", "-t", "zzz", cwd=tmp_path, code=2).err
    assert tree(tmp_path) == {}


def test_a_target_that_is_a_file(wardian: Wardian, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert "is a file" in wardian("init", "x", cwd=tmp_path, code=1).err
    said = wardian("init", "x/y", cwd=tmp_path, code=1).err
    assert said == f"wardian: {tmp_path}/x/y cannot be written to: Not a directory\n  name another folder\n"


def test_modes(wardian: Wardian, tmp_path: Path) -> None:
    wardian("init", cwd=tmp_path)
    assert stat.S_IMODE((tmp_path / "wardian.toml").stat().st_mode) == 0o644
