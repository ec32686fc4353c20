"""Stores that begin as another one."""

import subprocess
from pathlib import Path

OWN = ("locks", "tmp")  # what a store's users have for the moment


def linked(source: Path, target: Path) -> None:
    """Make a folder that holds a store (or is one) of links to another's files, which may be in use.

    Locks are its own: a lock belongs to a file, whatever its name, and two stores that shared it would wait for each
    other. What is being made in the other store may be gone before it is linked.
    """
    target.mkdir(exist_ok=True)
    for folder in (Path(), Path("store")):
        entries = [path for path in (source / folder).glob("*") if path.name not in (*OWN, "store")]
        if entries:
            (target / folder).mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", "--link", *entries, target / folder], check=True)
