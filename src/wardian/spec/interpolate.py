"""``${NAME}``, ``${NAME:-default}`` and ``$$`` in values; the ``.env`` file they may come from."""

import re
from collections.abc import Mapping

from wardian.errors import Fault

BRACES = r"\$\{((?:[^}$]|\$(?!\{)|\$\{[^{}]*\})*)\}"  # with one more variable in the default
VARIABLE = re.compile(rf"\$\$|{BRACES}|\$\{{")
INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)(.*))?", re.DOTALL)
ENTRY = re.compile(  # of .env: a comment, NAME=value with quotes of either kind or none, or something else
    r"""(\s*)(?:#[^\n]*|(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*"""
    r"""(?:"((?:\\.|[^"\\])*)"|'([^']*)'|([^\n]*))([^\n]*)|(\S[^\n]*))""",
    re.DOTALL,
)
REST = re.compile(r"\s*(?:#.*)?")
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
    for found in ENTRY.finditer(text):
        name, double, single, bare, rest, other = found.groups()[1:]
        known = {**values, **environ}
        if other is not None or (bare or "")[:1] in {'"', "'"} or not REST.fullmatch(rest or ""):
            what = (
                "not NAME=value"
                if other
                else "the quote is never closed"
                if bare
                else "something follows the closing quote"
            )
            faults.append(Fault(name or "", what, source=source, line=text.count("\n", 0, found.end(1)) + 1))
        elif double is not None:
            values[name] = _known(double, known, escapes=True)
        elif name is not None:
            plain = re.split(r"(?:^|\s)#", bare or "", maxsplit=1)[0].strip()
            values[name] = _known(plain, known) if single is None else single
    return values, faults


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
