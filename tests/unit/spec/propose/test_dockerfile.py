"""Dockerfiles taken apart: instructions, stages, variables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.spec.propose.dockerfile import Instruction, filled, instructions, last_stage, pairs


def words(text: str) -> list[tuple[str, str]]:
    return [(one.word, one.rest) for one in instructions(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("# only a comment\n\n", []),
        ("FROM debian", [("FROM", "debian")]),
        ("from  debian as x\nrun true", [("FROM", "debian as x"), ("RUN", "true")]),
        ("RUN a \\\n  b \\\n\n# between\n  && c\nRUN d", [("RUN", "a   b   && c"), ("RUN", "d")]),
        ("RUN a \\ \n b", [("RUN", "a  b")]),
        ("# escape=`\nRUN a `\n b \\c\n", [("RUN", "a  b \\c")]),
        ("RUN a\r\nRUN b\r\n", [("RUN", "a"), ("RUN", "b")]),
        ("RUN a \\", [("RUN", "a")]),
        ("  ENV A=1", [("ENV", "A=1")]),
        ("???\nRUN x", [("RUN", "x")]),
        ("CMD --lr 1", [("CMD", "--lr 1")]),
    ],
)
def test_instructions(text: str, found: list[tuple[str, str]]) -> None:
    assert words(text) == found


def test_options() -> None:
    (one,) = instructions("COPY --from=a --link --chown=x:y src dst")
    assert one == Instruction("COPY", (("from", "a"), ("link", ""), ("chown", "x:y")), "src dst", None, 1)


def test_here_documents() -> None:
    text = "RUN <<EOF\necho $A\n# kept\nEOF\nRUN <<-'END' bash\n\ta\n\tEND\n"
    text += "COPY <<one <<two /x/\n1\none\n2\ntwo\nRUN after\n"
    assert [(one.rest, one.body, one.line) for one in instructions(text)] == [
        ("<<EOF", "echo $A\n# kept", 1),
        ("<<-'END' bash", "a", 5),
        ("<<one <<two /x/", "1\n2", 8),
        ("after", None, 13),
    ]


@pytest.mark.parametrize(
    ("rest", "argv"),
    [
        ('["a", "b c"]', ("a", "b c")),
        ("[]", ()),
        ("a b", None),
        ("['a']", None),
        ("[1]", None),
        ("[ -f x ] && y", None),
        ("[" * 5000, None),
    ],
)
def test_the_json_form(rest: str, argv: tuple[str, ...] | None) -> None:
    assert Instruction("CMD", (), rest).words() == argv


@pytest.mark.parametrize(
    ("text", "known", "result"),
    [
        ("$A ${A} ${B} $B", {"A": "1"}, "1 1 ${B} $B"),
        ("${A:-x} ${B:-x} ${B-y}", {"A": "1"}, "1 x y"),
        ("${A:+x} ${B:+x}", {"A": "1"}, "x ${B:+x}"),
        (r"\$A $$A", {"A": "1"}, r"\$A $1"),
        ("$AB", {"A": "1"}, "$AB"),
    ],
)
def test_filled(text: str, known: dict[str, str], result: str) -> None:
    assert filled(text, known) == result


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("A=1 B=2", [("A", "1"), ("B", "2")]),
        ("A=\"x y\" B='z' C=a\\ b", [("A", "x y"), ("B", "z"), ("C", "a b")]),
        ("A x  y", [("A", "x  y")]),
        ("A", [("A", "")]),
        ("", []),
        ('A="open', [("A", '"open')]),
        ("A=", [("A", "")]),
        ("A=b=c", [("A", "b=c")]),
    ],
)
def test_pairs(rest: str, found: list[tuple[str, str]]) -> None:
    assert pairs(rest) == found


def test_the_last_stage_and_those_beneath() -> None:
    text = "ARG V=1\nFROM a AS one\nRUN 1\nFROM b AS other\nRUN 2\nFROM one AS two\nRUN 3\nFROM Two\nRUN 4\n"
    assert [(one.word, one.rest) for one in last_stage(list(instructions(text)))] == [
        ("ARG", "V=1"),
        ("FROM", "a AS one"),
        ("RUN", "1"),
        ("RUN", "3"),
        ("RUN", "4"),
    ]


def test_a_stage_that_is_named_like_its_base() -> None:
    text = "FROM debian AS debian\nRUN 1\nFROM debian\nRUN 2\n"
    assert [one.rest for one in last_stage(list(instructions(text)))] == ["debian AS debian", "1", "2"]
    text = "FROM debian AS debian\nRUN 1\n"
    assert [one.rest for one in last_stage(list(instructions(text)))] == ["debian AS debian", "1"]


def test_no_stage_at_all() -> None:
    assert [one.rest for one in last_stage(list(instructions("RUN 1")))] == ["1"]


@given(st.text("FROM RUN\\\n#<E \"'[]$`=", max_size=60))
def test_any_text_has_instructions(text: str) -> None:
    for one in last_stage(list(instructions(text))):
        assert one.word.isupper()
        assert 1 <= one.line <= text.count("\n") + 1
