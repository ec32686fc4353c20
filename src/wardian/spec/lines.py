"""Where each key of a TOML text stands, so that a fault can name its line. The text must be valid TOML already."""

import re
import tomllib

from wardian.spec.paths import Path

KEY = re.compile(r'\s*(?:"(?:\\.|[^"\\])*"|\'[^\']*\'|[A-Za-z0-9_-]+)')
SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
SCALAR = re.compile(r"[^,\]}\n#]*")


def lines(document: str) -> dict[Path, int]:
    """Path → line (from 1) of every table, key and list element."""
    return _Scanner(document.replace("\r\n", "\n")).scan()


class _Scanner:
    """One pass over a document; ``at`` is the position, ``found`` the answer."""

    def __init__(self, document: str) -> None:
        self.document = document
        self.at = 0
        self.found: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # tables seen of each [[array]]
        self.line = 1  # of self.counted, so that counting newlines stays linear
        self.counted = 0

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self.skip() < len(self.document):
            if self.document[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.found

    def skip(self) -> int:
        """Step over blanks, newlines and comments."""
        self.at = self.match(SPACE)
        return self.at

    def match(self, pattern: re.Pattern[str]) -> int:
        """The end of what matches here."""
        found = pattern.match(self.document, self.at)
        return found.end() if found else self.at

    def mark(self, path: Path) -> None:
        """Note that ``path`` stands here."""
        self.line += self.document.count("\n", self.counted, self.at)
        self.counted = self.at
        self.found.setdefault(path, self.line)

    def header(self) -> Path:
        array = self.document.startswith("[[", self.at)
        self.at += 2 if array else 1
        start = self.at
        keys = self.keys()
        self.at, end = start, self.at + (2 if array else 1)
        table = self.resolved(keys[:-1])
        table = (*table, keys[-1])
        self.mark(table)
        if array:
            self.counts[table] = self.counts.get(table, -1) + 1
            table = (*table, self.counts[table])
            self.mark(table)
        self.at = end
        return table

    def resolved(self, keys: Path) -> Path:
        """The path of a header's prefix: a name of an array of tables means its last table."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.counts:
                path = (*path, self.counts[path])
        return path

    def keys(self) -> Path:
        """A dotted key."""
        keys: list[str] = []
        while True:
            end = self.match(KEY)
            keys.append(_unquoted(self.document[self.at : end].strip()))
            self.at = end
            self.blanks()
            if self.document[self.at : self.at + 1] != ".":
                return tuple(keys)
            self.at += 1

    def blanks(self) -> None:
        while self.document[self.at : self.at + 1] in {" ", "\t"}:
            self.at += 1

    def pair(self, table: Path) -> None:
        start = self.at
        path = (*table, *self.keys())
        self.at, after = start, self.at
        self.mark(path)
        self.at = after + 1  # the equals sign
        self.blanks()
        self.value(path)

    def value(self, path: Path) -> None:
        opening = self.document[self.at : self.at + 1]
        if opening == "[":
            self.listed(path)
        elif opening == "{":
            self.inline(path)
        else:
            self.at = self.match(STRING if opening in {'"', "'"} else SCALAR)

    def listed(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self.document[self.skip()] != "]":
            self.mark((*path, index))
            self.value((*path, index))
            index += 1
            if self.document[self.skip()] == ",":
                self.at += 1
        self.at += 1

    def inline(self, path: Path) -> None:
        self.at += 1
        while self.document[self.skip()] != "}":
            self.pair(path)
            if self.document[self.skip()] == ",":
                self.at += 1
        self.at += 1


def _unquoted(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 0"))) if key[:1] in {'"', "'"} else key
