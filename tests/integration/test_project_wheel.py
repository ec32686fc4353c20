"""``project = "wheel"``: built in the sandbox with locked tools; what the index has today does not count."""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.indexes import make_wheel
from tests.integration.builds import Place, write
from tests.people import ourselves, single
from tests.stores import linked
from wardian.lock.file import read
from wardian.lock.model import LockedImage

TOML = """
[project]
name = "mine"

[images.base]
from = "bootstrap:debian:bookworm"
python = "3.11"

[images.train]
from = "@base"
project = "wheel"
"""
PYPROJECT = """
[build-system]
requires = ["maker"]
build-backend = "maker"

[project]
name = "mine"
version = "1.0"
"""
# A build backend: what it sees, and which release of it is at work, becomes the content of the wheel.
MAKER = """
import base64, hashlib, json, os, socket, sys, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    tag = open("tag").read().strip()
    if tag == "fails":
        print("no rule to make the wheel")
        raise SystemExit(2)
    if tag == "link":
        os.symlink("/build/wheels/maker-1.0-py3-none-any.whl", os.path.join(folder, "mine-1.0-py3-none-any.whl"))
        return "mine-1.0-py3-none-any.whl"
    try:
        socket.create_connection(("198.51.100.1", 80), timeout=2)
        network = True
    except OSError:
        network = False
    seen = {{
        "maker": {version!r}, "network": network, "here": os.getcwd(), "home": os.environ["HOME"],
        "python": sys.base_prefix, "secrets": [name for name in os.environ if "SECRET" in name],
        "epoch": os.environ["SOURCE_DATE_EPOCH"], "mode": oct(os.stat("tag").st_mode & 0o777),
        "files": sorted(os.listdir()),
    }}
    name = "mine-1.0-" + tag + ".whl"
    files = {{
        "mine.py": "",
        "seen.json": json.dumps(seen),
        "mine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: mine\\nVersion: 1.0\\n",
        "mine-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: " + tag + "\\n",
    }}
    rows = ["mine-1.0.dist-info/RECORD,,"]
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        rows.append(path + ",sha256=" + digest + "," + str(len(text)))
    files["mine-1.0.dist-info/RECORD"] = "\\n".join(rows) + "\\n"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as out:
        for path, text in files.items():
            out.writestr(path, text)
    return name
"""
FILES = {"pyproject.toml": PYPROJECT, "tag": "py3-none-any", "mine.py": "", ".env": "A=1", "__pycache__/x.pyc": "x"}


def release(links: Path, version: str) -> None:
    """Publish a build backend."""
    code = MAKER.format(version=version)
    make_wheel(links, "maker", version, files={"maker.py": code.encode()})


@pytest.fixture
def links(tmp_path: Path) -> Path:
    folder = tmp_path / "links"
    folder.mkdir()
    release(folder, "1.0")
    return folder


@pytest.fixture
def place(tmp_path: Path, base_store: Path, base_project: Path, links: Path) -> Place:
    """A project over the bootstrapped base, whose layers the store has; nothing but a folder serves distributions."""
    environ = {"UV_FIND_LINKS": str(links), "UV_NO_INDEX": "1", "SECRET_TOKEN": "x", "PIP_CONFIG_FILE": os.devnull}
    made = Place(tmp_path / "mine", ourselves(), {**environ, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""})
    made.folder.mkdir()
    linked(base_store, made.folder / "store")
    write(made, TOML, FILES)
    shutil.copy(base_project / "wardian.lock", made.project)
    return made


def entry(place: Place) -> LockedImage:
    return read((place.project / "wardian.lock").read_text(), "wardian.lock").images["train"]


def tools(place: Place) -> dict[str, str]:
    return {tool.name: tool.version for tool in entry(place).build}


def built(place: Place, *argv: str) -> str:
    return str(place.build(*argv)["train"]["digest"])


def seen(place: Place) -> Any:
    script = "import sysconfig; print(open(sysconfig.get_path('purelib') + '/seen.json').read())"
    return json.loads(place.run("run", "--image", "train", "--", "python", "-c", script).stdout)


def emptied(place: Place, tmp_path: Path, base_store: Path, environ: Mapping[str, str] = {}) -> Place:
    """The same project where nothing of it was built or fetched yet."""
    other = dataclasses.replace(place, folder=tmp_path / "other", environ={**place.environ, **environ})
    other.folder.mkdir()
    linked(base_store, other.folder / "store")
    shutil.copytree(place.project, other.project)
    return other


def test_it_is_built_in_the_sandbox_with_locked_tools(
    place: Place, links: Path, tmp_path: Path, base_store: Path
) -> None:
    said = place.run("lock").stdout
    assert "train: 1 to build the project with" in said
    assert tools(place) == {"maker": "1.0"}
    first = built(place)
    assert seen(place) == {
        "epoch": "1577836800",
        "files": ["mine.py", "pyproject.toml", "tag"],
        "here": "/build/source",
        "home": "/build/home",
        "maker": "1.0",
        "mode": "0o644",
        "network": False,
        "python": "/usr",
        "secrets": [],
    }

    release(links, "2.0")
    assert "the lock is fresh" in place.run("lock").stdout
    other = emptied(place, tmp_path, base_store)
    assert built(other) == first, "a new release of the build backend changes nothing"

    moved = place.run("lock", "--upgrade", "maker").stdout
    assert "maker 1.0 → 2.0, to build the project with" in moved
    assert built(place) != first
    assert seen(place)["maker"] == "2.0"


def test_what_it_is_built_with_makes_the_lock_stale(place: Place, links: Path) -> None:
    place.run("lock")
    make_wheel(links, "other", "1.0")
    (place.project / "pyproject.toml").write_text(PYPROJECT.replace('["maker"]', '["maker", "other"]'))
    for argv in (["build"], ["lock", "--check"]):
        said = place.run(*argv, code=1).stderr
        assert "train: build-system.requires changed (+other)" in said
    release(links, "2.0")
    assert "+ other 1.0, to build the project with" in place.run("lock").stdout
    assert tools(place) == {"maker": "1.0", "other": "1.0"}, "what is locked stays where it is"


def test_a_requirement_more_asks_for_no_tools_again(place: Place, links: Path) -> None:
    place.run("lock")
    release(links, "2.0")
    make_wheel(links, "alpha", "1.0")
    write(place, TOML + 'requirements = ["alpha"]\n')
    place.run("lock")
    assert tools(place) == {"maker": "1.0"}


def test_the_image_has_the_last_word_on_versions(place: Place, links: Path) -> None:
    """What the image itself holds of the tools is what the wheel is built with, as with source distributions."""
    release(links, "2.0")
    write(place, TOML + 'requirements = ["maker<2"]\n')
    place.run("lock")
    assert tools(place) == {"maker": "1.0"}
    (place.project / "pyproject.toml").write_text(PYPROJECT.replace('["maker"]', '["maker>1"]'))
    said = place.run("lock", code=1).stderr
    assert "train, building the project: the build requirements cannot be met" in said
    assert "[build-system].requires of pyproject.toml" in said


def test_an_archive_builds_without_anything_else(place: Place, links: Path, tmp_path: Path, base_store: Path) -> None:
    archive = tmp_path / "archive"
    place.run("lock", "--archive", str(archive))
    assert [path.name for path in (archive / "wheels").iterdir()] == ["maker-1.0-py3-none-any.whl"]
    first = built(place)
    other = emptied(place, tmp_path, base_store, {"UV_FIND_LINKS": str(tmp_path / "nothing")})
    for path in (other.folder / "store" / "downloads").iterdir():
        shutil.rmtree(path)
    said = other.run("build", code=1).stderr
    assert "maker-1.0-py3-none-any.whl cannot be fetched" in said
    assert built(other, "--from", str(archive)) == first


@pytest.mark.parametrize("tag", ["cp311-cp311-linux_x86_64", "py3-none-manylinux_2_36_x86_64"])
def test_compiled_code_that_fits_the_image_is_installed(place: Place, links: Path, tag: str) -> None:
    make_wheel(links, "alpha", "1.0")
    write(place, TOML + 'requirements = ["alpha"]\n')
    (place.project / "tag").write_text(tag)
    place.run("lock")
    place.build()
    assert seen(place)["maker"] == "1.0"


@pytest.mark.parametrize("tag", ["cp310-cp310-linux_x86_64", "py3-none-win_amd64"])
def test_compiled_code_for_something_else_is_refused(place: Place, tag: str) -> None:
    (place.project / "tag").write_text(tag)
    place.run("lock")
    said = place.run("build", code=1).stderr
    assert f"mine-1.0-{tag}.whl does not fit Python 3.11 on linux/amd64" in said


def test_a_failure_is_told_with_its_last_lines(place: Place) -> None:
    (place.project / "tag").write_text("fails")
    place.run("lock")
    said = place.run("build", code=1).stderr
    assert "the wheel of mine cannot be built" in said
    assert "no rule to make the wheel" in said
    assert "[build-system].requires" in said


def test_a_wheel_that_is_a_link_is_none(place: Place) -> None:
    (place.project / "tag").write_text("link")
    place.run("lock")
    assert "not one of its own" in place.run("build", code=1).stderr


def test_nothing_is_built_with_nothing(place: Place) -> None:
    """A backend that lies in the project itself needs no tools; setuptools is the default of who says nothing."""
    code = MAKER.format(version="own")
    text = PYPROJECT.replace('["maker"]', "[]").replace(
        'build-backend = "maker"', 'build-backend = "own"\nbackend-path = ["."]'
    )
    write(place, TOML, {"pyproject.toml": text, "own.py": code})
    place.run("lock")
    assert tools(place) == {}
    place.build()
    assert seen(place)["maker"] == "own"
    (place.project / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1.0"\n')
    assert "build-system.requires changed (+setuptools>=40.8.0)" in place.run("lock", "--check", code=1).stderr


def test_a_user_with_a_single_id_builds_what_needs_no_other(place: Place, tmp_path: Path) -> None:
    """Packages need ids of their own; a wheel over them does not: the digest is the same."""
    if os.getuid():
        pytest.skip("only root can become another user")
    place.run("lock")
    first = built(place)
    alone = dataclasses.replace(place, folder=tmp_path / "alone", person=single())
    alone.folder.mkdir()
    shutil.copytree(place.project, alone.project)
    skip = shutil.ignore_patterns("unpacked")
    shutil.copytree(place.folder / "store", alone.folder / "store", ignore=skip)  # not linked: it changes hands
    alone.person.own(alone.folder)
    assert built(alone, "train", "--no-cache") == first
