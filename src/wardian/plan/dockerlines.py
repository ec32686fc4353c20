"""Image references in a Dockerfile. Source: https://docs.docker.com/reference/dockerfile/ (format, FROM, COPY)."""

import re
from collections.abc import Iterator

from wardian.errors import WardianError
from wardian.plan.places import Place

_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*(\S)", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#[ \t]*\w+[ \t]*=")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_]*)\2")  # a word of its own, as BuildKit wants it
_INSTRUCTION = re.compile(r"[ \t]*([A-Za-z]+)(?=\s|$)")
_TAKES = frozenset({"RUN", "COPY", "ADD"})  # here-documents
_FLAG = re.compile(r"--[a-z][a-z.-]*(?:=\S*)?")


def images_of_dockerfile(text: str) -> Iterator[Place]:
    """The images of FROM and COPY --from that are no stages of the file, and not ``scratch``."""
    stages: set[str] = set()
    seen = False
    for name, words in _instructions(text):
        if name == "FROM":
            seen = True
            plain = [word for word in words if not _FLAG.fullmatch(word.text)]
            if not plain or len(plain) not in (1, 3) or (len(plain) == 3 and plain[1].text.upper() != "AS"):
                raise WardianError(f"line {words[0].line if words else '?'} is no FROM that can be read")
            image = plain[0]
            if image.text.lower() != "scratch" and image.text.lower() not in stages:
                yield image
            if len(plain) == 3:
                stages.add(plain[2].text.lower())
        elif name == "COPY":
            for word in words:
                if not word.text.startswith("--"):
                    break
                if word.text.startswith("--from="):
                    value = word.text.removeprefix("--from=")
                    if not value.isdigit() and value.lower() not in stages:
                        yield Place(word.start + len("--from="), word.end, value, word.line)
    if not seen:
        raise WardianError("not a Dockerfile: it has no FROM")


def _instructions(text: str) -> Iterator[tuple[str, list[Place]]]:
    """Each instruction in capitals, and its words; comments, blank lines and here-documents are left out."""
    escape, directives = "\\", True
    lines = _lines(text)
    for start, line in lines:
        bare = line.strip()
        if bare.startswith("#"):
            if directives and (match := _ESCAPE.match(bare)):
                escape = match[1]
            directives = directives and _DIRECTIVE.match(bare) is not None
            continue
        directives = False
        match = _INSTRUCTION.match(line)
        if not match:
            if bare:
                raise WardianError(f"line {text.count(chr(10), 0, start) + 1} is no instruction: {bare[:40]!r}")
            continue
        parts = [(start + match.end(), line[match.end() :])]
        while parts[-1][1].rstrip().endswith(escape):
            place, part = parts[-1]
            parts[-1] = (place, part.rstrip()[:-1])
            for more, following in lines:
                if following.strip() and not following.strip().startswith("#"):
                    parts.append((more, following))
                    break
            else:
                break
        words = [word for place, part in parts for word in _words(text, place, part)]
        yield match[1].upper(), words
        if match[1].upper() in _TAKES:
            _skip(lines, words)


def _skip(lines: Iterator[tuple[int, str]], words: list[Place]) -> None:
    """Pass over the here-documents that an instruction begins."""
    for word in words:
        if match := _HEREDOC.fullmatch(word.text):
            for _, line in lines:
                if (line.lstrip("\t") if match[1] else line).rstrip("\r\n") == match[3]:
                    break
            else:
                raise WardianError(f"line {word.line}: the text after {word.text} never ends")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.splitlines(keepends=True):
        yield at, line
        at += len(line)


def _words(text: str, start: int, part: str) -> Iterator[Place]:
    for match in re.finditer(r"\S+", part):
        begin = start + match.start()
        yield Place(begin, begin + len(match[0]), match[0], text.count("\n", 0, begin) + 1)
