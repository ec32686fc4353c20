"""Every command that a page shows is run, in the page's order; the reference is what the verbs say of themselves."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from tests.conftest import Wardian
from tests.integration.registry import start_registry
from tests.models import babyai, model
from tests.servers import serving
from wardian.main import VERBS, cli

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "docs" / "tutorial.md", *(ROOT / "docs" / "how-to").glob("*.md")])
BLOCK = re.compile(r"^```(?P<kind>\S*)(?: (?P<name>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(body: str) -> list[tuple[str, int]]:
    """The ``$`` lines of a console block, each with the exit code that a following ``(exit N)`` promises."""
    found: list[tuple[str, int]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], 0))
        elif (code := re.fullmatch(r"\(exit (\d+)\)", line)) and found:
            found[-1] = (found[-1][0], int(code[1]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_the_page_works(
    page: Path,
    with_base: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> None:
    """``toml NAME``/``python NAME`` blocks become files, ``console`` blocks are run by a shell in one folder.

    A page that says ``$REGISTRY`` gets one, one that asks for Docker a daemon, one that merges a checkpoint, one that
    says ``$MODEL_URL`` a model. A server of `wardian env serve` runs until the page's end, on a port that is free.
    """
    if "outputs/global_step_100/actor" in page.read_text(encoding="utf-8"):
        shards = request.getfixturevalue("checkpoints") / "fsdp2 of 4"
        shutil.copytree(shards, tmp_path / "outputs/global_step_100/actor")
    if "--engine docker" in page.read_text(encoding="utf-8"):
        request.getfixturevalue("docker")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with ExitStack() as stack:
        if "$REGISTRY" in page.read_text(encoding="utf-8"):
            request.getfixturevalue("need")("docker-registry")
            environment["REGISTRY"] = stack.enter_context(start_registry(tmp_path_factory.mktemp("registry"))).host
        if "$MODEL_URL" in page.read_text(encoding="utf-8"):
            environment |= {"MODEL_URL": stack.enter_context(model(babyai)).url, "OPENAI_API_KEY": "sk-page"}
        run_page(page, tmp_path, environment, stack)


def run_page(page: Path, tmp_path: Path, environment: dict[str, str], stack: ExitStack) -> None:
    ran, port = 0, "36001"
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["name"]:
            target = tmp_path / block["name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block["body"], encoding="utf-8")
        for line, code in commands(block["body"]) if block["kind"] == "console" else []:
            words = shlex.split(line)
            if words[:3] == ["wardian", "env", "serve"]:
                server = stack.enter_context(serving(words[3]))
                assert words[4:] == ["--port", port]
                port = server.url.rpartition(":")[2]
                ran += 1
                continue
            shown = line.replace(":36001", f":{port}")
            if words[0] == "cd":
                tmp_path /= words[1]
                continue
            done = subprocess.run(
                ["bash", "-c", shown], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == code, f"{page.name}: {line}\n{done.stdout}\n{done.stderr}"
            ran += 1
    assert ran > 0


def test_the_reference_is_generated() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"], check=False)
    assert done.returncode == 0, "type: .venv/bin/python scripts/reference.py"


def helps() -> list[tuple[str, ...]]:
    """Every verb, and every verb of a verb."""
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in VERBS:
        command = cli.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.list_commands(context)]
    return found


def test_every_help_has_an_example(wardian: Wardian) -> None:
    assert "Example" in wardian("--help").out
    for words in helps():
        assert "Example" in wardian(*words, "--help").out, words


def test_readme_shows_only_verbs_and_make_targets_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block["body"] for block in BLOCK.finditer(text) if block["kind"] == "console"]
    shown = [line.split("#")[0].strip() for body in blocks for line in body.splitlines()]
    lines = [line[2:] for line in shown if line.startswith("$ ")]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[0] != "make" or words[1] in targets, line
        assert words[0] != "wardian" or words[1] in VERBS, line


def test_the_errors_that_have_a_remedy_are_errors_that_exist() -> None:
    page = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "wardian").rglob("*.py"))
    shown = [text for title in re.findall(r"^## (.*)$", page, re.MULTILINE) for text in re.findall(r'"([^"]+)"', title)]
    assert len(shown) > 9
    assert [text for text in shown if text not in source] == []


def test_the_readme_leads_to_every_page() -> None:
    linked = re.findall(r"\]\((docs/[^)#]+\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} - set(linked) == set()


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
