"""`wardian init`: a project from a template, or a file proposed for a folder that has code."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote

import click

from wardian.errors import SpecError, WardianError
from wardian.verbs import verb
from wardian.workspace import FILE, LOCAL, Workspace

EXAMPLE = """\
wardian init
wardian init --template puffer trainer
wardian init --template isaaclab robot
wardian init --list
"""
IGNORED = (".wardian/", LOCAL)  # a person's own, and what runs leave
UNPACKED = {"dot-gitignore": ".gitignore"}
LARGEST = 1 << 20  # bytes of a file that a proposal reads


@verb("init", example=EXAMPLE)
@click.argument("folder", required=False)
@click.option("-t", "--template", metavar="NAME", help="The template to write (see --list).")
@click.option("--list", "listing", is_flag=True, help="List the templates.")
@click.option("--force", is_flag=True, help="Replace files that are there; each is kept beside as NAME.orig.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and print a proposal; write nothing.")
def command(
    workspace: Workspace, folder: str | None, template: str | None, *, listing: bool, force: bool, dry_run: bool
) -> None:
    """Start a project in FOLDER (default: here).

    Without --template, wardian.toml is proposed from what the folder has (pyproject.toml, requirements*.txt,
    environment.yml, Dockerfile, compose.yaml, .python-version); an empty folder gets the template `minimal`.
    Templates: minimal, cartpole, puffer, puffer-consumer, marl, isaaclab, agentgym.
    """
    if listing:
        _list(workspace)
        return
    target = (workspace.start / (folder or ".")).absolute()
    files, notes, origin = _project(target, template)
    taken = [name for name in files if (target / name).exists() and name != ".gitignore"]
    if taken and not force:
        raise WardianError(
            f"already in {target}: {', '.join(taken)}", hint="another folder, or --force to replace them"
        )
    ignore = _ignore(target, files.pop(".gitignore", (b"", 0o644))[0].decode())
    if not dry_run:
        kept = _write(target, files, ignore)
        notes += [f"the {old} that was there is now {new}" for old, new in kept.items()]
    written = [*files, *([".gitignore"] if ignore is not None else [])]
    if workspace.console.as_json:
        data = {"folder": str(target), "from": origin, "written": written, "notes": notes, "dry-run": dry_run}
        workspace.console.answer("", {**data, "text": files[FILE][0].decode()})
        return
    _say(workspace.console.note, target, origin, written, notes, dry_run=dry_run)
    if dry_run:
        workspace.console.answer(files[FILE][0].decode().rstrip("\n"), None)


def _say(
    say: Callable[[str], None], target: Path, origin: str, written: list[str], notes: list[str], *, dry_run: bool
) -> None:
    here = Path.cwd()
    say(f"{'would write' if dry_run else 'wrote'} {', '.join(written)} in {target} (from {origin})")
    for note in notes:
        say(f"  {note}")
    if not dry_run:
        place = target.relative_to(here) if target.is_relative_to(here) else target
        go = f"cd {quote(str(place))} && " if target != here else ""
        say(f"next: {go}wardian lock && wardian build && wardian test")


def _templates() -> dict[str, Path]:
    import wardian

    folder = Path(wardian.__file__).parent / "templates"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{FILE}"))}


def _list(workspace: Workspace) -> None:
    """The templates, each with the first comment line of its wardian.toml."""
    found = {
        name: (path / FILE).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for name, path in _templates().items()
    }
    workspace.console.table(("TEMPLATE", "WHAT"), list(found.items()), found)


def _project(target: Path, template: str | None) -> tuple[dict[str, tuple[bytes, int]], list[str], str]:
    """The files to write (content and mode), what to say about them, and where they come from."""
    if target.exists() and not target.is_dir():
        raise WardianError(f"{target} is a file")
    if template is None and (found := _described(target)):
        from wardian.spec.propose import propose

        proposal = propose(found, name=_name(target))
        return {FILE: (proposal.text.encode(), 0o644)}, list(proposal.notes), " and ".join(proposal.read)
    chosen = template or "minimal"
    known = _templates()
    if chosen not in known:
        from difflib import get_close_matches

        near = get_close_matches(chosen, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known)}"
        raise SpecError(f"there is no template {chosen!r}", hint=hint)
    return _filled(known[chosen], _name(target)), [], f"template {chosen}"


def _described(target: Path) -> dict[str, str]:
    """What the folder says about its environment: file name → text."""
    from wardian.spec.propose.compose import NAMES

    patterns = (
        "pyproject.toml",
        "*requirements*.txt",
        "requirements/*.txt",
        "environment.y*ml",
        "Dockerfile",
        *NAMES,
        ".python-version",
    )
    found: dict[str, str] = {}
    for path in (path for pattern in patterns for path in sorted(target.glob(pattern))):
        if path.is_file() and path.stat().st_size <= LARGEST:
            found[path.relative_to(target).as_posix()] = path.read_text(encoding="utf-8-sig", errors="replace")
    if re.search(r"^\s*\[tool\.wardian\b", found.get("pyproject.toml", ""), re.MULTILINE):
        raise WardianError(f"{target}/pyproject.toml already has [tool.wardian]", hint="type: wardian lock")
    return found


def _filled(template: Path, name: str) -> dict[str, tuple[bytes, int]]:
    files = {}
    for path in sorted(template.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        content = path.read_bytes()
        if path.name == FILE:
            content = content.replace(b"@NAME@", name.encode())
        inner = path.relative_to(template)
        place = inner.with_name(UNPACKED.get(inner.name, inner.name)).as_posix()
        files[place] = (content, 0o755 if path.stat().st_mode & 0o100 else 0o644)
    return files


def _name(target: Path) -> str:
    """A project's name made of its folder's."""
    return re.sub(r"[^a-z0-9]+", "-", target.resolve().name.lower()).strip("-")[:100].strip("-") or "project"


def _ignore(target: Path, wanted: str) -> str | None:
    """The new .gitignore: the old one, then what is missing; None when nothing is."""
    path = target / ".gitignore"
    old = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
    there = {line.strip().strip("/") for line in old.splitlines()}
    missing = [
        line
        for line in dict.fromkeys([*wanted.splitlines(), *IGNORED])
        if line.strip() and line.strip().strip("/") not in there
    ]
    if not missing:
        return None
    return old + ("\n" if old and not old.endswith("\n") else "") + "\n".join(missing) + "\n"


def _write(target: Path, files: Mapping[str, tuple[bytes, int]], ignore: str | None) -> dict[str, str]:
    """Write all files; the ones that were there are kept under another name. Returns old name → new name."""
    from wardian.store.files import write_file

    kept = {}
    try:
        for name, (content, mode) in files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                kept[name] = _aside(path)
            write_file(path, content, scratch=path.parent, mode=mode)
        if ignore is not None:
            write_file(target / ".gitignore", ignore.encode(errors="surrogateescape"), scratch=target)
    except OSError as error:
        raise WardianError(f"{target} cannot be written to: {error.strerror}", hint="name another folder") from error
    return kept


def _aside(path: Path) -> str:
    """Give a file the first free name of NAME.orig, NAME.orig1 and so on."""
    number = 0
    while True:
        other = path.with_name(f"{path.name}.orig{number or ''}")
        if not other.exists():
            path.rename(other)
            return other.name
        number += 1
