"""The shell lines of a Dockerfile's RUN, taken apart as far as that is certain."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from posixpath import normpath

# A line with one of these at its top level is kept whole: taking a part out could change what the rest means.
CONTROL = re.compile(r"(?:^|[\s;&|])(?:if|for|while|until|case|function|\{)(?=\s|$)|[|(`]|(?<!&)&(?!&)")
STATEFUL = frozenset({"cd", "export", "source", ".", "eval", "exec", "alias", "umask", "trap", "pushd", "popd"})
PIP = (("pip",), ("pip3",), ("python", "-m", "pip"), ("python3", "-m", "pip"), ("uv", "pip"))
WITH_VALUE = frozenset(  # options of pip and uv
    """
    --cache-dir --cert --constraint --default-timeout --extra --find-links --group --index-strategy --log
    --no-binary --only-binary --platform --prefix --prerelease --progress-bar --proxy --python --retries
    --root --src --target --timeout --trusted-host -c -f -p -t
    """.split()  # noqa: SIM905 - quoted words would be harder to read
)
INDEX = {"-i", "--index-url", "--extra-index-url", "--index", "--default-index"}


Where = Callable[[str], str | None]  # the place in the project of a path in the image


@dataclass
class Step:
    """What is asked of apt and pip, the shell lines that are left, and what has no place in a file of Wardian's."""

    apt: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    index: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    project: str | None = None

    def add(self, other: "Step") -> None:
        """Take over what another step found."""
        for name in ("apt", "requirements", "files", "index", "extras", "run", "left"):
            getattr(self, name).extend(getattr(other, name))
        self.project = other.project or self.project


def beside(path: str) -> str | None:
    """The place of a path when the project's folder is where the line runs."""
    return None if path.startswith("/") else normpath(path)


def step(line: str, where: Where = beside) -> Step:
    """Take ``apt-get install`` and ``pip install`` out of a shell line; the rest is kept in its order.

    >>> step("apt-get update && apt-get install -y git && echo done").run
    ['echo done']
    """
    found = Step()
    commands = split(line)
    if commands is None or any(words[:1] and words[0] in STATEFUL for words in map(_words, commands)):
        found.run += [line.strip()] if line.strip() else []
        return found
    rest = [command for command in commands if not _taken(_words(command), command, found, where)]
    if any(_words(command)[:1] != ["set"] for command in rest):  # `set -e` alone, or in front of nothing, does nothing
        found.run.append(" && ".join(rest))
    return found


def split(line: str) -> list[str] | None:
    """The commands of a line joined by ``&&``, ``;`` or newlines; None when it is more than that.

    >>> split("a 'b && c' && d; e")
    ["a 'b && c'", 'd', 'e']
    """
    parts: list[str] = [""]
    quote = ""
    at = 0
    while at < len(line):
        here = line[at]
        if here == "\\" and quote != "'":
            parts[-1] += line[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if here == quote else quote
        elif here in "\"'":
            quote = here
        elif line.startswith("&&", at) or here in ";\n":
            parts.append("")
            at += 2 if here == "&" else 1
            continue
        parts[-1] += here
        at += 1
    bare = re.sub(r"\\.|'[^']*'|\"(?:\\.|[^\"\\$`])*\"", "", line, flags=re.DOTALL)
    if quote or CONTROL.search(bare) or "<<" in bare or "#" in bare:
        return None
    return [part.strip() for part in parts if part.strip()]


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    while words and (words[0] == "sudo" or re.fullmatch(r"[A-Z_][A-Z0-9_]*=\S*", words[0])):
        words.pop(0)  # DEBIAN_FRONTEND=noninteractive apt-get …
    return words


def _taken(words: list[str], command: str, found: Step, where: Where) -> bool:
    """Whether a command is one that Wardian does itself; what it asks for goes into ``found``.

    What apt or pip are asked and is not understood is left: an image of Wardian has no pip, and apt is for its lock.
    """
    if not words or _housekeeping(words):
        return bool(words)
    if words[:2] == ["uv", "sync"]:  # pyproject.toml says what it installs
        found.extras += [after for word, after in pairwise(words) if word == "--extra"]
        return True
    if words[0] in {"apt-get", "apt"}:
        understood = _apt(words[1:], found)
    elif prefix := next((one for one in PIP if tuple(words[: len(one) + 1]) == (*one, "install")), None):
        understood = pip(words[len(prefix) + 1 :], found, where)
    else:
        return False
    if not understood:
        found.left.append(command)
    return True


def _housekeeping(words: list[str]) -> bool:
    """Whether a command only tidies what an image of Wardian never holds."""
    if words[0] in {"apt-get", "apt"}:
        verbs = [word for word in words[1:] if not word.startswith("-")]
        return verbs[:1] in (["update"], ["clean"], ["autoclean"], ["autoremove"])
    if words[0] == "rm":
        places = [word for word in words[1:] if not word.startswith("-")]
        kept = ("/var/lib/apt/lists", "/var/cache/apt", "/root/.cache", "~/.cache")
        return bool(places) and all(place.startswith(kept) for place in places)
    return words[:3] in (["pip", "cache", "purge"], ["pip3", "cache", "purge"])


def _apt(words: list[str], found: Step) -> bool:
    packages = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in {"-o", "--option", "-t", "--target-release", "-c", "--config-file"}:
            skip = True
        elif not word.startswith("-"):
            packages.append(word)
    if packages[:1] != ["install"] or any("$" in word or "/" in word or "*" in word for word in packages):
        return False
    found.apt += packages[1:]
    return True


def pip(words: list[str], found: Step, where: Where = beside) -> bool:
    """Read the arguments of ``pip install``; nothing is taken when one of them is not understood."""
    if any("$" in word for word in words):
        return False
    took = Step()
    at = 0
    while at < len(words):
        word, equals, value = words[at].partition("=") if words[at].startswith("--") else (words[at], "", "")
        takes = word in WITH_VALUE | INDEX | {"-r", "--requirement", "-e", "--editable"}
        if takes and not equals:
            at += 1
            value = words[at] if at < len(words) else ""
        at += 1
        if (takes and not value) or not _argument(word, value, took, where):
            return False
    found.add(took)
    return True


def _argument(word: str, value: str, took: Step, where: Where) -> bool:
    if word in {"-r", "--requirement"}:
        took.files.append(where(value) or "")
        return bool(took.files[-1])
    if word in INDEX:
        took.index.append(value)
    elif word in {"-e", "--editable"}:
        return _own(value, took, "editable", where)
    elif word.startswith("-"):
        if word in WITH_VALUE:
            took.left.append(f"pip install {word} {value}")
    elif word.startswith((".", "/")):
        return _own(word, took, "wheel", where)
    elif "://" in word and "@" not in word.split("://")[0]:
        return False
    elif word not in {"pip", "wheel"}:
        took.requirements.append(word)
    return True


def _own(place: str, took: Step, how: str, where: Where) -> bool:
    """The project itself: ``.``, ``.[extra]``, or the place it was copied to."""
    found = re.fullmatch(r"([^\[\]]*)(?:\[([A-Za-z0-9._,\s-]+)\])?", place)
    if not found or where(found[1]) != ".":
        return False
    took.project = how
    took.extras += ["", *(extra.strip() for extra in (found[2] or "").split(",") if extra.strip())]
    return True
