"""Wardian's own wheel: one that pip takes, the same wherever it is made, and only where it is asked for."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wardian.hosts.machine import Machine
from wardian.resolvers.own import offered, wheel


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("wardian", True), ("Wardian[babyai]", True), (" wardian>=0.1", True), ("wardian ; python_version>'3'", True),
        ("wardian-extra", False), ("wardians", False), ("numpy", False), ("my-wardian", False),
    ],
)  # fmt: skip
def test_it_is_offered_where_it_is_asked_for(tmp_path: Path, line: str, *, named: bool) -> None:
    machine = Machine()
    found = offered(machine, ("numpy", line), tmp_path / "own")
    assert (found.find_links == (str(tmp_path / "own"),)) is named
    assert (tmp_path / "own").exists() is named


def test_its_bytes_are_always_the_same(tmp_path: Path) -> None:
    assert wheel(tmp_path / "a").read_bytes() == wheel(tmp_path / "b").read_bytes()
    again = wheel(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [again.name]


def test_pip_installs_it_and_the_command_is_there(tmp_path: Path) -> None:
    """Without what it requires: pip says of that what the wheel says."""
    made = wheel(tmp_path)
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), str(made)]
    subprocess.run(pip, check=True, capture_output=True)
    assert (target / "bin" / "wardian").is_file()
    assert (target / "wardian" / "templates" / "minimal" / "wardian.toml").is_file()
    names = zipfile.ZipFile(made).namelist()
    assert not [name for name in names if "__pycache__" in name]
    metadata = zipfile.ZipFile(made).read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "Requires-Dist: click" in metadata
    assert "Provides-Extra: babyai" in metadata
