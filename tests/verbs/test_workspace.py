"""Where a verb works: the project's folder, the files it reads, the store's place, and which image a word means."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import PlainUser, Wardian
from tests.images import add_image, layer
from wardian.lock.file import write
from wardian.lock.model import Lock, LockedImage
from wardian.plan.labels import OURS, lock_digest
from wardian.store.store import Store
from wardian.workspace import find_root

FILE = '[project]\nname = "demo"\n[images.train]\nfrom = "debian:12"\n'
MATRIX = FILE + 'matrix = { sim = ["a", "b"], size = ["s", "l"] }\n'


def test_the_nearest_folder_with_a_file_is_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_root(inner) == inner
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / "a" / "pyproject.toml").mkdir()
    assert find_root(inner) == inner
    (tmp_path / "pyproject.toml").write_text("[tool.wardian.project]\n")
    assert find_root(inner) == tmp_path
    (tmp_path / "a" / "wardian.toml").write_text(FILE)
    assert find_root(inner) == tmp_path / "a"


def test_somebody_else_s_closed_file_above_is_none_of_ours(plain_user: PlainUser, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.wardian]\n")
    (tmp_path / "pyproject.toml").chmod(0)
    mine = tmp_path / "mine"
    mine.mkdir()
    plain_user.own(mine)
    program = f"import pathlib, wardian.workspace as w; print(w.find_root(pathlib.Path({str(mine)!r})))"
    paths = f"PYTHONPATH={os.pathsep.join(path for path in sys.path if path)}"
    python = (*plain_user.prefix, paths, "/usr/bin/python3") if plain_user.prefix else (sys.executable,)

    done = subprocess.run([*python, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout == f"{mine}\n", done.stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pyproject.toml", b"[tool.wardian.run]\n", "both wardian.toml and [tool.wardian] of pyproject.toml are here"),
        ("wardian.local.toml", b"[run]\nimage = '\xff'\n", "wardian.local.toml is not UTF-8: byte 15 is 0xff"),
        (".env", b"good=1\nnot a line\n", ".env"),
    ],
)
def test_a_file_that_cannot_be_meant_so_is_named(
    wardian: Wardian, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / "wardian.toml").write_text(FILE)
    (tmp_path / name).write_bytes(content)

    assert said in wardian("config", cwd=tmp_path, code=2).err


def test_a_configuration_that_is_named_must_be_there(
    wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wardian.toml").write_text(FILE)
    (tmp_path / "mine.toml").write_text('[run]\nshm = "2g"\n')
    monkeypatch.setenv("WARDIAN_CONFIG", str(tmp_path / "mine.toml"))
    assert wardian("config", "run.shm", "--json", cwd=tmp_path).json()["run.shm"]["value"] == "2g"
    monkeypatch.setenv("WARDIAN_CONFIG", str(tmp_path / "other.toml"))
    assert "which is not a file" in wardian("config", cwd=tmp_path, code=2).err


def test_the_store_lies_in_the_platform_s_data_folder(
    wardian: Wardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WARDIAN_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert str(tmp_path / "wardian") in wardian("store", "df").err


@pytest.mark.parametrize(
    ("tags", "meant"), [(["v2"], "v2"), (["v{python}"], "v2"), (["latest"], "latest"), (["new"], "a")]
)
def test_of_several_images_of_one_lock_the_one_with_the_file_s_tag_is_meant(
    wardian: Wardian, tmp_path: Path, home: Path, tags: list[str], meant: str
) -> None:
    (tmp_path / "wardian.toml").write_text(f"{FILE}tags = {json.dumps(tags)}\n")
    locked = LockedImage(inputs=sha256(b"").hexdigest())
    (tmp_path / "wardian.lock").write_text(write(Lock(images={"train": locked})))
    for tag in ("a", "latest", "v2"):
        config = {"Labels": {f"{OURS}lock": lock_digest(locked)}, "Env": [f"BUILD={tag}"]}
        add_image(Store(home / "store"), f"demo/train:{tag}", [layer({})], config=config)

    assert wardian("tree", "train", "--json", cwd=tmp_path).json()["reference"] == f"demo/train:{meant}"


def test_a_variant_is_the_image_of_its_entry_in_the_lock(wardian: Wardian, tmp_path: Path, home: Path) -> None:
    (tmp_path / "wardian.toml").write_text(MATRIX)
    entries = {f"train[sim={sim},size={size}]": sim + size for sim in "ab" for size in "sl"}
    locked = {name: LockedImage(inputs=sha256(tag.encode()).hexdigest()) for name, tag in entries.items()}
    (tmp_path / "wardian.lock").write_text(write(Lock(images=locked)))
    for name in list(entries)[:3]:
        labels = {"Labels": {f"{OURS}lock": lock_digest(locked[name])}}
        add_image(Store(home / "store"), f"demo/train:{entries[name]}", [layer({})], config=labels)

    for name in list(entries)[:3]:
        assert wardian("tree", name, "--json", cwd=tmp_path).json()["reference"] == f"demo/train:{entries[name]}"
    several = wardian("tree", "train[sim=a]", cwd=tmp_path, code=2).err
    assert "train[sim=a] has 2 variants" in several
    assert "'train[sim=a,size=s]'" in several  # quoted: brackets are a pattern for zsh
    absent = wardian("tree", "train[sim=b,size=l]", cwd=tmp_path, code=1).err
    assert absent.endswith("is not built\n  type: wardian build 'train[sim=b,size=l]'\n")
    assert wardian("tree", "train[sim=c]", cwd=tmp_path, code=2).err
