"""Our wheel layers beside pip's installed tree: the same paths, bytes and modes; launchers that import the same."""

import csv
import gzip
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from wardian.oci.splice import write_wheels
from wardian.oci.wheel import WheelFile

# Scripts with #!python, binaries as scripts, entry points, data, headers, namespace packages, compiled modules.
WHEELS = (
    "docutils==0.20.1",
    "ninja==1.11.1.1",
    "setuptools==75.8.0",
    "pyflakes==3.2.0",
    "tqdm==4.66.5",
    "jupyterlab-widgets==3.0.13",
    "greenlet==3.1.1",
    "protobuf==5.28.3",
    "debugpy==1.8.8",
    "zope.interface==7.1.1",
    "MarkupSafe==3.0.2",
    "PyYAML==6.0.2",
    "python-dateutil==2.9.0.post0",
)
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OURS = {"INSTALLER", "RECORD"}


@dataclass(frozen=True)
class Found:
    """One installed file."""

    content: bytes
    mode: int


@pytest.fixture(scope="session")
def oracle(session_folder: Path) -> tuple[Path, Path]:
    """A folder with the wheels, and a virtual environment that pip installed them into."""
    place = session_folder / "pip-oracle"
    with FileLock(session_folder / "pip-oracle.lock"):
        if not (place / "done").exists():
            subprocess.run([sys.executable, "-m", "venv", str(place / "pip")], check=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
            pip = [str(place / "pip" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
            wheels = str(place / "wheels")
            kind = ["--no-deps", "--only-binary", ":all:"]
            subprocess.run([*pip, "download", *kind, "-d", wheels, *WHEELS], check=True)
            target = ["--python", str(place / "venv" / "bin" / "python")]
            options = ["--no-index", "--find-links", wheels, "--no-compile"]
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
            subprocess.run(
                ["sh", "-c", 'umask 022; exec "$@"', "sh", *pip, *target, "install", *options, *kind, *WHEELS],
                check=True,
                env={**environment, "PIP_CONFIG_FILE": os.devnull},
            )
            (place / "done").touch()
    return place / "wheels", place / "venv"


@pytest.fixture(scope="session")
def ours(oracle: tuple[Path, Path]) -> dict[str, Found]:
    """The files of our layer, for the same prefix, by their path below it."""
    wheels, venv = oracle
    files = sorted(wheels.glob("*.whl"))
    assert len(files) == len(WHEELS)
    out = io.BytesIO()
    opened = [WheelFile(path.name, path.open("rb"), requested=True) for path in files]
    write_wheels(out, opened, prefix=str(venv), python=PYTHON)
    for wheel in opened:
        wheel.file.close()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(out.getvalue()))) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file:
                path = f"/{member.name}".removeprefix(f"{venv}/")
                assert not path.startswith("/")
                found[path] = Found(file.read(), member.mode)
    return found


@pytest.fixture(scope="session")
def theirs(oracle: tuple[Path, Path]) -> dict[str, Found]:
    """The files that pip installed."""
    venv = oracle[1]
    found = {}
    for path in venv.rglob("*"):
        short = str(path.relative_to(venv))
        if (
            path.is_symlink()
            or not path.is_file()
            or short == "pyvenv.cfg"
            or re.match(r"bin/([Aa]ctivate|python)", short)
        ):
            continue
        found[short] = Found(path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    return found


def is_launcher(path: str, files: Mapping[str, Found]) -> bool:
    return path.startswith("bin/") and b"sys.exit(" in files[path].content and b"import re\n" in files[path].content


def test_the_same_files(ours: dict[str, Found], theirs: dict[str, Found]) -> None:
    assert sorted(ours) == sorted(theirs)
    assert len(ours) > 1000


def test_the_same_bytes(ours: dict[str, Found], theirs: dict[str, Found], oracle: tuple[Path, Path]) -> None:
    venv = str(oracle[1]).encode()
    for path, found in theirs.items():
        if path.rpartition("/")[2] in OURS or is_launcher(path, ours):
            continue
        mine, yours = ours[path].content, found.content
        if path.startswith("bin/") and yours.startswith(b"#!"):  # pip names python3.11 where we name python
            mine, yours = (
                re.sub(rb"^#!" + re.escape(venv) + rb"/bin/python[0-9.]*", b"#!P", text) for text in (mine, yours)
            )
        assert mine == yours, path


def test_the_same_modes(ours: dict[str, Found], theirs: dict[str, Found]) -> None:
    assert {path: found.mode for path, found in ours.items()} == {path: found.mode for path, found in theirs.items()}


def test_launchers_import_the_same(ours: dict[str, Found], theirs: dict[str, Found]) -> None:
    launchers = [path for path in ours if is_launcher(path, ours)]
    assert {"bin/pyflakes", "bin/tqdm"} <= set(launchers)
    for path in launchers:
        wanted = re.compile(rb"^from (\S+) import (\S+)$.*sys\.exit\((\S+)\(\)\)", re.MULTILINE | re.DOTALL)
        mine, yours = wanted.search(ours[path].content), wanted.search(theirs[path].content)
        assert mine, path
        assert yours, path
        assert mine.groups() == yours.groups(), path


def rows(found: Found) -> dict[str, tuple[str, str]]:
    return {path: (value, size) for path, value, size in csv.reader(found.content.decode().splitlines())}


def test_records_list_the_same_files(ours: dict[str, Found], theirs: dict[str, Found]) -> None:
    records = [path for path in ours if re.fullmatch(r"lib/python[0-9.]+/site-packages/[^/]+\.dist-info/RECORD", path)]
    assert len(records) == len(WHEELS)
    for record in records:
        mine, yours = rows(ours[record]), rows(theirs[record])
        assert set(mine) == set(yours)
        for path, told in mine.items():
            if not path.startswith("../") and path.rpartition("/")[2] not in OURS:
                assert told == yours[path], path
            installed = os.path.normpath(f"lib/python{PYTHON}/site-packages/{path}")
            assert not told[1] or int(told[1]) == len(ours[installed].content)


def test_scripts_run_in_an_environment_made_of_the_layer(
    oracle: tuple[Path, Path], ours: dict[str, Found], tmp_path: Path
) -> None:
    """The layer is put over the very environment it was made for: console scripts and binaries start."""
    venv = oracle[1]
    for name, argument in (
        ("pyflakes", "--version"),
        ("tqdm", "--version"),
        ("ninja", "--version"),
        ("rst2html.py", "--version"),
    ):
        script = ours[f"bin/{name}"]
        program = tmp_path / name
        program.write_bytes(script.content)
        program.chmod(script.mode)
        done = subprocess.run(
            [str(program), argument], capture_output=True, text=True, check=False, env={"PATH": f"{venv}/bin"}
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert re.search(r"\d+\.\d+", done.stdout)
