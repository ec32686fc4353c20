"""A Dockerfile as instructions. Source: docs.docker.com, Dockerfile reference."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

OPTIONED = {"FROM", "RUN", "COPY", "ADD", "HEALTHCHECK"}
WORD = re.compile(r"[A-Za-z]+")
HEREDOC = re.compile(r"<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_]*)\2")
DIRECTIVE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*$", re.IGNORECASE)
OPTION = re.compile(r"--([a-z-]+)(?:=(\S*))?\s*")
VARIABLE = re.compile(r"\\\$|\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+])([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word in capitals, ``--options`` and the rest; a here-document's body apart."""

    word: str
    options: tuple[tuple[str, str], ...]
    rest: str
    body: str | None = None
    line: int = 0

    def words(self) -> tuple[str, ...] | None:
        """The JSON form of an argument, or None when it is not in that form."""
        if not self.rest.lstrip().startswith("["):
            return None
        try:
            found = json.loads(self.rest)
        except (ValueError, RecursionError):
            return None
        return tuple(found) if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile: comments gone, continued lines joined."""
    rows = text.replace("\r\n", "\n").split("\n")
    escape = next((found[1] for found in map(DIRECTIVE.match, rows[:3]) if found), "\\")
    at = 0
    while at < len(rows):
        start = at
        logical, at = _joined(rows, at, escape)
        if not logical.strip():
            continue
        found = WORD.match(logical.strip())
        if not found:
            continue
        word, rest = found[0].upper(), logical.strip()[found.end() :].strip()
        options, rest = _options(rest) if word in OPTIONED else ((), rest)
        body, at = _heredoc(rows, at, rest) if word in {"RUN", "COPY", "ADD"} else (None, at)
        yield Instruction(word, options, rest, body, start + 1)


def _joined(rows: list[str], at: int, escape: str) -> tuple[str, int]:
    """One logical line from row ``at`` on, and the row after it. Comments between continued rows are dropped."""
    parts: list[str] = []
    while at < len(rows):
        row = rows[at]
        at += 1
        if row.lstrip().startswith("#") or (parts and not row.strip()):
            if not parts:
                return "", at
            continue
        bare = row.rstrip()
        if bare.endswith(escape):
            parts.append(bare[:-1])
            continue
        parts.append(row)
        break
    return "".join(parts), at


def _options(rest: str) -> tuple[tuple[tuple[str, str], ...], str]:
    options = []
    while found := OPTION.match(rest):
        options.append((found[1], found[2] or ""))
        rest = rest[found.end() :]
    return tuple(options), rest


def _heredoc(rows: list[str], at: int, rest: str) -> tuple[str | None, int]:
    """The body of the here-documents that an instruction opens, and the row after the last."""
    body: list[str] = []
    opened = HEREDOC.findall(rest)
    for dash, _, end in opened:
        while at < len(rows) and (rows[at].lstrip("\t") if dash else rows[at]) != end:
            body.append(rows[at].lstrip("\t") if dash else rows[at])
            at += 1
        at += 1
    return ("\n".join(body) if opened else None), at


def filled(text: str, known: Mapping[str, str]) -> str:
    """Replace build-time variables that are known; the others stay as they are.

    >>> filled("${A}-$B-${C:-d}", {"A": "1"})
    '1-$B-d'
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[4]
        if name is None:
            return found[0]
        if name in known:
            return found[3] if found[2] and "+" in found[2] else known[name]
        return found[3] if found[2] and "-" in found[2] else found[0]

    return VARIABLE.sub(value, text)


def pairs(rest: str) -> list[tuple[str, str]]:
    """The names and values of ENV, LABEL and ARG: ``A=1 B="x y"``, or the old form ``A x y``."""
    from shlex import split

    first = rest.split(None, 1)
    if first and "=" not in first[0]:
        return [(first[0], first[1].strip() if len(first) > 1 else "")]
    try:
        words = split(rest)
    except ValueError:
        words = rest.split()
    return [(name, value) for name, equals, value in (word.partition("=") for word in words) if equals]


def last_stage(every: list[Instruction]) -> list[Instruction]:
    """The instructions that make the last image: its stage's, after those of the stages it stands on."""
    stages: list[tuple[str, str, list[Instruction]]] = []
    before: list[Instruction] = []
    for instruction in every:
        if instruction.word == "FROM":
            words = instruction.rest.split()
            name = words[2].lower() if len(words) == 3 and words[1].lower() == "as" else str(len(stages))
            stages.append((name, words[0].lower() if words else "", [instruction]))
        elif stages:
            stages[-1][2].append(instruction)
        else:
            before.append(instruction)
    chain: list[Instruction] = []
    wanted: int | None = len(stages) - 1 if stages else None
    while wanted is not None:
        _, base, inside = stages[wanted]
        below = next((at for at in reversed(range(wanted)) if stages[at][0] == base), None)
        chain = [*(inside if below is None else inside[1:]), *chain]
        wanted = below
    return [*before, *chain]
