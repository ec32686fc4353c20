"""Variables in values, and the file that may hold them."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.interpolate import Unset, dotenv, interpolate

KNOWN = {"USER": "ada", "EMPTY": "", "PORT": "36001"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("no variable", "no variable"),
        ("${USER}", "ada"),
        ("/home/${USER}/x:${PORT}", "/home/ada/x:36001"),
        ("${NONE:-x y}", "x y"),
        ("${NONE-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-full}", "full"),
        ("${EMPTY-full}", ""),
        ("${USER:-other}", "ada"),
        ("$$", "$"),
        ("$${USER}", "${USER}"),
        ("$$$${USER}", "$${USER}"),
        ("$$${USER}", "$ada"),
        ("$USER costs 5$", "$USER costs 5$"),
        ("${NONE:-http://x:1/y?z={a\n}", "http://x:1/y?z={a\n"),
        ("${NONE:-a:-b}", "a:-b"),
        ("{USER} ${USER}}", "{USER} ada}"),
        ("${NONE:-${USER}/x}", "ada/x"),
        ("${USER:-${NONE}}", "ada"),
        ("${NONE:-${OTHER:-c}${EMPTY}}:${PORT}", "c:36001"),
        ("${NONE:-$$x $y}", "$x $y"),
    ],
)
def test_filled(text: str, filled: str) -> None:
    assert interpolate(text, KNOWN) == filled


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${NONE}", r"NONE is not set.*NONE:-default"),
        ("${}", r"\$\{\} is not a variable"),
        ("${1X}", "is not a variable"),
        ("${A B}", "is not a variable"),
        ("${USER:?needed}", "is not a variable"),
        ("${USER//a/b}", "is not a variable"),
        ("${USER", "is not a variable"),
        ("${NONE:-${OTHER}}", "OTHER is not set"),
        ("${USER:-${NONE:-${OTHER}}}", "is not a variable"),
    ],
)
def test_unset(text: str, says: str) -> None:
    with pytest.raises(Unset, match=says):
        interpolate(text, KNOWN)


@given(st.text())
def test_doubled_dollars_give_any_text_back(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text


@given(st.text("${}AB:-_ x", max_size=20))
def test_anything_is_filled_or_refused(text: str) -> None:
    try:
        interpolate(text, {"A": "1"})
    except Unset:
        assert "${" in text


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text()))
def test_a_value_is_not_filled_again(values: dict[str, str]) -> None:
    for name, value in values.items():
        assert interpolate(f"<${{{name}}}>", values) == f"<{value}>"


ENVIRON = {"HERE": "shell", "HOME": "/home/ada", "EMPTY": ""}
DOTENV = """\
# the project's own
PLAIN=value
export EXPORTED = spaced out   # a comment

EMPTY=
HASH=a#b
BRACES=${not a name}
NESTED="${NOT_YET:-${PLAIN}/x}${PLAIN:-${NOT_YET}}"
SINGLE='it is ${PLAIN} \\n literal' # after
DOUBLE="say \\"hi\\"\\tto ${PLAIN} \\$5 \\x"
MANY="line one
line two"
AFTER=${MANY}
LATER=${NOT_YET:-default}${NOT_YET}
URL=https://x.org/?a=b&c=d
  INDENTED=1
QUOTED_EMPTY=""
JSON='{"a": "b"}'
"""


def test_dotenv() -> None:
    values, faults = dotenv(DOTENV, {})
    assert faults == []
    assert values == {
        "PLAIN": "value",
        "EXPORTED": "spaced out",
        "EMPTY": "",
        "HASH": "a#b",
        "BRACES": "${not a name}",
        "NESTED": "value/xvalue",
        "SINGLE": "it is ${PLAIN} \\n literal",
        "DOUBLE": 'say "hi"\tto value $5 \\x',
        "MANY": "line one\nline two",
        "AFTER": "line one\nline two",
        "LATER": "default",
        "URL": "https://x.org/?a=b&c=d",
        "INDENTED": "1",
        "QUOTED_EMPTY": "",
        "JSON": '{"a": "b"}',
    }


def test_a_variable_of_the_environment_is_stronger_than_one_above() -> None:
    values, faults = dotenv("HERE=file\nA=${HERE}/x\nB=${HOME}/x${GONE}\nC=${EMPTY-no}${EMPTY:-full}\n", ENVIRON)
    assert (values, faults) == ({"HERE": "file", "A": "shell/x", "B": "/home/ada/x", "C": "full"}, [])


def test_dotenv_from_windows() -> None:
    assert dotenv("\ufeffA=1\r\nB='x'\r\n", {}) == ({"A": "1", "B": "x"}, [])


def test_dotenv_faults_name_the_line_and_hide_the_value() -> None:
    values, faults = dotenv('GOOD=1\nsk-secret\nA="x" sk-secret\n1X=sk-secret\nLAST=\'sk-secret\nB=2\n', {})
    assert values == {"GOOD": "1", "B": "2"}
    assert [(fault.line, fault.path, fault.message) for fault in faults] == [
        (2, "", "not NAME=value"),
        (3, "A", "something follows the closing quote"),
        (4, "", "not NAME=value"),
        (5, "LAST", "the quote is never closed"),
    ]
    assert "sk-secret" not in "".join(map(str, faults))


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z]{1,6}", fullmatch=True),
        st.text(st.characters(exclude_characters="\x00\r'", exclude_categories=["Cs"])),
        max_size=4,
    )
)
def test_single_quotes_keep_any_value(values: dict[str, str]) -> None:
    assert dotenv("".join(f"{name}='{value}'\n" for name, value in values.items()), {}) == (values, [])


@given(st.text(st.characters(exclude_characters="\x00\r", exclude_categories=["Cs"])))
def test_double_quotes_keep_any_value(value: str) -> None:
    escaped = value
    for letter in '\\"$`':
        escaped = escaped.replace(letter, f"\\{letter}")
    assert dotenv(f'A="{escaped}" # x\n', {"A": "other"}) == ({"A": value}, [])


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    values, faults = dotenv(text, {})
    assert all("\n" not in name for name in values)
    assert all(fault.line for fault in faults)


def test_as_a_shell_reads_it() -> None:
    """The plain forms mean what they mean to bash."""
    plain = 'A=1\nexport B=\'x  y\'\nC="a ${A} \\"q\\" b"\nD=$A\n'.replace("$A\n", "${A}\n")
    values, faults = dotenv(plain, {})
    script = plain + "".join(f'printf "%s\\0" "${name}"\n' for name in values)
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert (list(values.values()), faults) == (said.split("\0")[:-1], [])
    assert shlex.quote(values["B"]) == "'x  y'"
