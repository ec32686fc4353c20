"""The hard case of building from source: pufferlib-core against the image's own torch. Heavy: a minute or two."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wardian.hosts.machine import local_path, read_machine
from wardian.lock.file import read

Wardian = Callable[..., Any]
TEMPLATE = Path(__file__).parents[2] / "src" / "wardian" / "templates" / "puffer"


@pytest.fixture
def torch() -> None:
    """CPU torch from a folder of this machine: PyPI's is for CUDA and 5 GB with what it needs."""
    folders = [path for place in read_machine(os.environ).find_links if (path := local_path(place))]
    if not any(list(folder.glob("torch-2.13.0+cpu-cp311-*.whl")) for folder in folders):
        reason = "no folder of pip's find-links has torch 2.13.0+cpu"
        if os.environ.get("WARDIAN_REQUIRE_ENGINES") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.mark.usefixtures("torch", "with_base")
def test_pufferlib_is_built_against_the_images_torch(
    tmp_path: Path, base_project: Path, home: Path, wardian: Wardian
) -> None:
    project = tmp_path / "puffer"
    shutil.copytree(TEMPLATE, project)
    text = (project / "wardian.toml").read_text().replace("@NAME@", "puffer")
    (project / "wardian.toml").write_text(
        text + '\n[images.base]\nfrom = "bootstrap:debian:bookworm"\npython = "3.11"\n'
    )
    shutil.copy(base_project / "wardian.lock", project)  # so that the base is the one that the store has

    said = wardian("lock", cwd=project)
    assert "1 built from source" in said.out
    entry = read((project / "wardian.lock").read_text(), "wardian.lock").images["rl-puffer-base"]
    (built,) = entry.built
    assert (built.name, built.version) == ("pufferlib-core", "3.0.17")
    tools = {tool.name: tool.version for tool in built.build}
    assert tools["torch"] == "2.13.0+cpu", "not the torch 2.9.0 that its own pyproject.toml asks for"
    assert "g++" in {deb.name for deb in built.debs}
    assert "g++" not in {deb.name for deb in entry.debs}
    assert "file:" not in (project / "pylock.rl-puffer-base.toml").read_text()
    wheel = home / "store" / "downloads" / built.sha256 / built.filename
    with zipfile.ZipFile(wheel) as packed:
        compiled = [name for name in packed.namelist() if name.endswith(".so")]
        assert compiled
        assert all(member.date_time == (1980, 1, 1, 0, 0, 0) for member in packed.infolist())
        assert str(home).encode() not in packed.read(compiled[0]), "no path of this machine is in what was compiled"
    assert wardian("lock", cwd=project).out == "the lock is fresh\n"

    wheel.unlink()
    from wardian.builders.sources import Locked
    from wardian.lock.wheel import Wheel
    from wardian.workspace import open_workspace

    workspace = open_workspace(project=str(project), as_json=True, verbose=False, settings=())
    sources = Locked(
        workspace.store,
        workspace.host,
        read_machine(os.environ),
        os.environ,
        {},
        variants=workspace.images,
        lock=workspace.lock,
    )
    asked = Wheel(built.name, built.version, built.filename, "", built.sha256, built=built)
    assert sources.wheels([asked], lambda _: None) == (wheel,), "compiled again, the bytes are the same"
    sources.close()
