"""A mount over an installed package, and the import proves it: in an environment of ours, in a base's own Python."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_over, layer
from wardian.store.store import Store

Wardian = Callable[..., Any]
TOML = """\
[project]
name = "lab"

[images.base]
from = "bootstrap:debian:bookworm"
python = "3.11"

[images.train]
from = "@base"
requirements = ["iniconfig==2.0.0"]
project = "wheel"

[images.dev]
from = "@base"
project = "editable"

[images.elsewhere]
from = "@dev"
workdir = "/code"

[run]
image = "train"
gpus = "none"

[mounts.iniconfig]
target = "@site-packages/iniconfig"

[mounts.lab]
target = "@site-packages/lab"
source = "src/lab"
enabled = false
"""
PYPROJECT = """\
[build-system]
requires = ["hatchling==1.27.0"]
build-backend = "hatchling.build"

[project]
name = "lab"
version = "1"
"""
SAY = "import {0}; print({0}.MARK, {0}.__file__)"
SITE = "/opt/env/lib/python3.11/site-packages"


@pytest.fixture
def project(
    base_project: Path, with_base: Path, tmp_path: Path, need: Callable[..., None], wardian: Wardian
) -> Iterator[Path]:
    need("bwrap", "unshare")
    folder = tmp_path / "project"
    (folder / "src/lab").mkdir(parents=True)
    (folder / "src/lab/__init__.py").write_text("MARK = 'sealed'\n")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "wardian.toml").write_text(TOML)
    shutil.copy(base_project / "wardian.lock", folder)
    wardian("lock", cwd=folder)
    wardian("build", cwd=folder)
    yield folder
    inside = ("unshare", "--mount") if os.getuid() == 0 else ("unshare", "--map-auto", "--map-root-user", "--mount")
    subprocess.run([*inside, "rm", "-rf", str(with_base / "unpacked")], check=False)


def imported(wardian: Wardian, folder: Path, name: str, *words: str) -> str:
    """What a program finds that imports a package."""
    said: str = wardian("run", *words, "--", "python", "-c", SAY.format(name), cwd=folder).out
    return said.strip()


def test_the_import_proves_it(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    version = (
        "from importlib.metadata import version; import iniconfig; print(version('iniconfig'), iniconfig.__file__)"
    )
    installed = wardian("run", "--", "python", "-c", version, cwd=project).out
    assert installed == f"2.0.0 {SITE}/iniconfig/__init__.py\n"
    checkout = tmp_path / "dev" / "iniconfig"
    (checkout / "src/iniconfig").mkdir(parents=True)
    (checkout / "src/iniconfig/__init__.py").write_text("MARK = 'mine'\n")
    wardian("mount", "set", "iniconfig", "src/..", cwd=checkout, code=2)  # no project here
    said = wardian("mount", "set", "iniconfig", ".", "-C", str(project), cwd=checkout)
    assert said.out == f"iniconfig is on: {checkout}/src/iniconfig → {SITE}/iniconfig\n"
    assert said.err == ""
    assert imported(wardian, project, "iniconfig") == f"mine {SITE}/iniconfig/__init__.py"
    assert imported(wardian, project / "src", "iniconfig", "--user", "1234:5678").startswith("mine")
    (checkout / "src/iniconfig/__init__.py").write_text("MARK = 'changed'\n")
    assert imported(wardian, project, "iniconfig").startswith("changed")
    wardian("mount", "validate", cwd=project)
    wardian("mount", "disable", "iniconfig", cwd=project)
    assert wardian("run", "--", "python", "-c", version, cwd=project).out == installed

    # a project that is in its image as a wheel: its sources over the installed ones
    (project / "src/lab/__init__.py").write_text("MARK = 'live'\n")
    assert imported(wardian, project, "lab") == f"sealed {SITE}/lab/__init__.py"
    wardian("mount", "enable", "lab", cwd=project)
    assert imported(wardian, project, "lab") == f"live {SITE}/lab/__init__.py"
    assert imported(wardian, project, "lab", "--no-project").startswith("live")


def test_the_live_sources_of_an_editable_project_win(wardian: Wardian, project: Path) -> None:
    (project / "src/lab/__init__.py").write_text("MARK = 'live'\n")
    assert imported(wardian, project, "lab", "-i", "dev") == "live /workspace/src/lab/__init__.py"
    # of an image whose workdir is another
    assert imported(wardian, project, "lab", "-i", "elsewhere") == "live /workspace/src/lab/__init__.py"
    assert wardian("run", "-i", "elsewhere", "--", "pwd", cwd=project).out == "/code\n"
    (project / ".gitignore").write_text(".wardian/\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    imported(wardian, project, "lab", "-i", "elsewhere")
    (project / "src/lab/__init__.py").write_text("MARK = 'later'\n")
    assert wardian("reproduce", "@last", cwd=project).out == "live /workspace/src/lab/__init__.py\n"


def test_the_packages_of_a_base_with_a_python_of_its_own(
    wardian: Wardian, with_base: Path, tmp_path: Path, need: Callable[..., None]
) -> None:
    """No label tells where they are: Debian's Python has them in dist-packages."""
    need("bwrap", "unshare")
    packages = layer({"usr/lib/python3/dist-packages/rsl_rl/__init__.py": b"MARK = 'sealed'\n"})
    plain = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/"}
    add_over(Store(with_base), "base/base:latest", "plain:1", packages, config=plain)

    project = tmp_path / "project"
    (project / "rsl_rl").mkdir(parents=True)
    (project / "rsl_rl/__init__.py").write_text("MARK = 'mine'\n")
    (project / "wardian.toml").write_text(
        '[project]\nname = "x"\n[images.x]\nfrom = "plain:1"\n[run]\nimage = "plain:1"\ngpus = "none"\n'
    )
    say = ["run", "--no-project", "--", "python3", "-c", SAY.format("rsl_rl")]
    place = "/usr/lib/python3/dist-packages/rsl_rl/__init__.py"
    assert wardian(*say, cwd=project).out == f"sealed {place}\n"
    said = wardian("mount", "set", "rsl_rl", ".", cwd=project)
    assert said.out == f"rsl_rl is on: {project}/rsl_rl → {place.rpartition('/')[0]}\n"
    assert wardian(*say, cwd=project).out == f"mine {place}\n"
    wardian("mount", "disable", "rsl_rl", cwd=project)
    assert wardian(*say, cwd=project).out == f"sealed {place}\n"
