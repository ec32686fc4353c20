"""The parser and the error boundary: what a mistyped line gets, what a bug leaves, and completion in a real shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.conftest import Wardian
from wardian import __version__
from wardian.main import VERBS, cli

ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["dcotor"], "wardian: there is no verb 'dcotor'\n  did you mean: wardian doctor\n"),
        (["frobnicate"], "wardian: there is no verb 'frobnicate'\n  type: wardian --help\n"),
        (
            ["build", "--dryrun"],
            "wardian: no such option '--dryrun'. Did you mean '--dry-run'?\n  type: wardian build --help\n",
        ),
        (["tree"], "wardian: missing argument 'IMAGE'\n  type: wardian tree --help\n"),
        (["store", "prun"], "wardian: no such command 'prun'. Did you mean 'prune'?\n  type: wardian store --help\n"),
        (
            ["render", "pdf"],
            (
                "wardian: invalid value for 'KIND': 'pdf' is not one of 'dockerfile', 'compose', 'devcontainer',"
                " 'bake'\n"
                "  type: wardian render --help\n"
            ),
        ),
        (["-C", "x", "build"], "wardian: -C stands behind the verb\n  as in: wardian build -C …\n"),
        (["--set", "a=b", "build"], "wardian: --set stands behind the verb\n  as in: wardian build --set …\n"),
        (["--verbose", "lock"], "wardian: --verbose stands behind the verb\n  as in: wardian build --verbose …\n"),
        (["--nope"], "wardian: no such option '--nope'\n  type: wardian --help\n"),
        (["build", "-C", "/nowhere"], "wardian: /nowhere is not a folder\n  -C names a project's folder\n"),
    ],
    ids=" ".join,
)
def test_a_mistyped_line_gets_what_is_wrong_and_what_to_type(wardian: Wardian, argv: list[str], said: str) -> None:
    assert wardian(*argv, code=2).err == said


def test_a_mistyped_line_is_json_too(wardian: Wardian) -> None:
    told = json.loads(wardian("build", "--json", "--nope", code=2).err)

    assert told["message"].startswith("no such option '--nope'")
    assert told["hint"] == "type: wardian build --help"


def test_json_behind_two_dashes_is_the_program_s(wardian: Wardian, tmp_path: Path) -> None:
    said = wardian("run", "--", "prog", "--json", cwd=tmp_path, code=None)

    assert said.err.startswith("wardian: there is no wardian.toml here")


def test_no_verb_at_all_is_help(wardian: Wardian) -> None:
    assert all(f"  {name} " in wardian(code=2).err for name in VERBS)
    assert __version__ in wardian("--version").out


def test_a_bug_is_a_report_without_the_words_that_were_typed(
    wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(cli, "main", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    said = wardian("run", "--env", "TOKEN=hunter2", code=3)

    (report,) = tmp_path.glob("wardian-bug-*.txt")
    assert str(report) in said.err
    assert "Traceback" not in said.err
    text = report.read_text()
    assert "ZeroDivisionError: of all things" in text
    assert f"wardian {__version__}" in text
    assert "argv: ['run'] and 2 more words" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("raised", [KeyboardInterrupt, click.exceptions.Abort])
def test_an_interrupt_is_130(wardian: Wardian, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(cli, "main", interrupted)

    assert wardian("build", code=130).err == ""


def test_a_reader_that_went_away_is_no_bug(tmp_path: Path) -> None:
    line = "set -o pipefail; wardian schema | true"
    done = subprocess.run(["bash", "-c", line], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (1, b"")


def bash(typed: str) -> list[str]:
    """What a real bash offers after a line, with the completion that the documentation shows."""
    script = """
        eval "$(_WARDIAN_COMPLETE=bash_source wardian)"
        complete -p wardian >/dev/null || exit 1
        read -ra COMP_WORDS <<<"$1"; [[ $1 != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
        _wardian_completion wardian 2>&1; printf '%s\n' "${COMPREPLY[@]}"
    """
    argv = ["bash", "--norc", "-c", script, "bash", typed]
    return subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_verbs_their_verbs_and_options() -> None:
    assert bash("wardian ") == list(VERBS)
    assert bash("wardian re") == [name for name in VERBS if name.startswith("re")]
    assert bash("wardian build --d") == ["--dry-run"]
    assert bash("wardian store p") == ["prune"]
    assert bash("wardian bild --d") == []  # and not a word of an error into the line being typed


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_each_verb_with_what_it_does(shell: str) -> None:
    wanted = {"_WARDIAN_COMPLETE": f"{shell}_complete", "COMP_WORDS": "wardian doc", "COMP_CWORD": "1"}
    if shell == "fish":
        wanted["COMP_CWORD"] = "doc"
    done = subprocess.run(["wardian"], env={**ENVIRONMENT, **wanted}, capture_output=True, text=True, check=True)

    assert "doctor" in done.stdout
    assert VERBS["doctor"] in done.stdout


def test_verbs_are_completed_without_importing_them() -> None:
    program = (
        "import sys; from wardian.main import cli\n"
        "cli.shell_complete(cli.make_context('wardian', [], resilient_parsing=True), '')\n"
        "print([name for name in sys.modules if name.startswith('wardian.verbs')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
