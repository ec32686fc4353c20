"""Which files of a project never enter an image: the ignore file's patterns, and secrets whatever it says.

``.wardianignore`` is read as docker reads ``.dockerignore``: patterns start at the project's folder (git's do not, so a
library for .gitignore does not fit), ``**`` matches any number of folders, the last line that matches wins, ``!`` takes
back.
Source: https://github.com/moby/patternmatcher
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from posixpath import normpath

FILES = (".wardianignore", ".dockerignore")  # the first one that is there

# Names that are left out at any depth. No pattern takes them back.
_SECRET = re.compile(
    r"\.env.*|\.netrc|_netrc|\.pypirc|\.git-credentials|\.ssh|\.gnupg|\.aws|\.kube|\.docker|\.azure|\.gcloud"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)[^/]*|credentials(?:\.(?:json|toml|ya?ml|ini))?|\.?htpasswd|wardian\.local\.toml"
)
_OURS = re.compile(r"\.git|\.hg|\.svn|\.wardian")
_NOISE = re.compile(r"__pycache__|[^/]*\.py[co]|\.venv|\.mypy_cache|\.ruff_cache|\.pytest_cache|\.DS_Store")
_MAY_HOLD_KEY = re.compile(r".*\.(?:pem|key|p8|ppk)")
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File")
_SIZE_OF_KEY = 64 << 10


def secret(name: str, read: Callable[[int], bytes]) -> bool:
    """Whether a file or folder with this name is a secret; ``read`` gives the first bytes of one that may be a key."""
    if _SECRET.fullmatch(name):
        return True
    return _MAY_HOLD_KEY.fullmatch(name) is not None and _KEY.search(read(_SIZE_OF_KEY)) is not None


def internal(name: str) -> bool:
    """Whether a name is a repository's or Wardian's own folder: left out without a word."""
    return _OURS.fullmatch(name) is not None


def noise(name: str) -> bool:
    """Whether a name is something that tools leave behind and nobody means to ship."""
    return _NOISE.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Ignore:
    """The patterns of an ignore file, in order: (compiled, takes back)."""

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Ignore":
        """Read an ignore file. Raises ``ValueError`` that names the line which is no pattern."""
        found = []
        for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
            line = raw.strip()
            if not line or raw.startswith("#"):
                continue
            back = line.startswith("!")
            pattern = normpath(line.removeprefix("!").strip()).strip("/")
            if pattern == ".":  # as in docker: it would leave everything out
                continue
            try:
                found.append((re.compile(_regex(pattern), re.DOTALL), back))
            except re.error as error:
                message = f"line {number}: {line!r} is no pattern: {error}"
                raise ValueError(message) from error
        return cls(tuple(found))

    def ignores(self, path: str) -> bool:
        """Whether a path, relative to the project, is left out: itself or by a folder above it."""
        parts = path.split("/")
        prefixes = ["/".join(parts[: at + 1]) for at in range(len(parts))]
        out = False
        for pattern, back in self.patterns:
            if out == back and any(pattern.fullmatch(prefix) for prefix in prefixes):
                out = not back
        return out

    @property
    def takes_back(self) -> bool:
        """Whether a folder that is left out may hold something that is not."""
        return any(back for _, back in self.patterns)


def _regex(pattern: str) -> str:
    """A pattern of Go's filepath.Match with ``**``, as a regular expression."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
            out.append(".*" if at >= len(pattern) else "(?:.*/)?")
            continue
        if letter == "*":
            out.append("[^/]*")
        elif letter == "?":
            out.append("[^/]")
        elif letter == "[":
            piece, at = _bracket(pattern, at)
            out.append(piece)
            continue
        elif letter == "\\" and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        else:
            out.append(re.escape(letter))
        at += 1
    return "".join(out)


def _bracket(pattern: str, at: int) -> tuple[str, int]:
    """``[a-z]`` or ``[^a-z]``, and where it ends."""
    end = pattern.find("]", at + 2 if pattern.startswith("[^", at) else at + 1)
    if end < 0:
        message = "the bracket does not end"
        raise re.error(message)
    inner = pattern[at + 1 : end].replace("[", "\\[")
    return f"[{inner}]", end + 1


def listed(names: Iterable[str], limit: int = 4) -> str:
    """Some names for one line: ``.env, id_rsa and 3 more``."""
    found = list(names)
    shown = ", ".join(found[:limit])
    return shown if len(found) <= limit else f"{shown} and {len(found) - limit} more"
