"""Stores that begin as another one."""

import shutil
import subprocess
from pathlib import Path


def linked(source: Path, target: Path) -> None:
    """Make a folder that holds a store (or is one) of links to another's files; locks are its own.

    A lock belongs to a file, whatever its name: two stores that shared it would wait for each other.
    """
    subprocess.run(["cp", "-a", "--link", f"{source}/.", str(target)], check=True)
    for locks in (target / "locks", target / "store" / "locks"):
        shutil.rmtree(locks, ignore_errors=True)
