"""The doctor's findings on machines that lack something, told by a host that answers as such a machine would."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from wardian.command import Command, Result
from wardian.errors import Unavailable
from wardian.hosts import subids
from wardian.hosts import survey as module
from wardian.hosts.machine import Machine
from wardian.hosts.survey import Finding, survey, works

Answer = tuple[int, str, str] | None  # code, stdout, stderr; None: the program is not there


class Fake:
    """A host that knows some command lines; anything unforeseen fails the test."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.own = answers  # what this machine answers otherwise goes first
        self.answers: dict[str, Answer] = {
            "--version": (0, "tool 9.9.9", ""),
            "id -u": (0, "1000\n/usr/bin/bwrap\n/usr/bin/unshare\n/usr/bin/setpriv\n/usr/bin/newuidmap\n", ""),
            "id -un": (0, "ada\n", ""),
            "unshare --version": (0, "unshare from util-linux 2.38.1", ""),
            "mount -t tmpfs tmpfs /tmp": (0, "", ""),
            "mount -t overlay": (0, "", ""),
            "bwrap --unshare-pid": (0, "", ""),
            "cat /proc/sys": (1, "", "no such file"),
        }

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        line = " ".join(command.argv)
        own = [answer for key, answer in self.own.items() if key in line]
        known = [key for key in self.answers if key in line]
        assert own or known, f"not foreseen: {line}"
        answer = own[0] if own else self.answers[max(known, key=len)]
        if answer is None:
            raise Unavailable(f"{command.argv[0]} is not on this machine")
        return Result(command, answer[0], answer[1].encode(), answer[2].encode())

    def stream(self, command: Command, *, line: Callable[[str], None], timeout: float | None = None) -> Result:
        raise AssertionError(command)

    def pipe(self, command: Command, *, stdout: BinaryIO) -> Result:
        raise AssertionError(command)

    def feed(self, command: Command, write: Callable[[BinaryIO], None]) -> Result:
        raise AssertionError


def found(tmp_path: Path, answers: Mapping[str, Answer] = {}) -> dict[str, Finding]:
    findings = survey(Fake(answers), {"HOME": str(tmp_path)}, tmp_path / "store", Machine())
    by_name = {finding.name: finding for finding in findings}
    by_name["works"] = Finding("works", "ok" if works(findings) else "missing", "")
    for finding in findings:
        assert finding.state != "missing" or (finding.needed_for and finding.fix), finding
    return by_name


@pytest.fixture(autouse=True)
def subuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with room, whose user has a range of ids, and a newuidmap."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    files = tuple(tmp_path / name for name in ("subuid", "subgid"))
    for file in files:
        file.write_text("bob:100000:65536\nada:165536:65536\n")
    monkeypatch.setattr(subids, "FILES", files)
    return files[0]


def test_a_machine_that_has_all(tmp_path: Path) -> None:
    findings = found(tmp_path)
    assert findings["works"].state == "ok"
    assert [name for name, finding in findings.items() if finding.state == "missing"] == []
    assert findings["bwrap"].said == "9.9.9"
    assert findings["util-linux"].said == "2.38.1"
    assert findings["namespaces"].said == "as a plain user with a range of ids"


@pytest.mark.parametrize(
    ("line", "name", "package", "needed"),
    [
        ("bwrap --version", "bwrap", "type: sudo apt-get install bubblewrap", True),
        ("mmdebstrap --version", "mmdebstrap", "type: sudo apt-get install mmdebstrap", False),
        ("git --version", "git", "type: sudo apt-get install git", False),
    ],
)
def test_a_program_that_is_missing_is_named_with_its_package(
    tmp_path: Path, line: str, name: str, package: str, needed: bool
) -> None:
    findings = found(tmp_path, {line: None})
    assert findings[name].state == "missing"
    assert findings[name].fix == package
    assert (findings["works"].state == "missing") is needed
    assert ("namespaces" in findings) is not needed  # what cannot be tried is not reported as a fault of its own


def test_an_old_util_linux_is_only_short_of_ranges(tmp_path: Path) -> None:
    findings = found(tmp_path, {"unshare --version": (0, "unshare from util-linux 2.37.2", "")})
    assert findings["util-linux"].state == "missing"
    assert "older than 2.38" in findings["util-linux"].said
    assert findings["works"].state == "ok"


def test_a_kernel_that_forbids_namespaces_is_told_with_its_setting(tmp_path: Path) -> None:
    findings = found(
        tmp_path,
        {
            "mount -t tmpfs tmpfs /tmp": (1, "", "unshare: unshare failed: Operation not permitted"),
            "cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns": (0, "1\n", ""),
        },
    )
    assert findings["namespaces"].state == "missing"
    assert findings["namespaces"].fix == "type: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    assert findings["works"].state == "missing"
    assert "overlay" not in findings


def test_what_is_there_but_does_not_work_is_missing(tmp_path: Path) -> None:
    findings = found(
        tmp_path,
        {
            "mount -t overlay": (1, "", "mount: wrong fs type\nmount: permission denied\n"),
            "bwrap --unshare-pid": (1, "", "bwrap: No permissions to create new namespace"),
        },
    )
    assert findings["overlay"].said == "mount: permission denied"
    assert findings["sandbox"].said == "bwrap: No permissions to create new namespace"
    assert findings["works"].state == "missing"


def test_one_id_is_enough_to_run_and_the_line_for_more_is_given(tmp_path: Path, subuid: Path) -> None:
    subuid.write_text("bob:100000:65536\nnot a line\neve:1000000:65536\n")
    findings = found(tmp_path, {"--map-auto": (1, "", "no range")})
    assert findings["namespaces"].said == "as a plain user with one id"
    assert findings["subordinate ids"].state == "missing"
    assert findings["subordinate ids"].fix == (
        "type: sudo usermod --add-subuids 1065536-1131071 --add-subgids 1065536-1131071 ada"
    )
    assert findings["works"].state == "ok"


def test_without_newuidmap_the_range_itself_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    findings = found(tmp_path, {"--map-auto": (1, "", "no newuidmap")})
    assert findings["newuidmap"].fix == "type: sudo apt-get install uidmap"
    assert findings["subordinate ids"].state == "ok"


def test_a_newuidmap_without_its_capabilities_is_told_from_a_missing_range(tmp_path: Path) -> None:
    findings = found(tmp_path, {"--map-auto": (1, "", "newuidmap: write to uid_map failed: Operation not permitted")})
    assert findings["subordinate ids"].said == "newuidmap refuses the range"
    assert findings["subordinate ids"].fix == "type: sudo apt-get install --reinstall uidmap"


def test_root_needs_no_ranges(tmp_path: Path) -> None:
    findings = found(tmp_path, {"id -u": (0, "0\n/usr/bin/bwrap\n/usr/bin/unshare\n/usr/bin/setpriv\n", "")})
    assert findings["namespaces"].said == "as root"
    assert "subordinate ids" not in findings


def test_the_network_s_settings_are_shown_without_passwords(tmp_path: Path) -> None:
    machine = Machine(
        index="https://ada:secret@pypi.example/simple",
        find_links=("/nowhere/wheels", str(tmp_path)),
        ca_bundle="/nowhere/ca.crt",
        proxies={"https": "http://ada:secret@proxy:3128"},
    )
    findings = survey(Fake({}), {"HOME": str(tmp_path)}, tmp_path / "store", machine)
    assert "secret" not in str(findings)
    assert "proxy:3128" in str(findings)
    missing = [finding.said for finding in findings if finding.state == "missing"]
    assert missing == ["/nowhere/ca.crt is not there", "/nowhere/wheels is not there"]


def test_a_store_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_writable", lambda folder: False)
    findings = found(tmp_path)
    assert findings["store"].state == "missing"
    assert "WARDIAN_HOME" in findings["store"].fix
    assert "free space" not in findings
    assert findings["HOME"].state == "missing"
    assert findings["works"].state == "missing"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    findings = found(tmp_path)
    assert findings["free space"].state == "missing"
    assert findings["works"].state == "ok"


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CDI", (tmp_path / "absent", tmp_path))
    (tmp_path / "nvidia.yaml").write_text("cdiVersion: 0.6.0\n")
    findings = found(tmp_path)
    assert findings["GPUs"].state == "ok"
    assert "nvidia.yaml" in findings["GPUs"].said


def test_findings_are_json(tmp_path: Path) -> None:
    assert Finding("x", "ok", "y").to_json() == {
        "name": "x",
        "state": "ok",
        "said": "y",
        "needed_for": "",
        "fix": "",
        "required": False,
    }


def test_the_real_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert module._writable(tmp_path)
    assert not module._writable(tmp_path / "absent")
