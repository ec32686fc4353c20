"""Paths with all in them that a shell, apt, overlay or TOML could take for something else, through every verb."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomlkit

from tests.indexes import Index, make_wheel, serve
from tests.integration.builds import Place

ODD = "a  'b' \"c\"\n$HOME `d` \\e;f:g,h=i*[j]#k%l ünï 木"


def spec(index: str) -> str:
    """A project with every kind of layer, and odd names wherever a path may stand."""
    train = {
        "from": "@base",
        "apt": ["tree"],
        "requirements": ["oddthing"],
        "index": [index],
        "copy": [{"source": f"configs {ODD}", "target": f"/data/{ODD}"}],
        "run": ["mkdir /made"],
        "workdir": f"/srv/{ODD}",
        "tests": {ODD: {"run": "python -c 'import oddthing'; find /data -type f -exec cat {} +", "expect": "copied"}},
    }
    images = {"base": {"from": "bootstrap:debian:bookworm", "python": "3.11"}, "train": train}
    mounts = {"data": {"source": f"mounted {ODD}", "target": f"/mounted/{ODD}"}}
    return tomlkit.dumps(
        {"project": {"name": "odd"}, "images": images, "run": {"image": "train", "gpus": "none"}, "mounts": mounts}
    )


@pytest.fixture
def place(base_store: Path, base_project: Path, tmp_path: Path, need: Callable[..., None]) -> Iterator[Place]:
    """A folder with an odd name that holds all: the project, the store, the temporary folder, an index of wheels."""
    need("bwrap", "mmdebstrap", "apt-get")
    folder = tmp_path / ODD
    made = Place(folder, environ={"TMPDIR": str(folder / f"tmp {ODD}")})
    for path in (made.project, folder / f"tmp {ODD}", folder / "wheels"):
        path.mkdir(parents=True)
    make_wheel(folder / "wheels", "oddthing", "1.0")
    made.run("init", "--template", "minimal")
    shutil.copy(base_project / "wardian.lock", made.project)
    files = {f"configs {ODD}/{ODD}": "copied", f"mounted {ODD}/{ODD}": "mounted", "seen": "the project"}
    for name, text in files.items():
        path = made.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    shutil.rmtree(made.folder / "store", ignore_errors=True)
    subprocess.run(["cp", "-a", str(base_store), str(made.folder / "store")], check=True)
    with serve(Index(folder / "wheels")) as index:
        (made.project / "wardian.toml").write_text(spec(index.simple))
        made.run("lock")
        yield made


def test_every_verb_takes_them(place: Place, tmp_path: Path) -> None:
    archive, out = place.folder / f"archive {ODD}", place.folder / f"out {ODD}"
    place.run("lock", "--archive", str(archive))
    place.run("lock", "--check")
    right = place.build("--from", str(archive))["train"]["digest"]
    place.run("test")
    program = 'cat "/data/$1/$1" "/mounted/$1/$1" seen; printf %s "$PWD"'
    done = place.run("run", "--", "sh", "-c", program, "sh", ODD)
    assert done.stdout == f"copiedmountedthe project/srv/{ODD}"
    assert json.loads(place.run("runs", "show", "@last", "--json").stdout)["argv"][-1] == ODD
    place.run("export", "train", "--format", "dir", "-o", str(out))
    assert (out / "data" / ODD / ODD).read_text() == "copied"
    place.run("export", "train", "-o", f"{out}.oci")
    place.run("store", "verify")
    plain = Place(tmp_path / "plain")
    shutil.copytree(place.project, plain.project)
    shutil.move(place.folder / "store", plain.folder / "store")
    assert plain.build("--from", str(archive), "--no-cache", "train")["train"]["digest"] == right


def test_a_base_is_made_in_them(place: Place) -> None:
    place.build("base", "--no-cache")
    assert list((place.folder / f"tmp {ODD}").iterdir()) == []
    assert list(place.store.scratch.iterdir()) == []
