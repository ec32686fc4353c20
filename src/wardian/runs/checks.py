"""The named checks of images: each in a sandbox of its own, several at a time, all of them to the end."""

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal
from xml.etree import ElementTree as ET

from wardian.runs.capture import Captured
from wardian.spec.models import Check

# What XML 1.0 cannot hold, not even as a reference. Source: https://www.w3.org/TR/xml/#charsets
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SHOWN = 1 << 16  # characters of a check's output in a report


@dataclass(frozen=True, slots=True)
class Named:
    """One check of one image."""

    image: str  # id of the variant
    name: str
    check: Check


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a check. ``error``: it could not be made (no image, no sandbox)."""

    of: Named
    state: Literal["passed", "failed", "error"]
    reason: str = ""
    code: int | None = None
    seconds: float = 0.0
    stdout: str = ""
    stderr: str = ""

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON data."""
        return {
            "image": self.of.image,
            "check": self.of.name,
            "run": self.of.check.run,
            "state": self.state,
            "reason": self.reason,
            "exit_code": self.code,
            "seconds": round(self.seconds, 3),
            "stdout": self.stdout,
            "stderr": self.stderr,
        }


def chosen(checks: Sequence[Named], pattern: str | None) -> list[Named]:
    """The checks whose name, or ``image: name``, has the words of a pattern in it (or matches its wildcards)."""
    if pattern is None:
        return list(checks)
    wanted = pattern.lower()
    wild = wanted if any(letter in wanted for letter in "*?[") else f"*{wanted}*"
    return [one for one in checks if any(fnmatchcase(text.lower(), wild) for text in _names(one))]


def _names(one: Named) -> tuple[str, str]:
    return one.name, f"{one.image}: {one.name}"


def verdict(of: Named, ended: Captured) -> Verdict:
    """Judge a check by how its program ended."""
    reason = ""
    if not ended.started:
        reason = "the sandbox could not be made"
    elif ended.timed_out:
        reason = f"did not end within {of.check.timeout:g} s"
    elif ended.code:
        reason = f"exit code {ended.code}"
    elif not ended.found:
        reason = f"{of.check.expect!r} is not in its output"
    return Verdict(
        of,
        "passed" if not reason else "failed" if ended.started else "error",
        reason,
        None if ended.timed_out else ended.code,
        ended.seconds,
        ended.stdout.decode(errors="replace"),
        ended.stderr.decode(errors="replace"),
    )


def perform(
    checks: Sequence[Named],
    jobs: int,
    one: Callable[[Named, threading.Event], Verdict],
    done: Callable[[Verdict], None],
) -> list[Verdict]:
    """Make all checks, ``jobs`` at a time; the verdicts in the order given. An interrupt ends those that run."""
    stop = threading.Event()

    def make(check: Named) -> Verdict:
        result = one(check, stop)
        done(result)
        return result

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        futures = [pool.submit(make, check) for check in checks]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def default_jobs() -> int:
    """As many as there are processors for us, four at most: checks that import torch need memory too."""
    return min(4, len(os.sched_getaffinity(0)))


def junit(verdicts: Sequence[Verdict], properties: Mapping[str, str]) -> str:
    """The verdicts as JUnit XML: one suite for each image, images as they come.

    Source: https://github.com/testmoapp/junitxml
    """
    root = ET.Element("testsuites", _counts(verdicts))
    for image in dict.fromkeys(one.of.image for one in verdicts):
        own = [one for one in verdicts if one.of.image == image]
        suite = ET.SubElement(root, "testsuite", {"name": legal(image), **_counts(own)})
        if digest := properties.get(image):
            ET.SubElement(ET.SubElement(suite, "properties"), "property", {"name": "digest", "value": legal(digest)})
        for one in own:
            seconds = f"{one.seconds:.3f}"
            case = ET.SubElement(
                suite, "testcase", {"name": legal(one.of.name), "classname": legal(image), "time": seconds}
            )
            if one.state != "passed":
                tag = "failure" if one.state == "failed" else "error"
                ET.SubElement(case, tag, {"message": legal(one.reason)}).text = legal(one.of.check.run)
            for tag, text in (("system-out", one.stdout), ("system-err", one.stderr)):
                if text:
                    ET.SubElement(case, tag).text = legal(text[-SHOWN:])
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def legal(text: str) -> str:
    """Text that XML can hold: whatever it cannot becomes U+FFFD."""
    return ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def _counts(verdicts: Sequence[Verdict]) -> dict[str, str]:
    return {
        "tests": str(len(verdicts)),
        "failures": str(sum(one.state == "failed" for one in verdicts)),
        "errors": str(sum(one.state == "error" for one in verdicts)),
        "time": f"{sum(one.seconds for one in verdicts):.3f}",
    }
