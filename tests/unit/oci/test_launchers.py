"""Launchers: what they run, and first lines that every kernel takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from wardian.errors import WheelRefused
from wardian.oci.launchers import fixed_script, launchers, shebang

TEXT = b"""\
# a comment
[console_scripts]
plain = json.tool:main
deep=os.path:join.__call__ [extra1, extra2]
; another
[gui_scripts]
window = thing.ui:App.run
[some.other.group]
ignored = not even valid
"""


def test_console_and_gui_scripts_are_found() -> None:
    found = launchers(TEXT, "/opt/env/bin/python", "w")
    assert sorted(found) == ["deep", "plain", "window"]
    assert b"from thing.ui import App\n" in found["window"]
    assert b"sys.exit(App.run())" in found["window"]
    assert all(content.startswith(b"#!/opt/env/bin/python\n") for content in found.values())


def test_a_launcher_runs_its_function(tmp_path: Path) -> None:
    [(name, content)] = launchers(b"[console_scripts]\ntool = json.tool:main\n", sys.executable, "w").items()
    program = tmp_path / name
    program.write_bytes(content)
    program.chmod(0o755)
    done = subprocess.run([str(program)], input=b'{"a":1}', capture_output=True, check=True)
    assert done.stdout == b'{\n    "a": 1\n}\n'


@pytest.mark.parametrize("folder", ["with space", "x" * 120, "it's"])
def test_an_interpreter_that_the_kernel_would_not_take(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    (place / "python").symlink_to(sys.executable)
    script = tmp_path / "script"
    script.write_bytes(fixed_script(b"#!python\nimport sys\nprint(sys.argv[1:])\n", f"{place}/python"))
    script.chmod(0o755)
    done = subprocess.run([str(script), "a b", "c"], capture_output=True, check=True)
    assert done.stdout == b"['a b', 'c']\n"


def test_short_interpreters_stay_plain() -> None:
    assert shebang("/opt/env/bin/python") == b"#!/opt/env/bin/python\n"
    assert shebang("/" + "x" * 123) == b"#!/" + b"x" * 123 + b"\n"
    assert shebang("/" + "x" * 124).startswith(b"#!/bin/sh\n")


@pytest.mark.parametrize(
    "line",
    [
        "x = a",
        "x = :b",
        "x = a:b c",
        "x = a:b'",
        "x =",
        "x",
        "a/b = c:d",
        ".. = c:d",
        " = c:d",
        f"{'x' * 256} = c:d",
        ".wh.a = c:d",
        "a\x7f = c:d",
    ],
)
def test_entry_points_that_cannot_be_are_refused(line: str) -> None:
    with pytest.raises(WheelRefused, match="entry point"):
        launchers(f"[console_scripts]\n{line}\n".encode(), "/python", "w")
