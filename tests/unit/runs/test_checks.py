"""Checks: which are chosen, how they are judged, that all are made, and the report."""

import threading
import time
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.runs.capture import HEAD, TAIL, Captured
from wardian.runs.checks import Named, Verdict, chosen, default_jobs, junit, legal, perform, verdict
from wardian.spec.models import Check

TORCH = Named("train", "torch imports", Check(run="python -c 'import torch'"))
TOOLS = Named("train[python=3.11]", "tools on PATH", Check(run="which git", expect="/usr/bin/git", timeout=60.0))


def ended(**changes: object) -> Captured:
    base: dict[str, object] = {
        "code": 0,
        "started": True,
        "timed_out": False,
        "seconds": 0.5,
        "stdout": b"",
        "stderr": b"",
        "found": True,
    }
    return Captured(**(base | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (None, ["torch imports", "tools on PATH"]),
        ("torch", ["torch imports"]),
        ("TOOLS", ["tools on PATH"]),
        ("t*s", ["torch imports"]),
        ("train: t", ["torch imports"]),
        ("3.11", ["tools on PATH"]),
        ("", ["torch imports", "tools on PATH"]),
        ("nothing", []),
    ],
)
def test_checks_are_chosen_by_words_and_wildcards(pattern: str | None, names: list[str]) -> None:
    assert [one.name for one in chosen([TORCH, TOOLS], pattern)] == names


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, "passed", ""),
        ({"code": 3}, "failed", "exit code 3"),
        ({"code": 137, "timed_out": True}, "failed", "did not end within 60 s"),
        ({"found": False}, "failed", "'/usr/bin/git' is not in its output"),
        ({"code": 1, "found": False}, "failed", "exit code 1"),
        ({"code": 125, "started": False}, "error", "the sandbox could not be made"),
    ],
)
def test_a_check_is_judged_by_how_it_ended(changes: dict[str, object], state: str, reason: str) -> None:
    made = verdict(TOOLS, ended(**changes))
    assert (made.state, made.reason) == (state, reason)


def test_output_that_is_not_text_is_kept_readable() -> None:
    assert verdict(TORCH, ended(stdout=b"\xff\x00ok")).stdout == "�\0ok"


def test_all_checks_are_made_though_some_fail_and_verdicts_keep_their_order() -> None:
    checks = [Named("i", str(at), Check(run="x")) for at in range(20)]
    seen: list[str] = []

    def one(check: Named, stop: threading.Event) -> Verdict:
        time.sleep(0.01 if int(check.name) % 2 else 0)
        return Verdict(check, "failed" if int(check.name) % 3 else "passed")

    verdicts = perform(checks, 4, one, lambda made: seen.append(made.of.name))
    assert [made.of for made in verdicts] == checks
    assert sorted(seen, key=int) == [check.name for check in checks]


def test_an_interrupt_stops_what_runs_and_starts_nothing_more() -> None:
    begun: list[str] = []

    def one(check: Named, stop: threading.Event) -> Verdict:
        begun.append(check.name)
        if check.name == "0":
            raise KeyboardInterrupt
        assert stop.wait(10)
        return Verdict(check, "failed")

    checks = [Named("i", str(at), Check(run="x")) for at in range(50)]
    with pytest.raises(KeyboardInterrupt):
        perform(checks, 2, one, lambda made: None)
    assert len(begun) < 10


def test_there_is_always_a_job() -> None:
    assert 1 <= default_jobs() <= 4


# Element → the attributes it must have, those it may have, its children.
# Source: junit-10.xsd of https://github.com/jenkinsci/xunit-plugin
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "timestamp", "hostname", "id", "package", "skipped"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name", "classname"},
        {"time", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"message", "type"}, set()),
    "error": (set(), {"message", "type"}, set()),
    "system-out": (set(), set(), set()),
    "system-err": (set(), set(), set()),
}


def valid(text: str) -> ET.Element:
    """The report's root, once every element was held against the schema, and every count against what is there."""
    root = ET.fromstring(text.encode())
    for element in root.iter():
        must, may, children = SCHEMA[element.tag]
        assert must <= set(element.keys()) <= must | may, element.tag
        assert {child.tag for child in element} <= children, element.tag
        for name in {"time", "tests", "failures", "errors"} & set(element.keys()):
            assert float(str(element.get(name))) >= 0
    for suite in [root, *root]:
        counted = [suite.get("tests"), suite.get("failures"), suite.get("errors")]
        assert counted == [str(len(list(suite.iter(tag)))) for tag in ("testcase", "failure", "error")]
    return root


def test_the_report_is_what_ci_servers_read() -> None:
    verdicts = [
        Verdict(TORCH, "passed", seconds=1.25, stdout="2.4.0\n"),
        Verdict(TOOLS, "failed", "exit code 1", 1, 0.5, "out", "err"),
        Verdict(TORCH, "error", "image train is not built"),
    ]
    root = valid(junit(verdicts, {"train": "sha256:1"}))
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "3", "1", "1")
    assert [suite.get("name") for suite in root] == ["train", "train[python=3.11]"]
    assert root.find("testsuite/properties/property").attrib == {"name": "digest", "value": "sha256:1"}  # type: ignore[union-attr]
    case = root.find("testsuite[2]/testcase")
    assert case is not None
    assert (case.get("name"), case.get("classname"), case.get("time")) == (
        "tools on PATH",
        "train[python=3.11]",
        "0.500",
    )
    assert case.find("failure").attrib == {"message": "exit code 1"}  # type: ignore[union-attr]
    assert case.findtext("failure") == "which git"
    assert (case.findtext("system-out"), case.findtext("system-err")) == ("out", "err")


@given(st.text(), st.text(), st.text())
def test_hostile_output_leaves_the_report_readable(name: str, reason: str, output: str) -> None:
    hostile = Verdict(
        Named(name, reason, Check(run=output)), "failed", reason, 1, 0.0, f"]]></system-out>{output}", output
    )
    root = valid(junit([hostile], {name: reason}))
    assert len(list(root.iter("testcase"))) == 1


@given(st.characters(codec=None) | st.sampled_from(["\0", "\x1b", "\ud800", "\ufffe", "\x7f", "\t"]))
def test_every_character_becomes_one_that_xml_has(letter: str) -> None:
    made = legal(letter)
    assert made in (letter, "�")
    ET.tostring(ET.Element("a", {"b": made}), encoding="utf-8")


def test_a_flood_is_cut_in_the_report() -> None:
    text = junit([Verdict(TORCH, "failed", stdout="x" * (HEAD + TAIL))], {})
    assert len(text) < 2 * TAIL + 2000
