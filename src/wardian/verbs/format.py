"""`wardian format`: the project's own formatter, in an image that has it."""

import configparser
import tomllib
from pathlib import Path
from typing import Any

import click

from wardian.errors import SpecError
from wardian.verbs import verb
from wardian.verbs.run import run
from wardian.workspace import Workspace

# formatter → what rewrites, and what only tells
ARGV = {
    "yapf": (("yapf", "--in-place", "--recursive", "--parallel"), ("yapf", "--diff", "--recursive", "--parallel")),
    "ruff": (("ruff", "format"), ("ruff", "format", "--diff")),
    "black": (("black",), ("black", "--check", "--diff")),
}
_FLAGS = {
    **dict.fromkeys(("name", "engine", "user", "fix_perms", "gpus", "shm", "workdir", "tty")),
    "env": (),
    "env_pass": (),
    "mounts": (),
    "no_network": False,
    "no_project": False,
    "read_only": False,
}


@verb("format", example="wardian format\nwardian format --check src\nwardian format --image dev")
@click.option("-i", "--image", metavar="IMAGE", help="Default: `scripts`, if there is one, else that of `run`.")
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 when something would be.")
@click.option("--dry-run", is_flag=True, help="Only say what would be run.")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
def command(workspace: Workspace, paths: tuple[str, ...], image: str | None, *, check: bool, dry_run: bool) -> int:
    """Format the project by yapf, ruff or black: by the one that the project configures.

    A .style.yapf, a ruff.toml, or a table in pyproject.toml or setup.cfg says which. It runs in an image, so that
    everybody gets the same version's result.
    """
    argv = (*ARGV[configured(workspace.root)][check], *(paths or (".",)))
    chosen = image or ("scripts" if any(variant.id == "scripts" for variant in workspace.images) else None)
    if dry_run:
        workspace.console.answer(" ".join(argv), {"image": chosen, "argv": argv})
        return 0
    flags: dict[str, Any] = {**_FLAGS, "image": chosen, "no_network": True}
    return run(workspace, argv, flags)


def configured(root: Path) -> str:
    """The formatter that a project is written for. Raises ``SpecError`` when it names none, or several."""
    tool = _table(root / "pyproject.toml")
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(root / "setup.cfg", encoding="utf-8")
    found = {
        "yapf": (root / ".style.yapf").is_file() or "yapf" in tool or setup.has_section("yapf"),
        "ruff": any((root / name).is_file() for name in ("ruff.toml", ".ruff.toml"))
        or "format" in tool.get("ruff", {}),
        "black": "black" in tool,
    }
    named = [name for name, there in found.items() if there] or (["ruff"] if "ruff" in tool else [])
    if len(named) != 1:
        said = f"names {' and '.join(named)}" if named else "names no formatter"
        raise SpecError(f"{root} {said}", hint="one of .style.yapf, [tool.ruff.format], [tool.black] says which")
    return named[0]


def _table(path: Path) -> dict[str, Any]:
    try:
        tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from error
    return tool if isinstance(tool, dict) else {}
