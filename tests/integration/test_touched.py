"""A store touched by hand: what was touched is refused or made again, `store verify` finds it, and all is as it was."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rootfs import add_busybox
from wardian.oci.model import Descriptor
from wardian.store.store import Store

NAME, BASE = "demo/train:latest", "demo/base:latest"
TOML = f'[project]\nname = "demo"\n\n[images.train]\nfrom = "{BASE}"\nrun = ["echo right >/said"]\n'


@dataclasses.dataclass(frozen=True)
class Place:
    """A project, its store, and the command line."""

    project: Path
    root: Path
    wardian: Callable[..., Any]

    @property
    def store(self) -> Store:
        """The store; a new object, since an old one would keep others from repairing."""
        return Store(self.root)

    def run(self, *argv: str, code: int = 0) -> Any:
        return self.wardian(*argv, cwd=self.project, code=code)

    def build(self) -> Any:
        return self.run("build", "--json").json()["train"]


Touch = Callable[[Place], Path]


@pytest.fixture
def place(tmp_path: Path, home: Path, need: Callable[..., None], wardian: Callable[..., Any]) -> Place:
    """A built image that ran once: its layers are unpacked."""
    need("bwrap", "unshare", "busybox")
    made = Place(tmp_path / "project", home / "store", wardian)
    made.project.mkdir()
    (made.project / "wardian.toml").write_text(TOML)
    add_busybox(made.store, BASE)
    made.run("lock")
    made.build()
    assert said(made) == "right\n"
    return made


def said(place: Place) -> str:
    return str(place.run("run", "cat", "/said").out)


def image(place: Place) -> Descriptor:
    found = place.store.resolve(NAME)
    assert found is not None
    return found


def write(path: Path, content: bytes) -> Path:
    path.chmod(0o644)
    path.write_bytes(content)
    return path


def flipped(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    return write(path, bytes(content))


def truncated(path: Path) -> Path:
    return write(path, path.read_bytes()[:-1])


def layer(place: Place) -> Path:
    return place.store.path(place.store.manifest(image(place).digest).layers[-1].digest)


def config(place: Place) -> Path:
    return place.store.path(place.store.manifest(image(place).digest).config.digest)


def manifest(place: Place) -> Path:
    return place.store.path(image(place).digest)


def tree(place: Place) -> Path:
    """The unpacked folder of the step's layer."""
    wanted = place.store.diff_ids(image(place).digest)[-1].removeprefix("sha256:")
    (found,) = (path for path in place.store.unpacked.glob(f"{wanted}*") if path.is_dir())
    return found


def record(place: Place) -> Path:
    """What is remembered of the step's layer."""
    digest = place.store.manifest(image(place).digest).layers[-1].digest
    (found,) = (path for path in place.store.records.iterdir() if json.loads(path.read_bytes())["digest"] == digest)
    return found


TOUCHES: dict[str, Touch] = {
    "a layer cut short": lambda place: truncated(layer(place)),
    "a bit of a layer": lambda place: flipped(layer(place)),
    "a bit of a config": lambda place: flipped(config(place)),
    "a config cut short": lambda place: truncated(config(place)),
    "a bit of a manifest": lambda place: flipped(manifest(place)),
    "an index that is no JSON": lambda place: write(place.store.root / "index.json", b'{"manifests": ['),
    "an index of another shape": lambda place: write(place.store.root / "index.json", b'{"manifests": 7}'),
    "a record that is no JSON": lambda place: write(record(place), b"{"),
    "a record of another layer": lambda place: write(
        record(place), record(place).read_bytes().replace(b'"digest": "sha256:', b'"digest": "sha256:0')
    ),
    "a file in an unpacked layer": lambda place: write(tree(place) / "said", b"wrong\n"),
    "a file more in an unpacked layer": lambda place: write_new(tree(place) / "more"),
    "a marker of an unpacked layer": lambda place: write(Path(f"{tree(place)}.done"), b"{"),
}


def write_new(path: Path) -> Path:
    path.write_text("new")
    return path


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES.keys())
def test_it_is_found_repaired_and_made_again(place: Place, touch: Touch) -> None:
    right = image(place).digest
    touched = touch(place)
    found = place.run("store", "verify", "--json", code=1).json()["faults"]
    assert any(str(touched).startswith(fault["place"].removesuffix(".done")) for fault in found), found
    place.run("store", "verify", "--repair")
    place.run("store", "verify")
    if place.store.resolve(BASE) is None:  # its name was in the index that is gone
        add_busybox(place.store, BASE)
    assert place.build()["digest"] == right
    assert said(place) == "right\n"


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("a bit of a manifest", ["run", "true"]),
        ("a bit of a manifest", ["tree", "train"]),
        ("a config cut short", ["run", "true"]),
        ("a bit of a config", ["export", "train", "-o", "out"]),
        ("a bit of a layer", ["export", "train", "-o", "out"]),
        ("an index that is no JSON", ["tree", "train"]),
        ("an index that is no JSON", ["build"]),
        ("an index of another shape", ["images"]),
        ("an index of another shape", ["store", "prune"]),
    ],
)
def test_what_needs_it_refuses_in_one_line(place: Place, name: str, argv: list[str]) -> None:
    touched = TOUCHES[name](place)
    done = place.run(*argv, code=125 if argv[0] == "run" else 1)
    lines = done.err.splitlines()
    assert len(lines) == 2, done.err
    assert touched.name[:12] in lines[0]
    assert "wardian store verify --repair" in lines[1]
    assert not (place.project / "out").exists()


def test_a_layer_that_is_unpacked_now_is_read_whole_first(place: Place) -> None:
    """A flipped bit in a layer that nobody has unpacked yet never reaches a program."""
    place.run("store", "prune", "--yes")
    touched = flipped(layer(place))
    found = tree(place)
    Path(f"{found}.done").unlink()
    done = place.run("run", "cat", "/said", code=125)
    assert touched.name[:12] in done.err
    assert done.out == ""


def test_a_layer_cut_short_is_made_again_by_the_next_build(place: Place) -> None:
    right = image(place).digest
    truncated(layer(place))
    answer = place.build()
    assert (answer["digest"], len(answer["layers"]["new"])) == (right, 1)
    place.run("store", "verify")
