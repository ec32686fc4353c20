"""``${NAME}``, ``${NAME:-default}`` and ``$$`` in values; the ``.env`` file they may come from."""

import re
from collections.abc import Mapping

from wardian.errors import Fault

BRACES = r"\$\{((?:[^}$]|\$(?!\{)|\$\{[^{}]*\})*)\}"  # with one more variable in the default
VARIABLE = re.compile(rf"\$\$|{BRACES}|\$\{{")
INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)(.*))?", re.DOTALL)
ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*")
ESCAPE = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}


class Unset(ValueError):
    """A variable has no value and no default, or what stands between the braces is not a variable."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Fill in variables. ``:-`` is for unset and empty ones, ``-`` for unset ones; ``$$`` is a dollar.

    A default may hold variables, whose defaults hold none. Raises ``Unset``. A dollar before anything else is kept.
    Source: the Compose specification, "Interpolation".

    >>> interpolate("${USER:-nobody} pays $$5 to $1", {})
    'nobody pays $5 to $1'
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        inside = INSIDE.fullmatch(found[1] or "")
        if not inside:
            raise Unset(
                f"{found[0]} is not a variable; write ${{NAME}} or ${{NAME:-default}}, and $$ for a dollar sign"
            )
        name, operator, default = inside.groups()
        known = variables.get(name)
        if known is not None and (known or operator != ":-"):
            return known
        if operator:
            return interpolate(default, variables)
        raise Unset(
            f"the variable {name} is not set; set it in the environment or in .env, or write ${{{name}:-default}}"
        )

    return VARIABLE.sub(value, text)


def dotenv(text: str, environ: Mapping[str, str], source: str = ".env") -> tuple[dict[str, str], list[Fault]]:
    """The variables of a ``.env`` file, and its faults by line (which never show a value).

    ``export`` before a name, quotes of both kinds (may span lines; escapes in double ones), comments. ``${NAME}``
    outside single quotes is a variable of ``environ``, else one that stands above in the file, else empty.
    """
    values: dict[str, str] = {}
    faults: list[Fault] = []
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    at, line = 0, 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        row = text[at:end]
        if row.strip() and not row.lstrip().startswith("#"):
            start = at + len(row) - len(row.lstrip())
            found = ASSIGNMENT.match(text, start)
            if not found:
                faults.append(Fault("", "not NAME=value", source=source, line=line))
            else:
                try:
                    values[found[1]], end = _value(text, found.end(), end, {**values, **environ})
                except ValueError as error:
                    faults.append(Fault(found[1], str(error), source=source, line=line))
        line += text.count("\n", at, end + 1)
        at = end + 1
    return values, faults


def _value(text: str, start: int, end: int, known: Mapping[str, str]) -> tuple[str, int]:
    """The value that begins at ``start``, and where its (last) line ends."""
    quote = text[start : start + 1]
    if quote not in {'"', "'"}:
        bare = re.split(r"(?:^|\s)#", text[start:end], maxsplit=1)[0]
        return _known(bare.strip(), known), end
    pattern = r'"((?:\\.|[^"\\])*)"' if quote == '"' else r"'([^']*)'"
    found = re.compile(pattern, re.DOTALL).match(text, start)
    if not found:
        raise ValueError("the quote is never closed")
    after = text.find("\n", found.end())
    after = len(text) if after < 0 else after
    rest = text[found.end() : after].strip()
    if rest and not rest.startswith("#"):
        raise ValueError("something follows the closing quote")
    if quote == "'":
        return found[1], after
    return _known(found[1], known, escapes=True), after


def _known(text: str, known: Mapping[str, str], *, escapes: bool = False) -> str:
    """Fill in variables, and undo escapes, in one pass."""

    def part(found: re.Match[str]) -> str:
        if found[1] is not None:
            return ESCAPE.get(found[1], found[0]) if escapes else found[0]
        inside = INSIDE.fullmatch(found[2])
        if not inside:
            return found[0]
        value = known.get(inside[1])
        return value if value is not None and (value or inside[2] != ":-") else _known(inside[3] or "", known)

    return re.sub(rf"\\(.)|{BRACES}", part, text, flags=re.DOTALL)
