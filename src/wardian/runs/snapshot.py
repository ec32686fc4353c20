"""Which code a run used: the commit, and a patch of what the folder had beside it. And the way back: a folder with it.

Git is asked, never changed: the index is a copy, new objects go to a folder that is thrown away.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from wardian.command import Command, Result
from wardian.errors import CommandFailed, Unavailable, WardianError
from wardian.hosts.base import Host
from wardian.runs.record import PATCH, Code

LARGEST_FILE = 1 << 20  # of a file git does not know; larger ones are data, and named only
LARGEST_PATCH = 16 << 20
SECRETS = (
    *(".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.keytab", "id_rsa*", "id_dsa*", "id_ecdsa*"),
    *("id_ed25519*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials", "credentials", "credentials.json"),
    *("secrets.toml", "secrets.yaml", "secrets.yml", "secrets.json"),
)
EXCLUDED = tuple(f":(exclude,top,icase,glob)**/{pattern}" for pattern in SECRETS)
# A repository's own configuration must not start programs while it is looked at.
QUIET = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "diff.external=", "-c", "color.ui=false")


@dataclass(frozen=True, slots=True)
class Git:
    """Git in one folder. ``env`` redirects its index and objects."""

    host: Host
    folder: Path
    env: tuple[tuple[str, str], ...] = ()

    def run(self, *argv: str, stdin: bytes | None = None) -> Result:
        """Run git and return its result, whatever it was."""
        return self.host.run(Command(("git", *QUIET, *argv), stdin=stdin, cwd=str(self.folder), env=dict(self.env)))

    def text(self, *argv: str) -> str:
        """The output of a git command that must succeed, without its last newline."""
        return self.run(*argv).check().stdout.decode(errors="surrogateescape").removesuffix("\n")


def snapshot(host: Host, project: Path, folder: Path) -> Code:
    """Describe the code in ``project`` and put the patch into a run's folder. What git cannot do is the ``reason``."""
    asked = ("--show-toplevel", "--show-prefix", "--absolute-git-dir", "--git-path", "index", "--git-path", "objects")
    try:
        found = Git(host, project).run("rev-parse", *asked, "HEAD")
    except Unavailable:
        return Code(reason="git is not on this machine")
    if found.code:
        return Code(reason=_reason(found))
    words = found.stdout.decode(errors="surrogateescape").splitlines()
    top, prefix, git_dir, index, objects, revision = words
    try:
        keep, leave = _changes(Git(host, Path(top)))
        left_out = tuple(sorted(leave))
        if not keep:
            return Code(revision, prefix, left_out=left_out)
        with _aside(host, Path(top), git_dir, index=project / index, objects=project / objects) as aside:
            patch = _patch(aside, keep)
    except CommandFailed as error:
        return Code(revision, prefix, reason=error.message)
    if len(patch) > LARGEST_PATCH:
        reason = f"the changes are larger than {LARGEST_PATCH >> 20} MiB"
        return Code(revision, prefix, left_out=(*left_out, *(os.fsdecode(entry[3:]) for entry in keep)), reason=reason)
    (folder / PATCH).write_bytes(patch)
    return Code(revision, prefix, patch=True, left_out=left_out)


def _reason(found: Result) -> str:
    said = found.stderr.decode(errors="replace")
    if "not a git repository" in said:
        return "the project is not in a git repository"
    if "dubious ownership" in said:
        return "git does not trust the repository, which belongs to another user"
    return "the repository has no commit" if "HEAD" in said else " ".join(said.split())[:200]


def _changes(git: Git) -> tuple[list[bytes], list[str]]:
    """What differs from the commit: git status entries to keep, and paths that are secret, too large, or no files."""
    options = ("--porcelain", "-z", "--untracked-files=all", "--no-renames")
    keep: list[bytes] = []
    leave: list[str] = []
    for entry in filter(None, git.run("--no-optional-locks", "status", *options).check().stdout.split(b"\0")):
        name = os.fsdecode(entry[3:])
        path = git.folder / name
        new = entry.startswith(b"??")
        fits = path.is_symlink() or (path.is_file() and path.stat().st_size <= LARGEST_FILE)
        if _secret(name) or (new and not fits):
            leave.append(name)
        else:
            keep.append(entry)
    return keep, leave


def _secret(name: str) -> bool:
    return any(fnmatchcase(name.rpartition("/")[2].lower(), pattern) for pattern in SECRETS)


def _patch(git: Git, entries: Sequence[bytes]) -> bytes:
    """The difference between the commit and the work tree, for some entries of git status."""
    names = (entry[3:] + b"\0" for entry in entries if not entry.startswith(b"D "))  # staged as gone: the index has it
    git.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=b"".join(names)).check()
    options = ("--cached", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-renames")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")  # whatever diff.noprefix says
    return git.run("diff", *options, *prefixes, "HEAD", "--", ":(top)", *EXCLUDED).check().stdout


@contextmanager
def _aside(host: Host, top: Path, git_dir: str, *, index: Path, objects: Path) -> Iterator[Git]:
    """Git with a copy of the index and a throw-away folder for objects: ``add`` leaves no trace in the repository."""
    with tempfile.TemporaryDirectory(prefix="wardian-git-") as scratch:
        copy, fresh = Path(scratch, "index"), Path(scratch, "objects")
        fresh.mkdir()
        if index.exists():
            shutil.copy2(index, copy)  # with its time: git re-reads files whose time is not older
        yield Git(
            host,
            top,
            (
                ("GIT_INDEX_FILE", str(copy)),
                ("GIT_OBJECT_DIRECTORY", str(fresh)),
                ("GIT_ALTERNATE_OBJECT_DIRECTORIES", _quoted(str(objects))),
                ("GIT_DIR", git_dir),
                ("GIT_WORK_TREE", str(top)),
            ),
        )


def _quoted(path: str) -> str:
    """A path in a colon-separated list of git. Source: git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"' if ":" in path or path.startswith('"') else path


def restore(host: Host, repository: Path, code: Code, patch: Path, target: Path) -> Path:
    """Put the code of a record into the empty folder ``target``; the project's folder inside it.

    Raises ``WardianError`` when the commit is not in the repository or the patch does not apply.
    """
    git = Git(host, repository)
    if git.run("cat-file", "-e", f"{code.revision}^{{commit}}").code:
        raise WardianError(
            f"commit {code.revision} is not in {repository}",
            hint="fetch it from where it was pushed, or run with --current-code",
        )
    directory = git.text("rev-parse", "--absolute-git-dir")
    with tempfile.TemporaryDirectory(prefix="wardian-git-") as scratch:
        env = (("GIT_DIR", directory), ("GIT_WORK_TREE", str(target)), ("GIT_INDEX_FILE", f"{scratch}/index"))
        there = Git(host, target, env)
        for argv in (("read-tree", str(code.revision)), ("checkout-index", "--all", "--force")):
            there.run(*argv).check()
        if code.patch:
            done = there.run("apply", "--binary", "--whitespace=nowarn", str(patch))
            if done.code:
                said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
                raise WardianError(f"the run's patch does not apply to {code.revision}: {' '.join(said)}")
    return target / code.prefix
