"""The scripts of an environment: launchers of entry points, and first lines that name its interpreter.

The text is our own, not `installer`'s, because it is part of a layer's digest and must not change with a library.
"""

import re
import shlex

from wardian.errors import WheelRefused
from wardian.oci.wheelfile import unsafe

_VALUE = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*(?:\[.*\])?\s*")
_TEMPLATE = """\
# -*- coding: utf-8 -*-
import re
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])
    sys.exit({attribute}())
"""
_LONGEST = 127  # bytes of a first line that every kernel reads


def shebang(interpreter: str) -> bytes:
    r"""The first line for an interpreter; two lines of shell where the kernel would not take it. Source: distlib.

    >>> shebang("/opt/env/bin/python")
    b'#!/opt/env/bin/python\n'
    """
    line = f"#!{interpreter}\n".encode()
    if b" " not in line and len(line) <= _LONGEST:
        return line
    return f"#!/bin/sh\n'''exec' {shlex.quote(interpreter)} \"$0\" \"$@\"\n' '''\n".encode()


def fixed_script(content: bytes, interpreter: str) -> bytes:
    """A script that began with ``#!python`` or ``#!pythonw``, with the interpreter in place of that line."""
    return shebang(interpreter) + content.partition(b"\n")[2]


def launchers(entry_points: bytes, interpreter: str, wheel: str) -> dict[str, bytes]:
    """Name → script, for the console and gui scripts of an ``entry_points.txt``."""
    found: dict[str, bytes] = {}
    for name, value in _scripts(entry_points.decode("utf-8", "replace")):
        match = _VALUE.fullmatch(value)
        if not match:
            raise WheelRefused(wheel, f"has the entry point {name} = {value!r}, which names no function")
        if "/" in name or unsafe(name) or not name.isprintable():
            raise WheelRefused(wheel, f"has an entry point named {name!r}, which is no file name")
        attribute = match["attribute"]
        text = _TEMPLATE.format(module=match["module"], first=attribute.partition(".")[0], attribute=attribute)
        found[name] = shebang(interpreter) + text.encode()
    return found


def _scripts(text: str) -> list[tuple[str, str]]:
    section = ""
    found = []
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section in ("console_scripts", "gui_scripts") and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            found.append((name.strip(), value.strip()))
    return found
